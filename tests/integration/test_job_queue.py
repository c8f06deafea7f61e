"""What the code expects of Redis and RQ, held against Valkey and against the fake alike."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from redis import Connection, ConnectionPool, Redis
from rq.exceptions import NoSuchJobError
from rq.job import JobStatus
from rq.serializers import JSONSerializer
from rq.utils import import_attribute, now, utcformat
from rq.worker import SimpleWorker

from chalicelib.adapters.job_queue import (
    FUNCTION,
    JobQueue,
    QueueError,
    RegisteredJob,
    api_client,
    get_rq_job,
)
from infra.local.stack import free_port
from tests.harness.fakes import FakeQueue
from worker.attempts import run

NAME = "microblog-tasks"


@pytest.fixture
def real(redis_url: str) -> Iterator[JobQueue]:
    with closing(api_client(redis_url)) as redis:
        yield JobQueue(redis, NAME, timeout_s=77)


@pytest.fixture(params=["fake", "valkey"])
def queue(request: pytest.FixtureRequest) -> JobQueue:
    """The fake, then Valkey."""
    if request.param == "fake":
        return FakeQueue()
    found: JobQueue = request.getfixturevalue("real")
    return found


class TestContract:
    def test_an_empty_queue(self, queue: JobQueue) -> None:
        """Nobody waits, nobody works."""
        assert queue.waiting_ids() == set()
        assert queue.depth() == 0
        assert queue.workers() == []
        assert queue.workers_alive() == 0

    def test_enqueueing(self, queue: JobQueue) -> None:
        """A task that a job was enqueued for waits."""
        queue.enqueue([("one", "example"), ("two", "export_posts")])
        assert queue.waiting_ids() == {"one", "two"}
        assert queue.depth() == 2

    def test_enqueueing_nothing(self, queue: JobQueue) -> None:
        """There may be no task to enqueue a job for."""
        queue.enqueue([])
        assert queue.depth() == 0

    def test_a_hint(self, queue: JobQueue) -> None:
        """A hint enqueues a job, and tells that no worker is there to hear it."""
        assert not queue.hint("one", "example")
        assert queue.waiting_ids() == {"one"}

    def test_progress_without_a_job(self, queue: JobQueue) -> None:
        """Progress of a task whose job is gone is shown nowhere and is no error."""
        queue.save_progress("one", 50)
        assert queue.waiting_ids() == set()


class TestJobs:
    def test_a_job(self, real: JobQueue) -> None:
        """Whatever its kind, a job names one function and carries the task's id, as JSON."""
        real.enqueue([("one", "export_posts")])
        job = RegisteredJob.fetch("one", connection=real.redis, serializer=JSONSerializer)
        assert job.func_name == FUNCTION
        assert (job.args, job.kwargs, job.instance) == (["one"], {}, None)
        assert (job.timeout, job.origin) == (77, NAME)
        assert json.loads(job.data) == [job.func_name, None, ["one"], {}]
        assert job.description == "export_posts(one)"

    def test_the_function_of_jobs(self) -> None:
        """The name that every job carries is that of the worker's function."""
        assert import_attribute(FUNCTION) is run

    def test_another_task_s_job(self, real: JobQueue) -> None:
        """A job does what is to be done for the task that it is called after, or nothing."""
        real.enqueue([("one", "example")])
        forged = json.dumps([FUNCTION, None, ["another"], {}])
        real.redis.hset("rq:job:one", "data", forged)
        job = RegisteredJob.fetch("one", connection=real.redis, serializer=JSONSerializer)
        with pytest.raises(NoSuchJobError):
            job.perform()

    def test_stock_rq_reads_it(self, real: JobQueue) -> None:
        """RQ's own classes find the job, so its command line does, too."""
        real.enqueue([("one", "example")])
        assert real.rq.get_job_ids() == ["one"]

    def test_one_round_trip(self, redis_url: str) -> None:
        """Enqueueing a hundred jobs costs what enqueueing one costs: one round trip."""
        with closing(Redis(connection_pool=counting_pool(redis_url))) as redis:
            queue = JobQueue(redis, NAME, timeout_s=77)
            redis.ping()
            before = Counting.sent
            queue.enqueue([(f"task-{number}", "example") for number in range(100)])
            assert Counting.sent - before == 1
            assert queue.depth() == 100

    def test_a_finished_job_is_enqueued_again(self, real: JobQueue) -> None:
        """The new job does not expire with what RQ remembers of the old one."""
        real.enqueue([("one", "example")])
        finished = RegisteredJob.fetch("one", connection=real.redis, serializer=JSONSerializer)
        real.redis.delete(real.rq.key)
        finished.cleanup(500)
        assert real.redis.ttl(finished.key) > 0
        real.enqueue([("one", "example")])
        assert real.redis.ttl(finished.key) == -1

    @pytest.mark.parametrize("status", ["queued", "started"])
    def test_a_job_on_its_way(self, real: JobQueue, status: str) -> None:
        """A job that a worker is about to claim the task of is not enqueued a second time."""
        real.enqueue([("one", "example")])
        real.redis.delete(real.rq.key)  # as when a worker takes it
        moment = "enqueued_at" if status == "queued" else "started_at"
        facts: Any = {"status": status, moment: utcformat(now()), "worker_name": "somebody"}
        real.redis.hset("rq:job:one", mapping=facts)
        assert real.enqueue_again([("one", "example"), ("two", "example")]) == 1
        assert real.waiting_ids() == {"two"}
        assert real.redis.hget("rq:job:one", "worker_name") == b"somebody"
        for at in (now() - timedelta(seconds=6), now() + timedelta(hours=1)):
            real.redis.delete(real.rq.key)
            real.redis.hset("rq:job:one", mapping={**facts, moment: utcformat(at)})
            assert real.enqueue_again([("one", "example")]) == 1, "that worker has died"

    def test_a_worker_is_seen(self, real: JobQueue) -> None:
        """A worker that registered is listed until its key expires."""
        worker = SimpleWorker([NAME], connection=real.redis, name="somebody")
        worker.register_birth()  # type: ignore[no-untyped-call]
        (seen,) = real.workers()
        assert (seen.name, seen.current_task, seen.state) == ("somebody", None, "unknown")
        assert seen.pid == worker.pid
        assert seen.started_at <= seen.last_seen_at
        assert real.workers_alive() == 1
        assert real.hint("one", "example")
        real.redis.delete(worker.key)
        assert real.workers() == []
        assert real.workers_alive() == 0

    def test_a_registry_of_many_names(self, real: JobQueue) -> None:
        """However many names somebody put there, jobs are enqueued and living workers counted."""
        names = [f"rq:worker:{number}" for number in range(20_000)]
        real.redis.sadd(f"rq:workers:{NAME}", *names)
        real.redis.set(names[0], "")
        assert real.workers_alive() == 1
        assert real.enqueue([("one", "example")]) == 1
        assert real.depth() == 1

    def test_progress(self, real: JobQueue) -> None:
        """RQ's own object shows the percentage after a refresh."""
        real.enqueue([("one", "example")])
        job = get_rq_job("one", queue=real)
        assert job is not None
        real.save_progress("one", 42)
        assert job.meta == {}
        job.refresh()  # type: ignore[no-untyped-call]
        assert job.meta["progress"] == 42
        assert not job.is_finished

    def test_progress_of_a_job_that_is_gone(self, real: JobQueue) -> None:
        """No key is made for it: one without an expiry would stay for ever."""
        real.save_progress("one", 42)
        assert real.redis.keys() == []
        assert get_rq_job("one", queue=real) is None

    def test_progress_in_one_step(self, redis_url: str) -> None:
        """There is no moment between look and write in which the job could vanish."""
        with closing(Redis(connection_pool=counting_pool(redis_url))) as redis:
            queue = JobQueue(redis, NAME, timeout_s=77)
            queue.enqueue([("one", "example")])
            before = Counting.sent
            queue.save_progress("one", 42)
            assert Counting.sent - before == 1
            assert redis.hget("rq:job:one", "meta") == b'{"progress": 42}'

    def test_a_job_that_finished(self, real: JobQueue) -> None:
        """A job that RQ has finished says so."""
        real.enqueue([("one", "example")])
        job = get_rq_job("one", queue=real)
        assert job is not None
        job.set_status(JobStatus.FINISHED)
        again = get_rq_job("one", queue=real)
        assert again is not None
        assert again.is_finished


