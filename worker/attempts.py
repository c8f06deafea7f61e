"""One try of a worker at a task: claim, execute, outcome.

A task's function is written without a thought of queues and leases: it gets an `Attempt`, calls
`progress` now and then, and returns its result or raises. `run` is what RQ calls.
"""

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rq import get_current_job
from rq.timeouts import JobTimeoutException
from rq.utils import import_attribute
from sqlalchemy import orm as so

from chalicelib.adapters.job_queue import QueueError
from chalicelib.db.models import Task
from chalicelib.errors import AttemptOver, CancelRequested, ClaimLost, ReleaseRequested, TaskError
from chalicelib.logs import bound, metrics
from chalicelib.tasks import leases
from chalicelib.tasks.leases import Claimed, Lease
from chalicelib.tasks.registry import TaskKind, kind_of
from chalicelib.wiring import Wiring
from worker import transient_errors
from worker.process import process_wiring, stop_requested

log = logging.getLogger(__name__)

PROGRESS_INTERVAL_S = 0.5
"""The least time between two writes of progress."""

HEARTBEAT_INTERVAL_S = 1.0
"""How often an attempt shows a sign of life and looks whether it should stop."""

ENDED_BADLY = frozenset({"cancelled", "failed", "claim_lost"})


class FailedAttemptError(Exception):
    """What RQ is told about a failed task: that, and nothing of what users wrote."""


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
        """End the beating."""
        self._done.set()
        self.join()


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
        total: How much was done in all, where that is known more exactly than it was reported.
        content: A small file that the task has just published, for its email.
        result: What the function has returned, as `TaskKind.on_success` gets it.
    """

    task: Task
    kind: TaskKind
    facts: Any
    wiring: Wiring
    lease: Lease
    heartbeat: Heartbeat
    total: int | None = None
    content: bytes | None = None
    result: Any = None
    _started_at: float = field(default_factory=time.monotonic)
    _reported_at: float = 0.0

    @property
    def time_limit_s(self) -> int:
        """How long the attempt may take, in seconds."""
        return self.kind.time_limit_s or self.wiring.settings.task_timeout_s

    def check(self) -> None:
        """Stop here when the attempt is over.

        Call it between two steps; what was not checkpointed is done again.

        Raises:
            ClaimLost, CancelRequested, ReleaseRequested, JobTimeoutException: Let it pass.
        """
        if self.heartbeat.reason is not None:
            raise self.heartbeat.reason
        # RQ's alarm goes off once; a library may take it for a failed request and try again.
        if time.monotonic() - self._started_at > self.time_limit_s:
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
        if time.monotonic() - self._reported_at >= PROGRESS_INTERVAL_S:
            self._report(done, total)

    def checkpoint(
        self,
        done: int,
        total: int,
        state: dict[str, Any],
        *,
        write: Callable[[so.Session], None] | None = None,
    ) -> None:
        """Note where the next attempt can go on, and write what that covers in the same commit."""
        self._report(done, total, checkpoint=state, write=write)

    def before_success(self) -> Callable[[so.Session, Any], Any] | None:
        """What the kind of task does before its success, if anything; it stops when it must."""
        if type(self.kind).before_success is TaskKind.before_success:
            return None

        def before(session: so.Session, outcome: Any) -> Any:
            now = self.wiring.now()
            with interruptible(session, self.heartbeat, check=self.check):
                return self.kind.before_success(session, self.task, outcome, now=now)

        return before

    def _report(self, done: int, total: int, **notes: Any) -> None:
        percent = self.lease.report(done, total, now=self.wiring.now(), **notes)
        self._reported_at = time.monotonic()
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


def run(task_id: str) -> None:
    """Do what is to be done for a task; the one function that a job names."""
    with bound(request_id=_request_id(), task_id=task_id):
        perform(task_id, process_wiring())


def _request_id() -> str | None:
    """The request that enqueued the job; whoever can write to Redis may have made it up."""
    job = get_current_job()
    given = str(job.meta.get("request_id", "")) if job is not None else ""
    return given if re.fullmatch(r"[\w-]{1,64}", given) else None


def perform(task_id: str, wiring: Wiring, *, function: Function | None = None) -> None:
    """Make an attempt at a task, if there is anything to do.

    Args:
        task_id: Which task.
        wiring: Clients and settings.
        function: What does it; None for the function that its kind names.

    Raises:
        FailedAttemptError: The task failed; RQ shows the job as failed, too.
    """
    claimed = leases.claim(
        wiring.database,
        task_id,
        worker=os.environ.get("RQ_WORKER_ID", "unknown"),
        lease_s=wiring.settings.lease_s,
        now=wiring.now(),
    )
    if claimed is not None and _attempt(claimed, wiring, function) == "failed":
        raise FailedAttemptError(f"task {task_id} failed; the ledger says why")


def _attempt(claimed: Claimed, wiring: Wiring, function: Function | None) -> str:
    """Make an attempt; return its outcome, for the log."""
    started = time.monotonic()
    task, kind = claimed.task, kind_of(claimed.task)
    heartbeat = Heartbeat(
        claimed.lease, interval_s=min(HEARTBEAT_INTERVAL_S, wiring.settings.lease_s / 3)
    )
    attempt = Attempt(task, kind, claimed.facts, wiring, claimed.lease, heartbeat)
    _log_start(attempt)
    heartbeat.start()
    try:
        outcome = _outcome(attempt, function or import_attribute(kind.function))
    finally:
        heartbeat.stop()
    if kind.follow_up:
        import_attribute(kind.follow_up)(attempt, outcome)
    duration_s = round(time.monotonic() - started, 3)
    ended = {"Ended": (1, "Count"), "Duration": (duration_s, "Seconds")}
    counted = metrics(ended, task_name=task.name, outcome=outcome)
    facts = {**attempt.log_facts, "action": outcome, "duration_s": duration_s}
    log.info("attempt over", extra={**facts, **counted})
    return outcome


def _log_start(attempt: Attempt) -> None:
    waited_s = max(0.0, (attempt.wiring.now() - attempt.task.queued_at).total_seconds())
    counted = {"Started": (1, "Count"), "Waited": (round(waited_s, 3), "Seconds")}
    facts = {**attempt.log_facts, "action": "start"}
    log.info("attempt", extra={**facts, **metrics(counted, task_name=attempt.task.name)})


def _outcome(attempt: Attempt, function: Function) -> str:
    """Run the function and write what became of it; the outcome's name is for the log.

    To write an outcome may raise, too: the task may have been cancelled or claimed meanwhile.
    """
    try:
        try:
            return _execute(attempt, function)
        except ReleaseRequested:
            attempt.lease.release(now=attempt.wiring.now())
            attempt.wiring.queue.hint(attempt.task.id, attempt.task.name)
            return "released"
        except CancelRequested:
            attempt.lease.cancel(now=attempt.wiring.now())
            return "cancelled"
    except CancelRequested:  # it was requested while the release was written
        attempt.lease.cancel(now=attempt.wiring.now())
        return "cancelled"
    except ClaimLost:
        return "claim_lost"


def _execute(attempt: Attempt, function: Function) -> str:
    now = attempt.wiring.now
    try:
        attempt.result = function(attempt, **attempt.kind.load(attempt.task.params))
        attempt.check()
        attempt.lease.succeed(
            attempt.result, total=attempt.total, now=now(), before=attempt.before_success()
        )
    except AttemptOver:
        raise
    except TaskError as error:
        attempt.lease.fail(error.code, error.detail, now=now())
        return "failed"
    except Exception as error:  # noqa: BLE001 - a task may raise anything, and every task must end
        return _fail(attempt, error)
    attempt.show_in_redis(100)
    return "succeeded"


def _fail(attempt: Attempt, error: Exception) -> str:
    """Write down an exception that the task did not mean."""
    lease, now = attempt.lease, attempt.wiring.now()
    if transient_errors.timed_out(error):
        lease.fail("timeout", f"The task took longer than {attempt.time_limit_s} seconds.", now=now)
        return "failed"
    log.warning("attempt raised", extra=attempt.log_facts, exc_info=error)
    if transient := transient_errors.transient(error):
        lease.retry_later(*transient, now=now)
        is_last = attempt.task.attempt >= attempt.task.max_attempts
        return "failed" if is_last else "retry_later"
    lease.fail("internal_error", "Something went wrong on our side.", now=now)
    return "failed"
