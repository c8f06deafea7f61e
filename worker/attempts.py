"""One try of a worker at a task: claim, execute, outcome.

A task's function is written without a thought of queues and leases: it gets an `Attempt`, calls
`progress` now and then, and returns its result or raises. `run` is what RQ calls.
"""

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from rq import get_current_job
from rq.timeouts import JobTimeoutException
from rq.utils import import_attribute
from sqlalchemy import orm as so

from chalicelib.adapters import tracing
from chalicelib.adapters.job_queue import QueueError, RegisteredJob
from chalicelib.db.engine import unhurried
from chalicelib.db.models import Task
from chalicelib.errors import (
    AttemptOver,
    CancelRequested,
    ClaimLost,
    ReleaseRequested,
    SliceOver,
    TaskError,
)
from chalicelib.logs import bound, metrics
from chalicelib.tasks import leases, shares
from chalicelib.tasks.leases import Lease
from chalicelib.tasks.registry import TASKS, TaskKind, kind_of
from chalicelib.wiring import Wiring
from worker import liveness, transient_errors
from worker.liveness import Work
from worker.process import process_wiring, stop_requested
from worker.time_limit import time_limit

log = logging.getLogger(__name__)

PROGRESS_INTERVAL_S = 0.5
"""The least time between two writes of progress."""

SHOWN_AFTER_S = 1.0
"""How long an attempt lasts until RQ's tools see how far it is: before, nobody can have looked."""

HEARTBEAT_INTERVAL_S = 1.0
"""How often an attempt shows a sign of life and looks whether it should stop."""

ASK_INTERVAL_S = 1.0
"""The least time between two looks whether others wait, once a slice is over."""

REQUEUED = frozenset({"released", "slice_over", "out_of_time"})
"""Outcomes after which the task has a job in the queue again."""

PENDING = "pending"
"""Of an attempt whose success is still to be written, with those of others; no outcome."""

ENDED_BADLY = frozenset({"cancelled", "failed", "claim_lost"})


class FailedAttemptError(Exception):
    """What RQ is told about a failed task: that, and nothing of what users wrote.

    Attributes:
        timed_out: Whether it was interrupted, in the midst of whatever it was about.
    """

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class Heartbeat(threading.Thread):
    """Renews the lease while the task works, and learns whether it should stop.

    Args:
        lease: The lease to renew.
        interval_s: Seconds between two signs of life.
    """

    def __init__(self, lease: Lease, *, interval_s: float) -> None:
        super().__init__(daemon=True, name="heartbeat")
        self._lease = lease
        self._interval_s = interval_s
        self._parent = os.getppid()
        self._done = threading.Event()
        self.reason: type[AttemptOver] | None = None

    def run(self) -> None:
        """Beat until told to stop or until the lease is lost."""
        while not self._done.wait(self._interval_s) and self.reason is not ClaimLost:
            try:
                status = self._lease.renew()
            except Exception:
                # The lease outlives a few missed beats; if it does not, the next one tells.
                log.warning("could not renew", extra={"action": "renew"}, exc_info=True)
                continue
            if status is None:
                self.reason = ClaimLost
            elif status == "cancelling":
                self.reason = CancelRequested
            elif stop_requested() or os.getppid() != self._parent:
                self.reason = ReleaseRequested

    def stop(self) -> None:
        """End the beating, if it has begun."""
        self._done.set()
        with suppress(RuntimeError):  # it has not
            self.join()


def heartbeat_interval_s(wiring: Wiring) -> float:
    """How long there may be no sign of life, in seconds."""
    return min(HEARTBEAT_INTERVAL_S, wiring.settings.lease_s / 3)


INTERRUPT_INTERVAL_S = 0.2
"""How often one looks whether a long statement must stop."""


