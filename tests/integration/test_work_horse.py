"""One process for many jobs, and what RQ's own tools see of it."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rq import Worker
from rq.exceptions import StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.registry import FailedJobRegistry, StartedJobRegistry
from rq.serializers import JSONSerializer
from rq.suspension import resume, suspend

from chalicelib.adapters.job_queue import RegisteredJob
from chalicelib.wiring import Wiring
from tests.harness.ledgers import launch, make_user, put, the_task
from tests.harness.processes import worker
from tests.harness.waiting import wait_until
from worker import attempts
from worker.runner import Runner
from worker.work_horse import Limits, WorkHorse

LARGE = Limits(rss_bytes=1 << 40)
"""The tests themselves may take a lot of memory."""


@pytest.fixture
def runner(wiring: Wiring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    """A worker whose horse is this process."""
    monkeypatch.setattr(attempts, "process_wiring", lambda: wiring)
    made = Runner(wiring, alive=tmp_path / "alive")
    yield made
    made.connection.close()


def work(runner: Runner, *, parent: int | None = None, limits: Limits = LARGE) -> None:
    """Do what is in the queue, and what comes right after it."""
    (queue,) = runner.queues
    found = runner.queue_class.dequeue_any(
        [queue], 1, connection=runner.connection, job_class=RegisteredJob, serializer=JSONSerializer
    )
    assert found is not None
    parent = os.getppid() if parent is None else parent
    horse = WorkHorse(runner, queue, wiring=runner._wiring, parent=parent, limits=limits)
    horse.work(found[0])


def ask(wiring: Wiring, *names: str) -> list[str]:
    """Queue a task that takes no time for each user, and enqueue its job."""
    database = wiring.database
    asked = [launch(database, make_user(database, one), "example", seconds=0) for one in names]
    wiring.queue.enqueue([(task_id, "example") for task_id in asked])
    return asked


def statuses(wiring: Wiring, asked: list[str]) -> list[str]:
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
    work(runner, limits=replace(LARGE, jobs=2))
    assert statuses(wiring, asked) == ["succeeded", "succeeded", "queued"]
    assert wiring.queue.waiting_ids() == {asked[2]}


def test_it_ends_when_it_has_grown(runner: Runner, wiring: Wiring) -> None:
    """What it does is done to its end; the next one begins small."""
    asked = ask(wiring, "susan", "david")
    work(runner, limits=Limits(rss_bytes=1))
    assert statuses(wiring, asked) == ["succeeded", "queued"]
    assert wiring.queue.waiting_ids() == {asked[1]}


def test_it_ends_after_a_while(runner: Runner, wiring: Wiring) -> None:
    """Its parent has other things to do, too, however much there is in the queue."""
    asked = ask(wiring, "susan", "david")
    work(runner, limits=replace(LARGE, age_s=0))
    assert statuses(wiring, asked) == ["succeeded", "queued"]
    assert wiring.queue.waiting_ids() == {asked[1]}


def test_it_claims_nothing_more_without_its_parent(runner: Runner, wiring: Wiring) -> None:
    """Nobody would recover its task: it does what it was forked for, which is released."""
    asked = ask(wiring, "susan", "david")
    work(runner, parent=os.getpid())
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


def test_a_kind_that_is_not_known(runner: Runner, wiring: Wiring) -> None:
    """A task of newer code stays queued, unclaimed, and the next one is done."""
    asked = ask(wiring, "susan", "david")
    put(wiring.database, asked[0], name="of_the_future")
    work(runner)
    assert statuses(wiring, asked) == ["queued", "succeeded"]
    assert the_task(wiring.database, asked[0]).claim == 0


def begin(runner: Runner, task_id: str, *, ago_s: int) -> Execution:
    """Note in Redis that a job was begun a while ago."""
    job = job_of(runner, task_id)
    with runner.connection.pipeline() as pipeline:
        execution = Execution.create(job, 65, pipeline=pipeline, worker_name=runner.name)
        begun = execution.created_at.timestamp() - ago_s
        pipeline.hset(execution.key, "created_at", str(begun))
        pipeline.execute()
    return execution


def test_what_is_left_over_kills_nobody(runner: Runner, wiring: Wiring) -> None:
    """An execution that was never ended neither lives on nor counts against the next horse."""
    old, new = ask(wiring, "susan", "david")
    left_over = begin(runner, old, ago_s=100_000)
    begin(runner, new, ago_s=5)
    runner.connection.expire(left_over.key, 30)
    runner._is_horse = True  # only its parent keeps other children
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as horse:
        runner._horse_pid = horse.pid
        runner._watch_horse(runner.queues[0])
        still_runs = horse.poll() is None
        runner.kill_horse()
    assert still_runs
    assert 0 < runner.connection.ttl(left_over.key) <= 30


def test_no_horse_is_killed_where_there_is_none(runner: Runner) -> None:
    """Who wants to stop a job whose horse is dead already does not hit the worker itself."""
    assert runner.horse_pid == 0
    runner.kill_horse()


def test_a_horse_that_breaks_down(
    runner: Runner, wiring: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parent goes on, and the task that nobody has claimed stays queued."""

    def break_down(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(WorkHorse, "work", break_down)
    monkeypatch.setattr("worker.runner.process_wiring", lambda: wiring)
    (asked,) = ask(wiring, "susan")
    job, queue = job_of(runner, asked), runner.queues[0]
    runner.execute_job(job, queue)
    assert runner.get_state() == "idle"
    assert statuses(wiring, [asked]) == ["queued"]


def test_recovery_leaves_nothing(runner: Runner, wiring: Wiring) -> None:
    """What a dead work horse did is over for Redis, even if the job is forgotten there."""
    asked = ask(wiring, "susan", "david")
    for task_id in asked:
        begin(runner, task_id, ago_s=5)
    runner.connection.delete(f"rq:job:{asked[0]}")
    runner._recover_from_horse(runner.queues[0])
    assert runner.get_current_executions() == []
    assert job_of(runner, asked[1]).is_failed


def test_suspended_horse(runner: Runner, wiring: Wiring) -> None:
    """`rq suspend` lets a horse end the job that it is at; the next ones stay, in their order."""
    asked = ask(wiring, "susan", "david", "maria")
    suspend(wiring.queue.redis)
    work(runner)
    assert statuses(wiring, asked) == ["succeeded", "queued", "queued"]
    (queue,) = runner.queues
    assert queue.get_job_ids() == asked[1:]
    assert runner.connection.llen(queue.intermediate_queue_key) == 0
    resume(wiring.queue.redis)
    work(runner)
    assert statuses(wiring, asked) == ["succeeded"] * 3


def test_suspended_while_a_horse_listens(
    runner: Runner, wiring: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A horse that was listening when `rq suspend` came puts the job back that it got."""
    (queue,) = runner.queues
    horse = WorkHorse(runner, queue, wiring=wiring, parent=os.getppid(), limits=LARGE)
    monkeypatch.setattr(horse, "_take", lambda: (False, []))  # it was asked before
    asked = ask(wiring, "susan")
    suspend(wiring.queue.redis)
    assert horse._next() == []
    assert queue.get_job_ids() == asked
    assert runner.connection.llen(queue.intermediate_queue_key) == 0


def test_suspended_worker(runner: Runner, wiring: Wiring) -> None:
    """A worker that was listening when `rq suspend` came puts the job back that it got."""
    asked = ask(wiring, "susan", "david")
    (queue,) = runner.queues
    found = runner.queue_class.dequeue_any(
        [queue], 1, connection=runner.connection, job_class=RegisteredJob, serializer=JSONSerializer
    )
    assert found is not None
    suspend(wiring.queue.redis)
    runner.execute_job(*found)
    assert runner.horse_pid == 0
    assert statuses(wiring, asked) == ["queued", "queued"]
    assert queue.get_job_ids() == asked


def states(wiring: Wiring) -> list[str]:
    """What the workers say that they are doing."""
    return [one.state for one in wiring.queue.workers()]


def test_suspended_for_real(wiring: Wiring, environment: dict[str, str], tmp_path: Path) -> None:
    """Twelve tasks wait while real workers are suspended, and are done when they are resumed."""
    with worker(environment, log=tmp_path / "log"):
        wait_until(wiring.queue.workers_alive, "the worker listens")
        suspend(wiring.queue.redis)
        asked = ask(wiring, *(f"user{number}" for number in range(12)))
        wait_until(lambda: states(wiring) == ["suspended"], "the worker knows")
        assert statuses(wiring, asked) == ["queued"] * 12
        assert set(asked) <= wiring.queue.waiting_ids()
        assert wiring.queue.workers_alive().suspended
        resume(wiring.queue.redis)
        wait_until(lambda: statuses(wiring, asked) == ["succeeded"] * 12, "all are done")
    assert not wiring.queue.workers_alive().suspended


def test_it_can_be_stopped_while_it_tidies(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that comes meanwhile is no trouble with a registry: the worker ends."""
    monkeypatch.setattr(Worker, "run_maintenance_tasks", lambda worker: worker._shutdown())
    with pytest.raises(StopRequested):
        runner.run_maintenance_tasks()