class Counting(Connection):
    """A connection that counts how often something is sent."""

    sent = 0

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        Counting.sent += 1
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]


def counting_pool(url: str) -> ConnectionPool:
    return ConnectionPool.from_url(url, connection_class=Counting)


@pytest.fixture(params=["nobody listens", "nobody answers"])
def deaf(request: pytest.FixtureRequest) -> Iterator[JobQueue]:
    """A Redis that is down in one of two ways."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        listening = request.param == "nobody answers"
        port = silent.getsockname()[1] if listening else free_port()
        with closing(api_client(f"redis://127.0.0.1:{port}/0")) as redis:
            yield JobQueue(redis, NAME, timeout_s=77)


@pytest.mark.parametrize(
    "call",
    [
        lambda queue: queue.enqueue([("one", "example")]),
        lambda queue: queue.waiting_ids(),
        lambda queue: queue.depth(),
        lambda queue: queue.workers(),
        lambda queue: queue.workers_alive(),
        lambda queue: queue.save_progress("one", 1),
    ],
    ids=["enqueue", "waiting_ids", "depth", "workers", "workers_alive", "save_progress"],
)
def test_redis_is_down(deaf: JobQueue, call: Callable[[JobQueue], object]) -> None:
    """Whoever cannot wait hears of it within three seconds."""

    def refused() -> None:
        with pytest.raises(QueueError):
            call(deaf)

    assert quickest_s(refused) < 3


def quickest_s(action: Callable[[], object]) -> float:
    """How long something takes: the shorter of two times, if the first one is long."""
    took_s: list[float] = []
    while len(took_s) < 2 and (not took_s or took_s[0] >= 3):
        started = time.monotonic()
        action()
        took_s.append(time.monotonic() - started)
    return min(took_s)


def test_a_hint_while_redis_is_down(deaf: JobQueue, caplog: pytest.LogCaptureFixture) -> None:
    """A hint is nothing to wait or fail for: it is logged, and a worker assumed to be there."""
    heard: list[int] = []
    assert quickest_s(lambda: heard.append(deaf.hint("one", "example"))) < 3
    assert all(heard)
    assert {vars(record)["task_id"] for record in caplog.records} == {"one"}


def test_the_job_while_redis_is_down(deaf: JobQueue) -> None:
    """There is no job to be seen, and that is said within three seconds."""
    assert quickest_s(lambda: no_job(deaf)) < 3


def no_job(queue: JobQueue) -> None:
    """Look for a job that is not there."""
    assert get_rq_job("one", queue=queue) is None