@contextmanager
def interruptible(
    session: so.Session, heartbeat: Heartbeat, *, check: Callable[[], None]
) -> Iterator[None]:
    """Have the database give up a long statement when the attempt must stop.

    Args:
        session: The session whose statement it is.
        heartbeat: Knows whether the attempt must stop.
        check: Raises what the attempt ends with, instead of the statement's error.
    """
    driver = session.connection().connection.driver_connection
    stop = getattr(driver, "interrupt", None) or driver.cancel  # type: ignore[union-attr]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(INTERRUPT_INTERVAL_S):
            if heartbeat.reason is not None:
                stop()

    watcher = threading.Thread(target=watch, daemon=True, name="watcher")
    watcher.start()
    try:
        with unhurried(session):
            yield
    except Exception:
        check()
        raise
    finally:
        done.set()
        watcher.join()


@dataclass
class Attempt:
    """What a task's function may use.

    Attributes:
        task: The task as claimed: `user_id`, `started_at`, `checkpoint`, `done`.
        kind: Its kind, as it was declared.
        facts: What its kind fixed for all attempts; see `TaskKind.on_claim`.
        wiring: Clients and settings.
        clock: Seconds that never go back.
        total: How much was done in all, where that is known more exactly than it was reported.
        content: A small file that the task has just published, for its email.
        result: What the function has returned, as `TaskKind.on_success` gets it.
        timed_out: Whether the function was still about something when its time was over.
        duration_s: How long it took, once it is over.
    """

    task: Task
    kind: TaskKind
    facts: Any
    wiring: Wiring
    lease: Lease
    heartbeat: Heartbeat
    clock: Callable[[], float] = time.monotonic
    total: int | None = None
    content: bytes | None = None
    result: Any = None
    timed_out: bool = False
    duration_s: float = 0
    _started_at: float = field(init=False)
    _reported_at: float = float("-inf")
    _asked_at: float = float("-inf")

    def __post_init__(self) -> None:
        """Begin."""
        self._started_at = self.clock()

    def end(self) -> None:
        """Note that it is over."""
        self.duration_s = self.clock() - self._started_at

    @property
    def time_limit_s(self) -> int:
        """How long the attempt may take, in seconds."""
        return self.kind.time_limit_s or self.wiring.settings.task_timeout_s

    @property
    def deadline(self) -> float:
        """When its time is over, by the monotonic clock."""
        return self._started_at + self.time_limit_s

    @property
    def work(self) -> Work:
        """What the parent of this process must know to end the attempt."""
        return Work(
            self.task.id, self.kind.name, self.lease.claim, self.time_limit_s, self.deadline
        )

    def check(self) -> None:
        """Stop here when the attempt is over.

        Call it between two steps; what was not checkpointed is done again.

        Raises:
            ClaimLost, CancelRequested, ReleaseRequested, JobTimeoutException: Let it pass.
        """
        if self.heartbeat.reason is not None:
            raise self.heartbeat.reason
        # The alarm goes off once; a library may take it for a failed request and try again.
        if self.clock() > self.deadline:
            raise JobTimeoutException

    def confirm(self) -> None:
        """Ask the ledger itself whether the attempt still has the lease.

        Raises:
            ClaimLost: Let it pass.
        """
        if self.lease.renew() is None:
            raise ClaimLost

    def progress(self, done: int, total: int) -> None:
        """Tell how far the task is: as often as you like, written about twice a second.

        Raises:
            ClaimLost, CancelRequested, ReleaseRequested: Let it pass.
        """
        self.check()
        if self.clock() - self._reported_at >= PROGRESS_INTERVAL_S:
            self._report(done, total)

    def checkpoint(
        self,
        done: int,
        total: int,
        state: dict[str, Any],
        *,
        write: Callable[[so.Session], None] | None = None,
    ) -> None:
        """Note where the next attempt can go on, and write what that covers in the same commit.

        Raises:
            SliceOver: Let it pass: the kind is resumable, and others have waited long enough.
        """
        self._report(done, total, checkpoint=state, write=write)
        if self.kind.resumable and self._others_have_waited():
            raise SliceOver

    def _others_have_waited(self) -> bool:
        """Whether the slice is over and somebody waits for whom no worker is idle.

        Redis alone knows who is idle; but a job in it may be one of this very task, or of one that
        was cancelled, so the ledger has the last word.
        """
        now = self.clock()
        slice_ends_at = self._started_at + self.wiring.settings.fair_slice_s
        if now < max(slice_ends_at, self._asked_at + ASK_INTERVAL_S):
            return False
        self._asked_at = now
        try:
            if not self.wiring.queue.is_contended():
                return False
        except QueueError:
            return False  # and nobody could start anything
        with self.wiring.database.read() as session:
            return leases.others_wait(session)

    def before_success(self) -> Callable[[so.Session, Any], Any] | None:
        """What the kind of task does before its success, if anything; it stops when it must."""
        if not self.kind.has("before_success"):
            return None

        def before(session: so.Session, outcome: Any) -> Any:
            now = self.wiring.now()
            with interruptible(session, self.heartbeat, check=self.check):
                return self.kind.before_success(session, self.task, outcome, now=now)

        return before

    def _report(self, done: int, total: int, **notes: Any) -> None:
        percent = self.lease.report(done, total, now=self.wiring.now(), **notes)
        self._reported_at = self.clock()
        if self._reported_at - self._started_at >= SHOWN_AFTER_S:
            self.show_in_redis(percent)

    def show_in_redis(self, percent: int) -> None:
        """Show a percentage to RQ's own tools; they are a courtesy, so nothing fails for them."""
        try:
            self.wiring.queue.save_progress(self.task.id, percent)
        except QueueError:
            log.debug("no progress in Redis", extra={"action": "progress"})

    @property
    def log_facts(self) -> dict[str, Any]:
        """What every log line of the attempt carries."""
        facts = {"task_id": self.task.id, "task_name": self.task.name}
        return {"action": "attempt", **facts, "attempt": self.task.attempt}


