"""Short tasks that one work horse claims together, does one by one, and ends together."""

import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from rq.registry import FailedJobRegistry
from rq.serializers import JSONSerializer

from chalicelib.adapters import job_queue
from chalicelib.adapters.job_queue import RegisteredJob
from chalicelib.db.engine import Database, db_clock
from chalicelib.db.models import Notification, Task, User
from chalicelib.errors import TaskError
from chalicelib.tasks import batches, pauses, requests
from chalicelib.tasks.leases import Claimed, Lease
from chalicelib.tasks.registry import TASKS, TaskKind
from chalicelib.wiring import Wiring
from tests.harness import ledgers
from tests.harness.ledgers import launch, make_user, now, put, the_task
from tests.harness.waiting import wait_until
from worker import attempts, batch, work_horse
from worker.attempts import Attempt
from worker.liveness import Work
from worker.runner import Runner, recover
from worker.work_horse import Limits, WorkHorse

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

SHORT = "short"
LARGE = Limits(rss_bytes=1 << 40)
MANY = 100
"""More jobs than there are, those that are taken again included: the horse ends when none comes."""

LEASED_BY = "chalicelib.tasks.leases.leased_by"

steps: dict[str, Any] = {}
"""What the next attempts do, by the labels of their tasks."""


def short(attempt: Attempt, label: str) -> dict[str, Any]:
    """What the test wants."""
    if label in steps:
        steps[label](attempt)
    return {"label": label, "claim": attempt.lease.claim}


@pytest.fixture(autouse=True)
def kind(monkeypatch: pytest.MonkeyPatch) -> TaskKind:
    """A kind of task of which a user may have several; what is slow here is the machine."""
    made = TaskKind(
        name=SHORT,
        title=SHORT,
        params={"label": str},
        function=f"{__name__}.short",
        unique_by=("label",),
    )
    monkeypatch.setitem(TASKS, SHORT, made)
    monkeypatch.setattr(work_horse.Pace, "short", lambda _self: {SHORT: 1, "example": 1})
    monkeypatch.setattr(batch, "LONGEST_S", 600)
    monkeypatch.setattr(work_horse, "LISTEN_TIMES", 1)
    steps.clear()
    return made


