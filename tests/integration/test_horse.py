"""One process for many jobs, and what RQ's own tools see of it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from rq.job import Job
from rq.registry import FailedJobRegistry, StartedJobRegistry
from rq.serializers import JSONSerializer

from chalicelib.job_queue import RegisteredJob
from chalicelib.wiring import Wiring
from tests.ledgers import launch, make_user, put, the_task
from worker import attempts
from worker.horse import Horse
from worker.runner import Runner


@pytest.fixture
def runner(wiring: Wiring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    """A worker whose horse is this process."""
    monkeypatch.setattr(attempts, "process_wiring", lambda: wiring)
    made = Runner(wiring, alive=tmp_path / "alive")
    yield made
    made.connection.close()


def work(runner: Runner, *, parent: int | None = None, **limits: int) -> None:
    """Do what is in the queue, and what comes right after it."""
    (queue,) = runner.queues
    found = runner.queue_class.dequeue_any(
        [queue], 1, connection=runner.connection, job_class=RegisteredJob, serializer=JSONSerializer
    )
    assert found is not None
    parent = os.getppid() if parent is None else parent
    limits = {"max_rss_bytes": 1 << 40, **limits}  # the tests themselves may take a lot
    Horse(runner, queue, parent=parent, timeout_s=60, **limits).work(found[0])


def ask(wiring: Wiring, *names: str) -> list[str]:
    """Queue a task that takes no time for each user, and ring."""
    asked = [launch(wiring.database, make_user(wiring.database, one), "example") for one in names]
    for task_id in asked:
        put(wiring.database, task_id, params={"seconds": 0})
    wiring.queue.ring([(task_id, "example") for task_id in asked])
    return asked


def statuses(wiring: Wiring, asked: list[str]) -> list[str]:
    """How the tasks stand."""
    return [the_task(wiring.database, task_id).status for task_id in asked]


def job_of(runner: Runner, task_id: str) -> Job:
    """A task's job as RQ's tools see it."""
    return RegisteredJob.fetch(task_id, connection=runner.connection, serializer=JSONSerializer)


def test_it_goes_on_while_there_are_jobs(runner: Runner, wiring: Wiring) -> None:
    """It does what is there, and ends when nothing comes."""
    asked = ask(wiring, "susan", "david", "mary")
    work(runner)
    assert statuses(wiring, asked) == ["succeeded"] * 3
    assert {the_task(wiring.database, one).claim for one in asked} == {1}


def test_it_ends_after_so_many(runner: Runner, wiring: Wiring) -> None:
    """What is left is left to the next one, in the queue."""
    asked = ask(wiring, "susan", "david", "mary")
    work(runner, max_jobs=2)
    assert statuses(wiring, asked) == ["succeeded", "succeeded", "queued"]
    assert wiring.queue.waiting_ids() == {asked[2]}


def test_it_ends_when_it_has_grown(runner: Runner, wiring: Wiring) -> None:
    """What it does is done to its end; the next one begins small."""
    asked = ask(wiring, "susan", "david")
    work(runner, max_rss_bytes=1)
    assert statuses(wiring, asked) == ["succeeded", "queued"]
    assert wiring.queue.waiting_ids() == {asked[1]}


def test_it_takes_nothing_more_without_its_parent(runner: Runner, wiring: Wiring) -> None:
    """Nobody would bury it: it does what it was forked for, which hands itself back, and ends."""
    asked = ask(wiring, "susan", "david")
    work(runner, parent=1)
    assert wiring.queue.waiting_ids() == {asked[1]}
    assert statuses(wiring, asked)[1] == "queued"


def test_what_rq_sees(runner: Runner, wiring: Wiring) -> None:
    """Finished jobs, a worker that counts them and rests, nothing half-done."""
    (task_id,) = ask(wiring, "susan")
    work(runner)
    job = job_of(runner, task_id)
    assert job.is_finished
    assert job.meta["progress"] == 100
    assert job.worker_name == runner.name
    assert job.started_at is not None
    assert job.ended_at is not None
    assert job.ended_at >= job.started_at
    redis, (queue,) = runner.connection, runner.queues
    assert 0 < redis.ttl(job.key) <= 500
    assert StartedJobRegistry(queue=queue).get_job_ids(cleanup=False) == []
    assert queue.finished_job_registry.get_job_ids(cleanup=False) == [task_id]
    assert redis.keys("rq:execution*") == []
    assert redis.lrange(queue.intermediate_queue_key, 0, -1) == []
    assert redis.hmget(runner.key, "state", "successful_job_count") == [b"idle", b"1"]


def test_a_failed_job_stops_nobody(runner: Runner, wiring: Wiring) -> None:
    """RQ records it as failed, and the next one is done."""
    asked = ask(wiring, "susan", "david")
    put(wiring.database, asked[0], params={"hours": 0})  # its function does not take that
    work(runner)
    assert statuses(wiring, asked) == ["failed", "succeeded"]
    assert job_of(runner, asked[0]).is_failed
    failed = FailedJobRegistry(queue=runner.queues[0])
    assert failed.get_job_ids(cleanup=False) == [asked[0]]


def test_ids_without_a_job(runner: Runner, wiring: Wiring) -> None:
    """What Redis forgot is passed over, and not remembered either."""
    asked = ask(wiring, "susan", "david", "mary")
    runner.connection.delete(f"rq:job:{asked[1]}")
    work(runner)
    assert statuses(wiring, asked) == ["succeeded", "queued", "succeeded"]
    assert runner.connection.lrange(runner.queues[0].intermediate_queue_key, 0, -1) == []