Function = Callable[..., Any]


def run(task_id: str) -> str | None:
    """Do what is to be done for a task; the one function that a job names.

    Returns:
        What became of the attempt; None when there was nothing to do.
    """
    wiring, origin = process_wiring(), _origin()
    attempt = tracing.root(
        wiring.tracer,
        "attempt",
        kind=tracing.Kind.CONSUMER,
        parent=origin.get("traceparent"),
        carryout__task__id=task_id,
    )
    with bound(request_id=request_id_of(origin), task_id=task_id), attempt:
        return perform(task_id, wiring, name=_probable_name())


def _origin() -> dict[str, str]:
    """Where the job comes from; whoever can write to Redis may have made it up."""
    job = get_current_job()
    meta = job.meta if job is not None else {}
    return {name: str(value) for name, value in meta.items()}


def request_id_of(origin: Mapping[str, Any]) -> str | None:
    """The request that a job comes from, if it can be one."""
    given = str(origin.get("request_id", ""))
    return given if re.fullmatch(r"[\w-]{1,64}", given) else None


def _probable_name() -> str | None:
    job = get_current_job()
    return job.probable_name if isinstance(job, RegisteredJob) else None


Begin = Callable[..., Attempt]


class Companion(Protocol):
    """What an attempt knows of the others whose tasks were claimed together with its own.

    Attributes:
        claimed: Its own task.
    """

    claimed: leases.Claimed

    def begin(self, attempt: Attempt) -> None:
        """The attempt begins; start its heartbeat, now or as soon as it takes long."""

    def defer(self) -> bool:
        """Whether the success of the attempt, which is over, will be written with the others'."""


_companion: ContextVar[Companion | None] = ContextVar("companion", default=None)


@contextmanager
def in_company(companion: Companion) -> Iterator[None]:
    """Have the attempt inside be one of several."""
    token = _companion.set(companion)
    try:
        yield
    finally:
        _companion.reset(token)


def begin(
    task: Task, kind: TaskKind, facts: Any, wiring: Wiring, lease: Lease, **more: Any
) -> Attempt:
    """An attempt at a task that was just claimed."""
    heartbeat = Heartbeat(lease, interval_s=heartbeat_interval_s(wiring))
    return Attempt(task, kind, facts, wiring, lease, heartbeat, **more)