@pytest.fixture
def runner(wiring: Wiring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    """A worker whose horse is this process."""
    monkeypatch.setattr(attempts, "process_wiring", lambda: wiring)
    made = Runner(wiring, alive=tmp_path / "alive")
    yield made
    made.connection.close()


def ask(wiring: Wiring, *labels: str, users: int = 2) -> list[str]:
    """Queue tasks of some users in turn, and enqueue their jobs."""
    database = wiring.database
    owners = [make_user(database, f"user{number}") for number in range(users)]
    asked = [
        launch(database, owners[number % users], SHORT, label=label)
        for number, label in enumerate(labels)
    ]
    wiring.queue.enqueue([(task_id, SHORT) for task_id in asked])
    return asked


def work(runner: Runner, *, jobs: int) -> None:
    """Do the next job, which the parent takes, and those after it: so many in all."""
    (queue,) = runner.queues
    found = runner.queue_class.dequeue_any(
        [queue], 1, connection=runner.connection, job_class=RegisteredJob, serializer=JSONSerializer
    )
    assert found is not None
    limits = Limits(jobs, rss_bytes=LARGE.rss_bytes)
    WorkHorse(runner, queue, wiring=runner._wiring, parent=os.getppid(), limits=limits).work(
        found[0]
    )


def claim(database: Database, asked: list[str], name: str = SHORT) -> dict[str, Claimed]:
    names = dict.fromkeys(asked, name)
    return batches.claim(database, names, worker="worker", lease_s=30, now=now())


def statuses(database: Database, asked: list[str]) -> list[str]:
    return [the_task(database, task_id).status for task_id in asked]


def leases_of(claimed: dict[str, Claimed]) -> dict[str, Lease]:
    return {task_id: one.lease for task_id, one in claimed.items()}


def numbers(database: Database) -> list[tuple[int, int]]:
    """Of each notification, whose it is and its number."""
    with database.read() as session:
        found = session.execute(sa.select(Notification.user_id, Notification.seq))
        return sorted((row[0], row[1]) for row in found)


def test_each_is_what_it_would_be_alone(wiring: Wiring) -> None:
    """Claims, times, progress, results, and a number of its own for each notification."""
    database = wiring.database
    asked = ask(wiring, *"abcdefg")
    claimed = claim(database, asked)
    assert set(claimed) == set(asked)
    assert {one.task.claim for one in claimed.values()} == {1}
    for task_id in asked:
        task = the_task(database, task_id)
        assert (task.status, task.claim, task.attempt, task.worker) == ("running", 1, 1, "worker")
        assert task.started_at is not None
        assert task.lease_until is not None
    assert len(set(numbers(database))) == len(asked)
    facts = [(lease, {"of": task_id}, 5) for task_id, lease in leases_of(claimed).items()]
    assert batches.succeed(database, facts, now=now()) == set(asked)
    for task_id in asked:
        task = the_task(database, task_id)
        assert (task.status, task.percent, task.done, task.total) == ("succeeded", 100, 5, 5)
        assert task.result == {"of": task_id}
        assert task.finished_at is not None
        assert task.lease_until is None
    assert len(set(numbers(database))) == len(asked)
    with database.read() as session:
        told = session.scalars(sa.select(Notification.data)).all()
    assert {one["status"] for one in told} == {"succeeded"}


def test_what_cannot_be_claimed(wiring: Wiring) -> None:
    """One that is over, is not due, has failed before or is of another kind is left out."""
    database = wiring.database
    asked = ask(wiring, *"abcde", users=1)
    requests.cancel(database, asked[0], now=now())
    put(database, asked[1], failures=1)
    put(database, asked[2], due_at=db_clock(60))
    other = launch(database, make_user(database, "other"), "example")
    claimed = claim(database, [*asked, other])
    assert set(claimed) == set(asked[3:])
    assert statuses(database, [asked[1], asked[2], other]) == ["queued"] * 3
    with database.write() as session:
        pauses.pause(session, SHORT)
    assert claim(database, asked) == {}


def test_fences(wiring: Wiring) -> None:
    """Whoever lost a claim ends and releases nothing, and neither does one that was cancelled."""
    database = wiring.database
    asked = ask(wiring, *"abc")
    leases = leases_of(claim(database, asked))
    put(database, asked[0], claim=2)
    requests.cancel(database, asked[1], now=now())
    for change in (batches.release, _succeed):
        assert change(database, [leases[one] for one in asked[:2]], now=now()) == set()
    assert statuses(database, asked) == ["running", "cancelling", "running"]
    assert batches.release(database, leases.values(), now=now()) == {asked[2]}
    task = the_task(database, asked[2])
    assert (task.status, task.failures, task.lease_until) == ("queued", 0, None)


def test_signs_of_life(wiring: Wiring) -> None:
    """One for all; not for a claim that was lost, and nobody waits for a task that is locked."""
    database = wiring.database
    asked = ask(wiring, *"abc")
    leases = list(leases_of(claim(database, asked)).values())
    put(database, asked[0], claim=2)
    before = lease_ends(database, asked)
    with database.write() as session, ThreadPoolExecutor(1) as pool:
        session.execute(sa.select(Task.id).where(Task.id == asked[1]).with_for_update())
        pool.submit(batches.renew, database, leases).result(timeout=20)
        batches.renew(database, [])
    after = lease_ends(database, asked)
    assert [one < other for one, other in zip(before, after, strict=True)] == [False, False, True]


def lease_ends(database: Database, asked: list[str]) -> list[datetime]:
    ends = [the_task(database, task_id).lease_until for task_id in asked]
    assert None not in ends
    return [one for one in ends if one is not None]


@pytest.mark.parametrize("stops", [False, True])
def test_who_waits_keeps_the_lease(
    runner: Runner, wiring: Wiring, monkeypatch: pytest.MonkeyPatch, *, stops: bool
) -> None:
    """However long somebody else's transaction keeps users locked, nobody is taken for dead."""
    monkeypatch.setattr(batch, "LONGEST_S", 0.1)
    monkeypatch.setattr(attempts, "HEARTBEAT_INTERVAL_S", 0.05)
    database, stopping = wiring.database, threading.Event()
    _, *asked = ask(wiring, *"abcde")  # the first job is the parent's, and is done alone
    locked = threading.Event()

    def hold() -> None:
        with database.write() as session:
            session.execute(sa.select(User.id).with_for_update())
            before = lease_ends(database, asked)
            locked.set()
            wait_until(
                lambda: all(map(datetime.__gt__, lease_ends(database, asked), before)),
                "all have shown a sign of life",
            )

    def first(_attempt: Attempt) -> None:
        holding.append(pool.submit(hold))
        assert locked.wait(timeout=60)
        if stops:
            stopping.set()

    holding: list[Any] = []
    steps["b"] = first
    monkeypatch.setattr(work_horse, "stop_requested", stopping.is_set)
    with ThreadPoolExecutor(1) as pool:
        work(runner, jobs=MANY)
        holding[0].result(timeout=60)
    expected = ["succeeded"] + (["queued"] if stops else ["succeeded"]) * 3
    assert statuses(database, asked) == expected
    assert {the_task(database, one).failures for one in asked} == {0}
    assert runner.queues[0].get_job_ids() == (asked[1:] if stops else [])


@pytest.mark.parametrize("overtaken", [False, True])
def test_taken_and_not_claimed_for_long(
    runner: Runner,
    wiring: Wiring,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    overtaken: bool,
) -> None:
    """The reconciler enqueues jobs beside those that were taken: one of two finds nothing to do."""
    monkeypatch.setattr(job_queue, "ON_ITS_WAY_S", -1)
    caplog.set_level(logging.INFO)
    database, (queue,), together = wiring.database, runner.queues, batches.claim
    alone, *asked = ask(wiring, *"abcde")

    def late(*given: Any, **facts: Any) -> dict[str, Claimed]:
        monkeypatch.setattr(batches, "claim", together)
        assert wiring.reconciler.sweep(now=now())["enqueued"] == len(asked)
        if overtaken:  # by another worker, which the second job of a task has come to
            ledgers.claim(database, asked[1]).succeed({}, now=now(), kind=TASKS[SHORT])
        return together(*given, **facts)

    monkeypatch.setattr(batches, "claim", late)
    work(runner, jobs=MANY)
    tasks = [the_task(database, task_id) for task_id in asked]
    assert {(one.status, one.claim, one.attempt, one.failures) for one in tasks} == {
        ("succeeded", 1, 1, 0)
    }
    told = [one.task_id for one in caplog.records if getattr(one, "action", "") == "succeeded"]  # type: ignore[attr-defined]
    assert told == [alone, *(one for one in asked if not (overtaken and one == asked[1]))]
    assert queue.get_job_ids() == []
    assert runner.connection.lrange(queue.intermediate_queue_key, 0, -1) == []
    assert FailedJobRegistry(queue=queue).get_job_ids(cleanup=False) == []
    assert wiring.reconciler.sweep(now=now())["enqueued"] == 0


def test_a_user_who_is_locked(wiring: Wiring) -> None:
    """Somebody else's long transaction keeps the tasks of its user alone from going on."""
    database = wiring.database
    asked = ask(wiring, *"abcd")
    mine, others = asked[::2], asked[1::2]
    with ThreadPoolExecutor(1) as pool:
        for change, done in ((_claim_all, "running"), (_succeed_all, "succeeded")):
            with database.write() as session:
                owner = the_task(database, mine[0]).user_id
                session.execute(sa.select(User.id).where(User.id == owner).with_for_update())
                changed = pool.submit(change, database, asked).result(timeout=20)
            assert changed == set(others)
            assert statuses(database, others) == [done] * 2
            assert not {done} & set(statuses(database, mine))
            if done == "running":
                assert set(claim(database, asked)) == set(mine)


def _claim_all(database: Database, asked: list[str]) -> set[str]:
    return set(claim(database, asked))


def _succeed_all(database: Database, asked: list[str]) -> set[str]:
    leases = [Lease(database, task_id, 1, 30) for task_id in asked]
    return _succeed(database, leases, now=now())


def test_a_scheduled_one(wiring: Wiring) -> None:
    """Its schedule has to be told, so it succeeds alone."""
    database = wiring.database
    asked = ask(wiring, *"ab")
    put(database, asked[0], schedule_id="of a schedule that is gone")
    leases = leases_of(claim(database, asked))
    assert _succeed(database, leases.values(), now=now()) == {asked[1]}
    leases[asked[0]].succeed(now=now(), kind=TASKS[SHORT])
    assert statuses(database, asked) == ["succeeded"] * 2


def _succeed(database: Database, leases: Iterable[Lease], *, now: datetime) -> set[str]:
    return batches.succeed(database, [(one, None, None) for one in leases], now=now)


def test_one_after_the_other(
    runner: Runner, wiring: Wiring, caplog: pytest.LogCaptureFixture
) -> None:
    """In the order of the queue; each has its log lines, its result and its finished job."""
    caplog.set_level(logging.INFO)
    order: list[str] = []
    for label in "abcdef":
        steps[label] = lambda attempt: order.append(attempt.task.params["label"])
    asked = ask(wiring, *"abcdef")
    work(runner, jobs=6)
    assert order == list("abcdef")
    assert statuses(wiring.database, asked) == ["succeeded"] * 6
    assert [the_task(wiring.database, one).result for one in asked] == [
        {"label": label, "claim": 1} for label in "abcdef"
    ]
    over = [one.task_id for one in caplog.records if getattr(one, "action", "") == "succeeded"]  # type: ignore[attr-defined]
    assert over == asked
    redis, (queue,) = runner.connection, runner.queues
    for task_id in asked:
        job = RegisteredJob.fetch(task_id, connection=redis, serializer=JSONSerializer)
        assert job.is_finished
        assert job.meta["progress"] == 100
        assert job.worker_name == runner.name
        assert job.started_at is not None
        assert job.ended_at is not None
        assert 0 < redis.ttl(job.key) <= 500
    assert set(queue.finished_job_registry.get_job_ids(cleanup=False)) == set(asked)
    assert redis.lrange(queue.intermediate_queue_key, 0, -1) == []
    assert redis.keys("rq:execution*") == []
    assert redis.hget(runner.key, "successful_job_count") == b"6"


def test_each_has_its_own_outcome(runner: Runner, wiring: Wiring) -> None:
    """One fails, one is cancelled meanwhile, one has lost its claim, one returns no JSON."""
    database = wiring.database
    asked = ask(wiring, *"abcdef")

    def fail(_attempt: Attempt) -> None:
        raise TaskError("It broke.", code="broken")

    def lose(attempt: Attempt) -> None:
        put(database, attempt.task.id, claim=9)

    steps["b"] = fail
    steps["c"] = lambda attempt: requests.cancel(database, attempt.task.id, now=now())
    steps["d"] = lose
    steps["e"] = lambda attempt: setattr(attempt, "total", "no number")
    work(runner, jobs=6)
    expected = ["succeeded", "failed", "cancelled", "running", "failed", "succeeded"]
    assert statuses(database, asked) == expected
    assert the_task(database, asked[1]).error_code == "broken"
    assert the_task(database, asked[4]).error_code == "internal_error"
    failed = FailedJobRegistry(queue=runner.queues[0]).get_job_ids(cleanup=False)
    assert set(failed) == {asked[1], asked[4]}
    redis, (queue,) = runner.connection, runner.queues
    assert redis.lrange(queue.intermediate_queue_key, 0, -1) == []
    assert redis.keys("rq:execution*") == []


def test_one_that_takes_long(
    runner: Runner, wiring: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those before it end while it runs, those behind it are the next ones for others."""
    monkeypatch.setattr(batch, "LONGEST_S", 0.1)
    database, (queue,) = wiring.database, runner.queues
    asked = ask(wiring, *"abcdef")
    seen: dict[str, Any] = {}

    def look(attempt: Attempt) -> None:
        wait_until(lambda: queue.get_job_ids() == asked[3:], "the others are in the queue again")
        wait_until(attempt.heartbeat.is_alive, "it has a heartbeat")
        wait_until(lambda: the_task(database, asked[1]).status == "succeeded", "they have ended")
        wait_until(runner.get_current_executions, "RQ knows of it")
        seen["statuses"] = statuses(database, asked)
        seen["current"] = [one.job_id for one in runner.get_current_executions()]

    steps["c"] = look
    work(runner, jobs=MANY)
    assert seen["statuses"] == ["succeeded"] * 2 + ["running"] + ["queued"] * 3
    assert seen["current"] == [asked[2]]
    assert statuses(database, asked) == ["succeeded"] * 6
    tasks = [the_task(database, task_id) for task_id in asked]
    assert {(task.failures, task.attempt) for task in tasks} == {(0, 1)}
    assert all(task.claim >= 2 for task in tasks[3:])
    assert runner.connection.keys("rq:execution*") == []
    assert runner.connection.lrange(queue.intermediate_queue_key, 0, -1) == []


def test_one_that_takes_long_is_cancelled(
    runner: Runner, wiring: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it is on its own it hears of it, as if it had been alone from the beginning."""
    monkeypatch.setattr(batch, "LONGEST_S", 0.1)
    monkeypatch.setattr(attempts, "HEARTBEAT_INTERVAL_S", 0.05)
    asked = ask(wiring, *"abc")

    def wait(attempt: Attempt) -> None:
        requests.cancel(wiring.database, attempt.task.id, now=now())
        wait_until(lambda: attempt.heartbeat.reason, "it is told")
        attempt.check()

    steps["b"] = wait
    work(runner, jobs=MANY)
    assert statuses(wiring.database, asked) == ["succeeded", "cancelled", "succeeded"]


def test_it_must_stop(runner: Runner, wiring: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done counts, what has not begun is released, at no cost, and is next in the queue."""
    stopping = threading.Event()
    monkeypatch.setattr(work_horse, "stop_requested", stopping.is_set)
    asked = ask(wiring, *"abcdef")
    steps["c"] = lambda _attempt: stopping.set()
    work(runner, jobs=6)
    database, (queue,) = wiring.database, runner.queues
    assert statuses(database, asked) == ["succeeded"] * 3 + ["queued"] * 3
    assert {the_task(database, one).failures for one in asked} == {0}
    assert queue.get_job_ids() == asked[3:]


def test_a_task_that_was_cancelled_before_it_began(runner: Runner, wiring: Wiring) -> None:
    """Nobody does it any more when the others have to be released."""
    stopping: list[int] = []
    asked = ask(wiring, *"abcd")

    def stop(_attempt: Attempt) -> None:
        requests.cancel(wiring.database, asked[3], now=now())
        stopping.append(1)

    steps["b"] = stop
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work_horse, "stop_requested", lambda: bool(stopping))
        work(runner, jobs=4)
    expected = ["succeeded", "succeeded", "queued", "cancelled"]
    assert statuses(wiring.database, asked) == expected


def test_one_that_somebody_else_has_now(
    runner: Runner, wiring: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever must stop leaves alone what was taken away, and releases the others."""
    stopping = threading.Event()
    monkeypatch.setattr(work_horse, "stop_requested", stopping.is_set)
    asked = ask(wiring, *"abcd")

    def stop(_attempt: Attempt) -> None:
        put(wiring.database, asked[2], claim=7)
        stopping.set()

    steps["b"] = stop
    work(runner, jobs=4)
    assert statuses(wiring.database, asked) == ["succeeded"] * 2 + ["running", "queued"]
    assert the_task(wiring.database, asked[2]).claim == 7


def away(*_: object, **__: object) -> Any:
    """What a database does that is not there."""
    raise sa.exc.OperationalError("", None, Exception())


def test_a_database_that_is_away_when_they_are_claimed(
    runner: Runner, wiring: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their jobs go back, in their order."""
    monkeypatch.setattr(batches, "claim", away)
    asked = ask(wiring, *"abcd")
    with pytest.raises(sa.exc.OperationalError):
        work(runner, jobs=MANY)
    (queue,) = runner.queues
    assert statuses(wiring.database, asked) == ["succeeded"] + ["queued"] * 3
    assert queue.get_job_ids() == asked[1:]
    assert runner.connection.llen(queue.intermediate_queue_key) == 0


def test_a_database_that_is_away_when_they_part(
    runner: Runner,
    wiring: Wiring,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The one that takes long goes on; the leases of the others end, and they are queued again."""
    monkeypatch.setattr(batch, "LONGEST_S", 0.1)
    monkeypatch.setattr(attempts, "HEARTBEAT_INTERVAL_S", 0.05)
    database, asked, renewing = wiring.database, ask(wiring, *"abcd"), threading.Event()

    def renew(*_: object) -> None:
        renewing.set()
        away()

    def release(*_: object, **__: object) -> set[str]:
        assert renewing.wait(60)
        return away()  # type: ignore[no-any-return]

    monkeypatch.setattr(batches, "renew", renew)
    monkeypatch.setattr(batches, "release", release)
    steps["b"] = lambda _: wait_until(lambda: "could not part" in caplog.text, "they have parted")
    work(runner, jobs=4)
    assert "could not renew" in caplog.text
    assert statuses(database, asked) == ["succeeded"] * 2 + ["running"] * 2
    for task_id in asked[2:]:
        ledgers.lapse(database, task_id)
    assert wiring.reconciler.sweep(now=now())["recovered"] == 2
    assert statuses(database, asked) == ["succeeded"] * 2 + ["queued"] * 2


def test_its_thread_ends_with_it(runner: Runner, wiring: Wiring) -> None:
    """Whatever ends a batch, nothing of it goes on."""

    def interrupt(_attempt: Attempt) -> None:
        raise KeyboardInterrupt

    ask(wiring, *"abc")
    steps["b"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        work(runner, jobs=MANY)
    assert "batch" not in {one.name for one in threading.enumerate()}


def test_forged_jobs(runner: Runner, wiring: Wiring) -> None:
    """One among the others runs nothing, whatever it says that it is."""
    asked = ask(wiring, *"abcd")
    forged = wiring.queue.rq.create_job("os.system", args=("true",), job_id=asked[2])
    forged.description = f"{SHORT}({asked[2]})"
    forged.save()
    work(runner, jobs=4)
    expected = ["succeeded", "succeeded", "queued", "succeeded"]
    assert statuses(wiring.database, asked) == expected
    job = RegisteredJob.fetch(asked[2], connection=runner.connection, serializer=JSONSerializer)
    assert job.is_failed


def test_a_statement_that_fails(
    runner: Runner, wiring: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where they cannot end together each does so alone."""
    monkeypatch.setattr(batches, "succeed", away)
    asked = ask(wiring, *"abcd")
    work(runner, jobs=4)
    assert statuses(wiring.database, asked) == ["succeeded"] * 4


def taken_by(horse: WorkHorse) -> list[str]:
    """Which jobs a horse takes next."""
    _, taken = horse._take()
    return [job_id.decode() for job_id, _ in taken]


def test_how_many_are_taken(
    runner: Runner, wiring: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as fit, its share of them, none past a job that is not short, one beside the idle."""
    redis, (queue,) = wiring.queue.redis, runner.queues
    horse = WorkHorse(runner, queue, wiring=wiring, parent=os.getppid(), limits=LARGE)
    others = [f"rq:worker:{number}" for number in range(3)]

    def waiting(*names: str) -> list[str]:
        redis.delete(queue.key)
        ids = [f"0000000{number}-0000-4000-8000-000000000000" for number in range(len(names))]
        wiring.queue.enqueue(zip(ids, names, strict=True))
        return ids

    def pace(**costs: int) -> None:
        monkeypatch.setattr(horse._pace, "short", lambda: costs)

    pace(short=1)
    ids = waiting(*[SHORT] * 8)
    assert taken_by(horse) == ids
    ids = waiting(*[SHORT] * 3, "example", SHORT)
    assert taken_by(horse) == ids[:3]
    assert taken_by(horse) == ids[3:4]
    pace(short=20_000)
    ids = waiting(*[SHORT] * 8)
    assert taken_by(horse) == ids[:2]
    pace()
    assert taken_by(horse) == ids[2:3]
    pace(short=1)
    redis.sadd(f"rq:workers:{queue.name}", *others[:2])
    for name in others[:2]:
        redis.hset(name, "state", "busy")
    ids = waiting(*[SHORT] * 8)
    assert taken_by(horse) == ids[:4]
    redis.hset(others[0], "state", "idle")
    assert taken_by(horse) == ids[4:5]
    monkeypatch.setattr(batch, "MOST", 2)
    redis.delete(*others[:2])
    assert taken_by(horse) == ids[5:7]


def test_traces_want_one_at_a_time(wiring: Wiring) -> None:
    """While traces are exported, and on SQLite, nothing is taken ahead."""
    assert batch.are_possible(wiring)
    vars(wiring)["tracer"] = object()
    assert not batch.are_possible(wiring)


def test_recovery(wiring: Wiring) -> None:
    """Of the tasks of a dead horse only that which it was at counts a failure, and waits."""
    database = wiring.database
    asked = ask(wiring, *"abcd")
    held = claim(database, asked)
    task = held[asked[1]].task
    at = Work(task.id, SHORT, task.claim, 60, time.monotonic() + 60)
    recovered = recover(wiring, worker="worker", status=9, work=at)
    assert {(task_id, released) for task_id, _, released in recovered} == {
        (task_id, task_id != asked[1]) for task_id in asked
    }
    assert statuses(database, asked) == ["queued"] * 4
    assert [the_task(database, one).failures for one in asked] == [0, 1, 0, 0]
    assert set(claim(database, asked)) == {asked[0], asked[2], asked[3]}


def test_recovery_without_a_word(wiring: Wiring) -> None:
    """Where nobody knows what the horse was at, each counts one; none is claimed with others."""
    database = wiring.database
    asked = ask(wiring, *"abc")
    claim(database, asked)
    recover(wiring, worker="worker", status=9)
    with database.read() as session:
        assert set(session.scalars(sa.select(Task.failures))) == {1}
    for task_id in asked:
        ledgers.lapse(database, task_id)
    assert claim(database, asked) == {}
    assert ledgers.claim(database, asked[0]).claim == 2


def test_recovery_of_what_changed_meanwhile(
    wiring: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that its user has cancelled is cancelled, one that somebody else has is left alone."""
    database = wiring.database
    asked = ask(wiring, *"abc")
    held = claim(database, asked)
    leased = [(task_id, 1, SHORT) for task_id in asked]
    monkeypatch.setattr(LEASED_BY, lambda *_: leased)
    requests.cancel(database, asked[1], now=now())
    put(database, asked[2], claim=7)
    task = held[asked[0]].task
    at = Work(task.id, SHORT, task.claim, 60, time.monotonic() + 60)
    recovered = recover(wiring, worker="worker", status=9, work=at)
    assert not any(is_released for *_, is_released in recovered)
    assert statuses(database, asked) == ["queued", "cancelled", "running"]
    assert the_task(database, asked[2]).claim == 7


def test_recovery_without_a_database(wiring: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    """The leases end by themselves."""
    monkeypatch.setattr(LEASED_BY, away)
    assert recover(wiring, worker="worker", status=9) == []
