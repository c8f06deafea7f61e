"""What becomes of a task, whatever its function does; on SQLite, with fakes for S3 and Redis."""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
import sqlalchemy as sa
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq.timeouts import JobTimeoutException
from sqlalchemy.exc import IntegrityError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from chalicelib.adapters.job_queue import FUNCTION
from chalicelib.db.engine import Database
from chalicelib.db.models import Task, User
from chalicelib.errors import TaskError
from chalicelib.exports.publication import File
from chalicelib.logs import JsonFormatter
from chalicelib.tasks.registry import TASKS
from chalicelib.tasks.requests import cancel_task
from chalicelib.wiring import Wiring
from tests.harness.ledgers import (
    JSON,
    LEASE_S,
    a_file,
    lapse,
    launch,
    make_user,
    now,
    put,
    the_email,
    the_export,
    the_task,
)
from tests.harness.waiting import wait_until
from worker import attempts, process
from worker.attempts import Attempt, FailedAttemptError, perform

SECRET = "dear diary"


@pytest.fixture
def task_id(database: Database) -> str:
    """A queued task that emails nothing."""
    return launch(database, make_user(database), "example", max_attempts=5)


@pytest.fixture(autouse=True)
def quick_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A heart that beats often, and no request to stop left over from another test."""
    monkeypatch.setattr(attempts, "HEARTBEAT_INTERVAL_S", 0.01)
    monkeypatch.setattr(process, "_requested", [])


def raising(error: BaseException) -> Callable[..., Any]:
    def function(_attempt: Attempt, **_: Any) -> None:
        raise error

    return function


def answer(code: str, status: int) -> ClientError:
    """A refusal by AWS, with somebody's words in it."""
    response = {
        "Error": {"Code": code, "Message": SECRET},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(response, "UploadPart")


def misread_alarm() -> Exception:
    """What botocore makes of RQ's alarm in the midst of a request."""
    error: Exception = HTTPClientError(error=JobTimeoutException())
    error.__context__ = JobTimeoutException()
    return error


class NoMoreInk(TaskError):
    """There is no more ink."""

    code = "no_more_ink"


FAILURES = [
    (TaskError(), "task_failed", "The task failed."),
    (TaskError("Sorry.", code="sorry"), "sorry", "Sorry."),
    (NoMoreInk(), "no_more_ink", "There is no more ink."),
    (RuntimeError(SECRET), "internal_error", "Something went wrong on our side."),
    (KeyError(SECRET), "internal_error", "Something went wrong on our side."),
    (FileNotFoundError(SECRET), "internal_error", "Something went wrong on our side."),
    (
        IntegrityError(SECRET, {}, Exception()),
        "internal_error",
        "Something went wrong on our side.",
    ),
    (InternalError(SECRET, {}, Exception()), "internal_error", "Something went wrong on our side."),
    (answer("AccessDenied", 403), "internal_error", "Something went wrong on our side."),
    (answer("NoSuchBucket", 404), "internal_error", "Something went wrong on our side."),
    (JobTimeoutException(), "timeout", "The task took longer than 3600 seconds."),
    (misread_alarm(), "timeout", "The task took longer than 3600 seconds."),
]


@pytest.mark.parametrize(("error", "code", "detail"), FAILURES, ids=repr)
def test_an_answer_ends_the_task(
    wired: Wiring, task_id: str, error: Exception, code: str, detail: str
) -> None:
    """What would happen again is not tried again; RQ hears of a failure and of nothing else."""
    with pytest.raises(FailedAttemptError) as caught:
        perform(task_id, wired, function=raising(error))
    assert SECRET not in str(caught.value)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    task = the_task(wired.database, task_id)
    assert (task.status, task.error_code, task.error_detail) == ("failed", code, detail)
    assert (task.attempt, task.percent) == (1, 0)
    assert task.finished_at is not None


TRANSIENT = [
    (OperationalError(SECRET, {}, Exception()), "database_unavailable"),
    (InterfaceError(SECRET, {}, Exception()), "database_unavailable"),
    (PoolTimeoutError(SECRET), "database_unavailable"),
    (InternalError(SECRET, {}, Exception(), connection_invalidated=True), "database_unavailable"),
    (EndpointConnectionError(endpoint_url="http://s3"), "storage_unavailable"),
    (ConnectTimeoutError(endpoint_url="http://s3"), "storage_unavailable"),
    (ReadTimeoutError(endpoint_url="http://s3"), "storage_unavailable"),
    (HTTPClientError(error=OSError()), "storage_unavailable"),
    (answer("InternalError", 500), "storage_unavailable"),
    (answer("ServiceUnavailable", 503), "storage_unavailable"),
    (answer("SlowDown", 503), "storage_unavailable"),
    (answer("Throttling", 400), "storage_unavailable"),
    (answer("RequestTimeout", 400), "storage_unavailable"),
    (RedisConnectionError(SECRET), "service_unavailable"),
    (RedisTimeoutError(SECRET), "service_unavailable"),
    (ConnectionResetError(SECRET), "service_unavailable"),
    (TimeoutError(SECRET), "service_unavailable"),
]


@pytest.mark.parametrize(("error", "code"), TRANSIENT, ids=repr)
def test_a_transient_error_is_tried_again(
    wired: Wiring, task_id: str, error: Exception, code: str
) -> None:
    """What may be gone in a moment queues the task again, with a pause, until the last attempt."""
    put(wired.database, task_id, max_attempts=2)
    began = now()
    perform(task_id, wired, function=raising(error))
    task = the_task(wired.database, task_id)
    assert (task.status, task.failures, task.error_code) == ("queued", 1, None)
    assert task.due_at >= began + timedelta(seconds=0.49)
    lapse(wired.database, task_id)
    with pytest.raises(FailedAttemptError):
        perform(task_id, wired, function=raising(error))
    task = the_task(wired.database, task_id)
    assert (task.status, task.attempt, task.error_code) == ("failed", 2, code)


def test_a_result(wired: Wiring, task_id: str) -> None:
    """What the function returns is the task's result."""

    def function(attempt: Attempt, seconds: int) -> dict[str, Any]:
        attempt.progress(1, 2)
        return {"counted": seconds}

    perform(task_id, wired, function=function)
    task = the_task(wired.database, task_id)
    assert (task.status, task.percent, task.result) == ("succeeded", 100, {"counted": 1})


def test_a_file(wired: Wiring) -> None:
    """A file is published in the commit that ends the task; then there is an email to send."""
    task_id = launch(wired.database, make_user(wired.database))
    emails: list[object] = []

    def function(attempt: Attempt) -> File:
        attempt.checkpoint(0, 3, {"some": "note"})
        emails.append(the_email(wired.database, task_id))
        file = a_file(attempt.task, attempt.lease.claim)
        wired.object_store.put(file.key, b"{}", JSON)
        attempt.total = 2
        return file

    perform(task_id, wired, function=function)
    task, export = the_task(wired.database, task_id), the_export(wired.database, task_id)
    assert (task.status, export.rows, export.size_bytes) == ("succeeded", {"posts": 2}, 2)
    assert (task.percent, task.done, task.total, task.checkpoint) == (100, 2, 2, None)
    assert export.object_key in wired.object_store.objects  # type: ignore[attr-defined]
    assert emails == [None]
    email = the_email(wired.database, task_id)
    assert email is not None
    assert (email.state, email.message_id, email.address) == ("sent", "0102", "susan@example.com")


@pytest.mark.parametrize(
    "outcome",
    [
        {"posts": 2},
        None,
        File("exports/1/mine.json", {"posts": 2}, 2, "0" * 64, 3600),
    ],
    ids=repr,
)
def test_a_file_that_would_be_lost(wired: Wiring, outcome: object) -> None:
    """An export that returns no file, or one that nobody will find, does not succeed in silence."""
    task_id = launch(wired.database, make_user(wired.database))
    with pytest.raises(FailedAttemptError):
        perform(task_id, wired, function=lambda _attempt: outcome)
    assert the_task(wired.database, task_id).error_code == "internal_error"


def test_a_file_of_a_task_that_publishes_none(wired: Wiring, task_id: str) -> None:
    """A task that is no export and returns a file does not succeed either."""
    file = a_file(the_task(wired.database, task_id), 1)
    with pytest.raises(FailedAttemptError):
        perform(task_id, wired, function=lambda _attempt, **_: file)
    assert the_task(wired.database, task_id).error_code == "internal_error"


def until_told(attempt: Attempt, **_: Any) -> None:
    while True:
        attempt.check()


def in_the_background(action: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=action)
    thread.start()
    return thread


def when_running(wired: Wiring, task_id: str, action: Callable[[], object]) -> threading.Thread:
    """Do something as soon as the task runs."""

    def wait() -> None:
        wait_until(lambda: the_task(wired.database, task_id).status == "running", "it runs")
        action()

    return in_the_background(wait)


def cancel(wired: Wiring, task_id: str) -> Task:
    """What the API does when the user asks to cancel."""
    with wired.database.write() as session:
        return cancel_task(session, task_id, lease_s=LEASE_S, now=now())


def test_cancel(wired: Wiring, task_id: str) -> None:
    """The heartbeat learns that the user does not want it any more."""
    thread = when_running(wired, task_id, lambda: cancel(wired, task_id))
    perform(task_id, wired, function=until_told)
    thread.join()
    task = the_task(wired.database, task_id)
    assert (task.status, task.error_code) == ("cancelled", None)


@pytest.mark.parametrize(
    "error",
    [TaskError(), RuntimeError(), JobTimeoutException(), RedisTimeoutError(), None],
    ids=repr,
)
def test_cancelled_meanwhile(wired: Wiring, task_id: str, error: Exception | None) -> None:
    """Whatever an attempt ends with, a task that the user cancelled is cancelled."""

    def function(_attempt: Attempt, **_: Any) -> dict[str, Any]:
        cancel(wired, task_id)
        if error is not None:
            raise error
        return {}

    perform(task_id, wired, function=function)
    assert the_task(wired.database, task_id).status == "cancelled"


def test_release(wired: Wiring, task_id: str) -> None:
    """A stopping worker queues its task again, with a job, and it costs no attempt."""
    thread = when_running(wired, task_id, lambda: process.request_stop(15, None))
    perform(task_id, wired, function=until_told)
    thread.join()
    task = the_task(wired.database, task_id)
    assert (task.status, task.failures) == ("queued", 0)
    assert wired.queue.enqueued == [task_id]  # type: ignore[attr-defined]
    process._requested.clear()
    perform(task_id, wired, function=lambda _attempt, seconds: {"seconds": seconds})
    task = the_task(wired.database, task_id)
    assert (task.status, task.attempt) == ("succeeded", 1)


def test_release_while_redis_is_down(wired: Wiring, task_id: str) -> None:
    """Without Redis the reconciler enqueues; the task is released all the same."""
    vars(wired.queue)["down"] = True
    thread = when_running(wired, task_id, lambda: process.request_stop(15, None))
    perform(task_id, wired, function=until_told)
    thread.join()
    assert the_task(wired.database, task_id).status == "queued"


def test_cancelled_while_releasing(wired: Wiring, task_id: str) -> None:
    """A stop and a cancel at once: the task is cancelled now, not when its lease is over."""

    def function(attempt: Attempt, **_: Any) -> None:
        process.request_stop(15, None)
        wait_until(lambda: attempt.heartbeat.reason, "the heartbeat says stop")
        cancel(wired, task_id)
        attempt.check()

    perform(task_id, wired, function=function)
    assert the_task(wired.database, task_id).status == "cancelled"


def test_claim_lost(wired: Wiring, task_id: str) -> None:
    """A worker that lost its task writes nothing more about it and is not told off by RQ."""
    thread = when_running(
        wired, task_id, lambda: put(wired.database, task_id, claim=7, worker="another")
    )
    perform(task_id, wired, function=until_told)
    thread.join()
    task = the_task(wired.database, task_id)
    assert (task.status, task.claim, task.worker) == ("running", 7, "another")


@pytest.mark.parametrize("request_", ["stop", "cancel"])
def test_claim_lost_at_the_last_moment(wired: Wiring, task_id: str, request_: str) -> None:
    """A claim that is lost between the request to end an attempt and its end is lost quietly."""

    def function(attempt: Attempt, **_: Any) -> None:
        if request_ == "stop":
            process.request_stop(15, None)
        else:
            cancel(wired, task_id)
        wait_until(lambda: attempt.heartbeat.reason, "the heartbeat says stop")
        put(wired.database, task_id, claim=7)
        attempt.check()

    perform(task_id, wired, function=function)
    assert the_task(wired.database, task_id).claim == 7


@pytest.mark.parametrize(
    "error", [TaskError(), RuntimeError(), RedisTimeoutError(), None], ids=repr
)
def test_claim_lost_before_the_outcome(
    wired: Wiring, task_id: str, error: Exception | None
) -> None:
    """No outcome of a lost attempt is written over somebody else's."""

    def function(_attempt: Attempt, **_: Any) -> dict[str, Any]:
        put(wired.database, task_id, claim=7)
        if error is not None:
            raise error
        return {}

    perform(task_id, wired, function=function)
    task = the_task(wired.database, task_id)
    assert (task.status, task.claim, task.error_code, task.result) == ("running", 7, None, None)


def test_nothing_to_do(wired: Wiring, task_id: str) -> None:
    """A job for a task that is over, that somebody else has or that never was does nothing."""
    perform(task_id, wired, function=lambda _attempt, seconds: {"seconds": seconds})
    before = the_task(wired.database, task_id)
    perform(task_id, wired, function=raising(RuntimeError()))
    perform("00000000-0000-4000-8000-000000000000", wired, function=raising(RuntimeError()))
    after = the_task(wired.database, task_id)
    assert (after.status, after.claim) == (before.status, before.claim)


def test_a_task_that_swallows_its_timeout(wired: Wiring, task_id: str) -> None:
    """A library that takes RQ's alarm for a failed request and tries again gains no time."""

    def function(attempt: Attempt, **_: Any) -> dict[str, Any]:
        attempt._started_at -= wired.settings.task_timeout_s + 1
        attempt.check()
        return {}

    with pytest.raises(FailedAttemptError):
        perform(task_id, wired, function=function)
    assert the_task(wired.database, task_id).error_code == "timeout"


@pytest.mark.parametrize(
    "end", [dict, lambda: raise_(TaskError("No ink.")), lambda: raise_(RuntimeError())]
)
def test_whatever_comes_after_its_time(wired: Wiring, task_id: str, end: Callable[[], Any]) -> None:
    """What a task returns or raises when its time is over is no other outcome than that."""

    def function(attempt: Attempt, **_: Any) -> Any:
        attempt._started_at -= wired.settings.task_timeout_s + 1
        return end()

    with pytest.raises(FailedAttemptError) as caught:
        perform(task_id, wired, function=function)
    assert caught.value.timed_out
    assert the_task(wired.database, task_id).error_code == "timeout"


def raise_(error: Exception) -> None:
    raise error


def test_an_alarm_of_its_own(wired: Wiring, task_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind's own limit counts, shorter or longer than that of the settings."""
    kind = replace(TASKS["example"], time_limit_s=1)
    monkeypatch.setitem(TASKS, "example", kind)
    with pytest.raises(FailedAttemptError):
        perform(task_id, wired, function=lambda _attempt, **_: time.sleep(60))
    task = the_task(wired.database, task_id)
    assert (task.error_code, task.error_detail) == (
        "timeout",
        "The task took longer than 1 seconds.",
    )


def test_out_of_time_with_a_checkpoint(wired: Wiring, task_id: str) -> None:
    """It goes on where it is: a job for it is in the queue, and RQ hears of no failure."""

    def function(attempt: Attempt, **_: Any) -> None:
        attempt.checkpoint(1, 2, {"step": 1})
        attempt._started_at -= wired.settings.task_timeout_s + 1
        attempt.check()

    assert perform(task_id, wired, function=function) == "out_of_time"
    task = the_task(wired.database, task_id)
    assert (task.status, task.failures, task.checkpoint) == ("queued", 0, {"step": 1})
    assert wired.queue.enqueued == [task_id]  # type: ignore[attr-defined]


@pytest.fixture
def contended(wired: Wiring, database: Database, monkeypatch: pytest.MonkeyPatch) -> Wiring:
    """Somebody waits, no worker is idle, and a slice is over as soon as it begins."""
    for name, kind in list(TASKS.items()):
        monkeypatch.setitem(TASKS, name, replace(kind, resumable=True))
    vars(wired)["settings"] = replace(wired.settings, fair_slice_s=0)
    wired.queue.contended = True  # type: ignore[attr-defined]
    launch(database, make_user(database, "waiting"), "example")
    return wired


def twice(attempt: Attempt, **_: Any) -> dict[str, Any]:
    """Two steps, with a checkpoint after each."""
    for step in range((attempt.task.checkpoint or {"step": 0})["step"], 2):
        attempt.checkpoint(step + 1, 2, {"step": step + 1})
    return {"claims": attempt.lease.claim}


def test_a_slice_is_over(contended: Wiring, task_id: str) -> None:
    """It ends at a checkpoint, costs no attempt, and has a job at the end of the queue."""
    outcomes = [perform(task_id, contended, function=twice) for _ in range(3)]
    assert outcomes == ["slice_over", "slice_over", "succeeded"]
    task = the_task(contended.database, task_id)
    assert (task.result, task.attempt, task.failures) == ({"claims": 3}, 1, 0)
    assert contended.queue.enqueued == [task_id] * 2  # type: ignore[attr-defined]


def all_is_quiet(wired: Wiring) -> None:
    wired.queue.contended = False  # type: ignore[attr-defined]


def nobody_waits(wired: Wiring) -> None:
    with wired.database.write() as session:
        session.execute(sa.delete(User).where(User.username == "waiting"))


def redis_is_down(wired: Wiring) -> None:
    wired.queue.down = True  # type: ignore[attr-defined]


def the_slice_has_just_begun(wired: Wiring) -> None:
    vars(wired)["settings"] = replace(wired.settings, fair_slice_s=60)


def it_cannot_resume(_wired: Wiring) -> None:
    TASKS["example"] = replace(TASKS["example"], resumable=False)


@pytest.mark.parametrize(
    "change",
    [all_is_quiet, nobody_waits, redis_is_down, the_slice_has_just_begun, it_cannot_resume],
    ids=lambda one: one.__name__,
)
def test_no_reason_to_make_room(
    contended: Wiring, task_id: str, change: Callable[[Wiring], None]
) -> None:
    """An idle worker, a job of this very task, a Redis that is away: it goes on."""
    change(contended)
    assert perform(task_id, contended, function=twice) == "succeeded"
    assert the_task(contended.database, task_id).claim == 1


def test_who_waits_is_asked_seldom(
    contended: Wiring, task_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a task notes where it is, Redis is asked once a second."""
    asked: list[int] = []
    monkeypatch.setattr(contended.queue, "is_contended", lambda: asked.append(1))

    def function(attempt: Attempt, **_: Any) -> dict[str, Any]:
        for step in range(5):
            attempt.checkpoint(step, 9, {"step": step})
        vars(attempt)["_asked_at"] -= attempts.ASK_INTERVAL_S
        attempt.checkpoint(6, 9, {"step": 6})
        return {}

    began = time.monotonic()
    perform(task_id, contended, function=function)
    assert 2 <= len(asked) <= 2 + (time.monotonic() - began) / attempts.ASK_INTERVAL_S


def test_progress(wired: Wiring, task_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress never falls, is never 100 before the end, and is shown in Redis."""
    monkeypatch.setattr(attempts, "PROGRESS_INTERVAL_S", 0)
    monkeypatch.setattr(attempts, "SHOWN_AFTER_S", 0)
    wired.queue.enqueue([(task_id, "example")])
    seen: list[int] = []

    def function(attempt: Attempt, **_: Any) -> dict[str, Any]:
        for done in (10, 50, 20, 100):
            attempt.progress(done, 100)
            seen.append(the_task(wired.database, task_id).percent)
        return {}

    perform(task_id, wired, function=function)
    assert seen == [10, 50, 50, 99]
    assert wired.queue.shown == {task_id: 99}  # type: ignore[attr-defined]


def test_progress_while_redis_is_down(
    wired: Wiring, task_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis is a hint: an attempt goes on without it."""
    monkeypatch.setattr(attempts, "PROGRESS_INTERVAL_S", 0)
    vars(wired.queue)["down"] = True

    def function(attempt: Attempt, **_: Any) -> dict[str, Any]:
        attempt.progress(1, 2)
        return {}

    perform(task_id, wired, function=function)
    assert the_task(wired.database, task_id).status == "succeeded"


def test_progress_is_not_written_all_the_time(wired: Wiring, task_id: str) -> None:
    """A function may report as often as it likes; the ledger hears of it twice a second."""
    seqs: list[int] = []
    most: list[float] = []

    def function(attempt: Attempt, **_: Any) -> dict[str, Any]:
        reports: list[int] = []
        report = attempt.lease.report
        vars(attempt)["lease"] = Counted(report, reports)
        started = time.monotonic()
        for done in range(1000):
            attempt.progress(done, 1000)
        elapsed_s = time.monotonic() - started
        vars(attempt)["lease"] = report.__self__  # type: ignore[attr-defined]
        seqs.append(len(reports))
        most.append(1 + elapsed_s / attempts.PROGRESS_INTERVAL_S)
        return {}

    perform(task_id, wired, function=function)
    assert 1 <= seqs[0] <= most[0] < 500


class Counted:
    """A lease that counts reports."""

    def __init__(self, report: Callable[..., int], reports: list[int]) -> None:
        self._report = report
        self._reports = reports

    def report(self, done: int, total: int, **notes: Any) -> int:
        self._reports.append(done)
        return self._report(done, total, **notes)


@pytest.mark.parametrize("error", [RuntimeError(SECRET), OperationalError(SECRET, {}, OSError())])
def test_logs_hold_no_messages(
    wired: Wiring, task_id: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """A log line names the exception and where it came from, never what it says."""
    caplog.set_level(logging.DEBUG, "worker")
    perform_quietly(task_id, raising(error), wired)
    lines = [JsonFormatter().format(record) for record in caplog.records]
    assert any(type(error).__name__ in line for line in lines)
    assert not [line for line in lines if SECRET in line]


def test_one_outcome_line(wired: Wiring, task_id: str, caplog: pytest.LogCaptureFixture) -> None:
    """Each attempt leaves one line with its outcome and its duration."""
    caplog.set_level(logging.INFO, "worker")
    perform_quietly(task_id, raising(TaskError(SECRET)), wired)
    (line,) = [vars(one) for one in caplog.records if one.getMessage() == "attempt over"]
    assert (line["action"], line["task_id"], line["attempt"]) == ("failed", task_id, 1)
    assert line["duration_s"] >= 0


def perform_quietly(task_id: str, function: Callable[..., Any], wired: Wiring) -> None:
    try:
        perform(task_id, wired, function=function)
    except FailedAttemptError:
        return


def test_the_heart_stops_with_the_parent(
    wired: Wiring, task_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A work horse whose parent was killed releases its task."""
    parents = iter([os.getppid()])
    monkeypatch.setattr(os, "getppid", lambda: next(parents, os.getpid()))
    perform(task_id, wired, function=until_told)
    task = the_task(wired.database, task_id)
    assert (task.status, task.failures) == ("queued", 0)


def test_a_heart_that_cannot_beat(
    wired: Wiring, task_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that does not respond for a moment ends no attempt."""
    beats: list[int] = []

    def function(_attempt: Attempt, **_: Any) -> dict[str, Any]:
        wait_until(lambda: len(beats) > 2, "the heart has tried")
        return {}

    def renew(_lease: object) -> str:
        beats.append(1)
        raise OperationalError("renew", {}, Exception())

    monkeypatch.setattr("chalicelib.tasks.leases.Lease.renew", renew)
    perform(task_id, wired, function=function)
    assert the_task(wired.database, task_id).status == "succeeded"


def test_functions_are_where_the_registry_says() -> None:
    """What a kind of task names can be imported, and so can what a job names."""
    named = {name for kind in TASKS.values() for name in (kind.function, kind.follow_up) if name}
    for name in {*named, FUNCTION}:
        module, _, function = name.rpartition(".")
        assert callable(getattr(import_module(module), function))