def perform(
    task_id: str,
    wiring: Wiring,
    *,
    function: Function | None = None,
    begin: Begin = begin,
    name: str | None = None,
) -> str | None:
    """Make an attempt at a task, if there is anything to do.

    Args:
        task_id: Which task.
        wiring: Clients and settings.
        function: What does it; None for the function that its kind names.
        begin: Makes the attempt; `worker.testing` has one of its own.
        name: Of what kind it probably is; see `leases.claim`.

    Returns:
        The outcome, for the log; None when there was nothing to do.

    Raises:
        FailedAttemptError: The task failed; RQ shows the job as failed, too.
    """
    companion = _companion.get()
    claimed = companion.claimed if companion else _claim(task_id, wiring, name)
    if claimed is None:
        return None
    task = claimed.task
    attempt = begin(task, kind_of(task), claimed.facts, wiring, claimed.lease)
    try:
        return _attempt(attempt, function, companion)
    finally:
        _hint_next(attempt)


def worker_name() -> str:
    """The worker in whose name this process claims tasks."""
    return os.environ.get("RQ_WORKER_ID", "unknown")


def _claim(task_id: str, wiring: Wiring, name: str | None) -> leases.Claimed | None:
    return leases.claim(
        wiring.database,
        task_id,
        worker=worker_name(),
        lease_s=wiring.settings.lease_s,
        now=wiring.now(),
        name=name,
        workers=_workers_alive(wiring, name),
    )


def _workers_alive(wiring: Wiring, name: str | None) -> int | None:
    """How many workers are alive, if it may matter; None while Redis does not respond."""
    kinds = [TASKS[name]] if name in TASKS else TASKS.values()
    if all(kind.share == 1 for kind in kinds):
        return None
    with suppress(QueueError):
        return int(wiring.queue.workers_alive())
    return None


def _hint_next(attempt: Attempt) -> None:
    """Enqueue the task that could not be claimed while this one held its kind's share."""
    if attempt.kind.share == 1:
        return
    with attempt.wiring.database.read() as session:
        task_id = shares.next_of(session, attempt.kind)
    if task_id is not None:
        with suppress(QueueError):  # or the reconciler does so
            attempt.wiring.queue.enqueue_again([(task_id, attempt.kind.name)])


def _attempt(attempt: Attempt, function: Function | None, companion: Companion | None) -> str:
    """Make an attempt; return its outcome, for the log."""
    task, kind, heartbeat = attempt.task, attempt.kind, attempt.heartbeat
    _log_start(attempt)
    tracing.annotate(carryout__task__name=kind.name, carryout__attempt=task.attempt)
    with liveness.working_on(attempt.work):
        begin_beating = heartbeat.start if companion is None else partial(companion.begin, attempt)
        begin_beating()
        try:
            outcome = _outcome(attempt, function or import_attribute(kind.function), companion)
        finally:
            heartbeat.stop()
    if outcome == PENDING:
        return outcome
    if kind.follow_up:
        import_attribute(kind.follow_up)(attempt, outcome)
    attempt.end()
    return conclude(attempt, outcome)


def conclude(attempt: Attempt, outcome: str) -> str:
    """Say what became of an attempt, once that is in the ledger.

    Returns:
        The outcome.

    Raises:
        FailedAttemptError: The task failed.
    """
    task, duration_s = attempt.task, round(attempt.duration_s, 3)
    tracing.annotate(carryout__outcome=outcome)
    ended = {"Ended": (1, "Count"), "Duration": (duration_s, "Seconds")}
    counted = metrics(ended, task_name=task.name, outcome=outcome)
    facts = {**attempt.log_facts, "action": outcome, "duration_s": duration_s}
    log.info("attempt over", extra={**facts, **counted})
    if outcome == "failed":
        message = f"task {task.id} failed; the ledger says why"
        raise FailedAttemptError(message, timed_out=attempt.timed_out)
    return outcome


def succeed_alone(attempt: Attempt) -> str:
    """Write the success of an attempt that could not be written with others', or what it became.

    Returns:
        The outcome.

    Raises:
        FailedAttemptError: The task failed.
    """
    return conclude(attempt, _outcome(attempt, lambda *_, **__: attempt.result, None))


def _log_start(attempt: Attempt) -> None:
    waited_s = max(0.0, (attempt.wiring.now() - attempt.task.queued_at).total_seconds())
    counted = {"Started": (1, "Count"), "Waited": (round(waited_s, 3), "Seconds")}
    facts = {**attempt.log_facts, "action": "start"}
    log.info("attempt", extra={**facts, **metrics(counted, task_name=attempt.task.name)})


def _outcome(attempt: Attempt, function: Function, companion: Companion | None) -> str:
    """Run the function and write what became of it; the outcome's name is for the log.

    To write an outcome may raise, too: the task may have been cancelled or claimed meanwhile.
    """
    try:
        try:
            return _execute(attempt, function, companion)
        except (ReleaseRequested, SliceOver) as over:
            to_end = isinstance(over, SliceOver)
            attempt.lease.release(now=attempt.wiring.now(), to_end=to_end)
            attempt.wiring.queue.hint(attempt.task.id, attempt.task.name)
            return over.code
        except CancelRequested:
            attempt.lease.cancel(now=attempt.wiring.now(), kind=attempt.kind)
            return "cancelled"
    except CancelRequested:  # it was requested while the release was written
        attempt.lease.cancel(now=attempt.wiring.now(), kind=attempt.kind)
        return "cancelled"
    except ClaimLost:
        return "claim_lost"


def _execute(attempt: Attempt, function: Function, companion: Companion | None) -> str:
    now = attempt.wiring.now
    try:
        attempt.result = _call(attempt, function)
        if companion is not None:
            attempt.kind.refuse_outcome(attempt.result)
            attempt.end()
            if companion.defer():
                return PENDING
        attempt.lease.succeed(
            attempt.result,
            total=attempt.total,
            now=now(),
            before=attempt.before_success(),
            kind=attempt.kind,
        )
    except AttemptOver:
        raise
    except TaskError as error:
        attempt.lease.fail(error.code, error.detail, now=now(), kind=attempt.kind)
        return "failed"
    except Exception as error:  # noqa: BLE001 - a task may raise anything, and every task must end
        return _time_out(attempt) if transient_errors.timed_out(error) else _fail(attempt, error)
    if (job := get_current_job()) is not None:
        attempt.wiring.queue.note_success(job)
    return "succeeded"


def _call(attempt: Attempt, function: Function) -> Any:
    """Have the task's function do it, within its time.

    Raises:
        JobTimeoutException: Its time was over, whatever it made of the alarm.
    """
    process, params = os.getpid(), attempt.kind.load(attempt.task.params)
    began_at = time.monotonic()
    try:
        with time_limit(attempt.time_limit_s):
            result = function(attempt, **params)
        attempt.check()
    except AttemptOver:
        raise
    except Exception as error:
        if attempt.clock() > attempt.deadline:
            raise JobTimeoutException from error
        raise
    finally:
        if os.getpid() != process:
            os._exit(1)  # a child that the task forked: it must not write an outcome, too
        if isinstance(job := get_current_job(), RegisteredJob):
            job.took_s = time.monotonic() - began_at
    return result


def _time_out(attempt: Attempt) -> str:
    """Write down that the attempt is out of time; the ledger knows whether it got the task on."""
    attempt.timed_out = True
    outcome = attempt.lease.time_out(attempt.time_limit_s, now=attempt.wiring.now())
    if outcome != "released":
        return outcome
    attempt.wiring.queue.hint(attempt.task.id, attempt.task.name)
    return "out_of_time"


def _fail(attempt: Attempt, error: Exception) -> str:
    """Write down an exception that the task did not mean."""
    lease, now = attempt.lease, attempt.wiring.now()
    log.warning("attempt raised", extra=attempt.log_facts, exc_info=error)
    if transient := transient_errors.transient(error):
        lease.retry_later(*transient, now=now)
        is_last = attempt.task.attempt >= attempt.task.max_attempts
        return "failed" if is_last else "retry_later"
    lease.fail("internal_error", "Something went wrong on our side.", now=now, kind=attempt.kind)
    return "failed"
