"""One try of a worker at a task: claim, work, outcome, mail.

A task's function is written without a thought of queues and leases: it gets an `Attempt`, calls
`progress` now and then, and returns its result or raises. `task` turns it into what RQ calls.
"""

import functools
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from rq import get_current_job
from rq.timeouts import JobTimeoutException

from chalicelib.adapters.job_queue import QueueError
from chalicelib.db.models import Task
from chalicelib.errors import AttemptOver, CancelRequested, ClaimLost, HandBack, TaskError
from chalicelib.exports import removals
from chalicelib.exports.files import is_export
from chalicelib.exports.removals import task_prefix
from chalicelib.logs import bound, metrics
from chalicelib.tasks import leases
from chalicelib.tasks.leases import File, Holder
from chalicelib.wiring import Wiring
from worker import transient_errors
from worker.outbox import sender
from worker.process import stop_requested

log = logging.getLogger(__name__)

PROGRESS_INTERVAL_S = 0.5
"""The least time between two writes of progress."""

HEARTBEAT_INTERVAL_S = 1.0
"""How often an attempt shows a sign of life and looks whether it should stop."""


class FailedAttemptError(Exception):
    """What RQ is told about a failed task: that, and nothing of what users wrote."""


class Heartbeat(threading.Thread):
    """Renews the lease while the task works, and learns whether it should stop.

    Args:
        holder: The hold to renew.
        interval_s: Seconds between two signs of life.
    """

    def __init__(self, holder: Holder, *, interval_s: float) -> None:
        super().__init__(daemon=True, name="heartbeat")
        self._holder = holder
        self._interval_s = interval_s
        self._parent = os.getppid()
        self._done = threading.Event()
        self.reason: type[AttemptOver] | None = None

    def run(self) -> None:
        """Beat until told to stop or until there is nothing left to hold."""
        while not self._done.wait(self._interval_s) and self.reason is not ClaimLost:
            try:
                status = self._holder.renew()
            except Exception:
                # The lease outlives a few missed beats; if it does not, the next one tells.
                log.warning("could not renew", extra={"action": "renew"}, exc_info=True)
                continue
            if status is None:
                self.reason = ClaimLost
            elif status == "cancelling":
                self.reason = CancelRequested
            elif stop_requested() or os.getppid() != self._parent:
                self.reason = HandBack

    def stop(self) -> None:
        """End the beating."""
        self._done.set()
        self.join()


@dataclass
class Attempt:
    """What a task's function may use.

    Attributes:
        task: The task as claimed: `params`, `user_id`, `cutoff`, `checkpoint`, `done`.
        wiring: Clients and settings.
        content: A small file that the task has just published, for its mail.
    """

    task: Task
    wiring: Wiring
    holder: Holder
    heartbeat: Heartbeat
    content: bytes | None = None
    _started_at: float = field(default_factory=time.monotonic)
    _reported_at: float = 0.0

    def check(self) -> None:
        """Stop here when the attempt is over.

        Call it between two steps; what was not checkpointed is done again.

        Raises:
            ClaimLost, CancelRequested, HandBack, JobTimeoutException: Let it pass.
        """
        if self.heartbeat.reason is not None:
            raise self.heartbeat.reason
        # RQ rings an alarm, once; a library may take it for a failed request and try again.
        if time.monotonic() - self._started_at > self.wiring.settings.task_timeout_s:
            raise JobTimeoutException

    def confirm(self) -> None:
        """Ask the ledger itself whether the attempt still holds the task.

        Raises:
            ClaimLost: Let it pass.
        """
        if self.holder.renew() is None:
            raise ClaimLost

    def progress(self, done: int, total: int) -> None:
        """Tell how far the task is: as often as you like, written about twice a second.

        Raises:
            ClaimLost, CancelRequested, HandBack: Let it pass.
        """
        self.check()
        if time.monotonic() - self._reported_at >= PROGRESS_INTERVAL_S:
            self._report(done, total)

    def checkpoint(self, done: int, total: int, state: dict[str, Any], *, key: str) -> None:
        """Note where the next attempt can go on, and which object it is about."""
        self._report(done, total, checkpoint=state, object_key=key)

    def _report(self, done: int, total: int, **notes: Any) -> None:
        percent = self.holder.report(done, total, now=self.wiring.now(), **notes)
        self._reported_at = time.monotonic()
        self.show_in_redis(percent)

    def show_in_redis(self, percent: int) -> None:
        """Show a percentage to RQ's own tools; they are a courtesy, so nothing fails for them."""
        try:
            self.wiring.queue.save_progress(self.task.id, percent)
        except QueueError:
            log.debug("no progress in Redis", extra={"action": "progress"})


Function = Callable[..., "dict[str, Any] | File | None"]


def task(function: Function) -> Callable[[str], None]:
    """Turn a task's function into what stands in the queue: a function of the task's id alone.

    Args:
        function: Takes an `Attempt` and the task's parameters; returns a result for people, or
            the `File` that it wrote.
    """

    @functools.wraps(function)
    def job(task_id: str) -> None:
        with bound(request_id=_request_id(), task_id=task_id):
            perform(task_id, function, process_wiring(), name=function.__name__)

    return job


def _request_id() -> str | None:
    """The request that rang; whoever writes to Redis may say what they like, but in few letters."""
    job = get_current_job()
    given = str(job.meta.get("request_id", "")) if job is not None else ""
    return given if re.fullmatch(r"[\w-]{1,64}", given) else None


@functools.cache
def process_wiring() -> Wiring:
    """The wiring of this process, which the work horse inherits."""
    return Wiring.from_environment(pool_size=5)


def perform(task_id: str, function: Function, wiring: Wiring, *, name: str | None = None) -> None:
    """Do what is to be done for a task: an attempt, a mail, both or nothing.

    Args:
        task_id: Which task.
        function: What does it.
        wiring: Clients and settings.
        name: The kind of task that the function is for; one of another kind is left alone.

    Raises:
        FailedAttemptError: The task failed; RQ shows the job as failed, too.
    """
    settings = wiring.settings
    taken = leases.take(
        wiring.database,
        task_id,
        worker=os.environ.get("RQ_WORKER_ID", "unknown"),
        lease_s=settings.lease_s,
        now=wiring.now(),
        name=name,
    )
    outcome, content = _attempt(*taken, function, wiring) if taken else ("nothing", None)
    if taken is None or is_export(taken[1]):
        sender.deliver(task_id, wiring, content=content)
    if outcome == "failed":
        raise FailedAttemptError(f"task {task_id} failed; the ledger says why")


def _attempt(
    holder: Holder, task: Task, function: Function, wiring: Wiring
) -> tuple[str, bytes | None]:
    """Make an attempt; return its outcome, for the log, and what it published, if that is small."""
    started = time.monotonic()
    facts: dict[str, Any] = {
        "task_id": task.id,
        "task_name": task.name,
        "attempt": task.attempt,
    }
    waited_s = max(0.0, (wiring.now() - task.queued_at).total_seconds())
    counted = {"Started": (1, "Count"), "Waited": (round(waited_s, 3), "Seconds")}
    log.info("attempt", extra={"action": "start", **facts, **metrics(counted, task_name=task.name)})
    beat_s = min(HEARTBEAT_INTERVAL_S, wiring.settings.lease_s / 3)
    heartbeat = Heartbeat(holder, interval_s=beat_s)
    heartbeat.start()
    attempt = Attempt(task, wiring, holder, heartbeat)
    try:
        outcome = _outcome(attempt, function)
    except ClaimLost:
        outcome = "claim_lost"
    finally:
        heartbeat.stop()
    if outcome in {"cancelled", "failed", "claim_lost"}:
        _clean_up(task, wiring)
    duration_s = round(time.monotonic() - started, 3)
    ended = {"Ended": (1, "Count"), "Duration": (duration_s, "Seconds")}
    counted_by = metrics(ended, task_name=task.name, outcome=outcome)
    facts |= {"action": outcome, "duration_s": duration_s}
    log.info("attempt over", extra={**facts, **counted_by})
    return outcome, attempt.content


def _clean_up(task: Task, wiring: Wiring) -> None:
    """Carry out the removal that the outcome wished for; the sweeper would, a little later.

    Who lost the claim may have been stopped for so long that all sweeps are over.
    """
    if not is_export(task):
        return
    try:
        removals.carry_out(wiring.database, wiring.storage, task_prefix(task.user_id, task.id))
    except Exception:
        log.warning("left to the sweeper", extra={"action": "remove"}, exc_info=True)


def _outcome(attempt: Attempt, function: Function) -> str:
    """Run the function and write what became of it; the outcome's name is for the log."""
    try:
        return _try_or_hand_back(attempt, function)
    except CancelRequested:
        attempt.holder.cancel(now=attempt.wiring.now())
        return "cancelled"


def _try_or_hand_back(attempt: Attempt, function: Function) -> str:
    try:
        return _try(attempt, function)
    except HandBack:
        attempt.holder.hand_back(now=attempt.wiring.now())
        _ring(attempt)
        return "handed_back"


def _try(attempt: Attempt, function: Function) -> str:
    holder, now = attempt.holder, attempt.wiring.now
    try:
        result = function(attempt, **attempt.task.params)
        attempt.check()
        _succeed(attempt, result)
    except AttemptOver:
        raise
    except TaskError as error:
        holder.fail(error.code, error.detail, now=now())
    except Exception as error:
        if transient_errors.timed_out(error):
            limit_s = attempt.wiring.settings.task_timeout_s
            holder.fail("timeout", f"The task took longer than {limit_s} seconds.", now=now())
            return "failed"
        log.warning("attempt raised", extra=_facts(attempt), exc_info=True)
        if fault := transient_errors.passing(error):
            holder.put_off(*fault, now=now())
            return "put_off" if attempt.task.attempt < attempt.task.max_attempts else "failed"
        holder.fail("internal_error", "Something went wrong on our side.", now=now())
    else:
        return "succeeded"
    return "failed"


def _succeed(attempt: Attempt, result: dict[str, Any] | File | None) -> None:
    now = attempt.wiring.now()
    if isinstance(result, File):
        expires_at = now + timedelta(seconds=attempt.wiring.settings.export_ttl_s)
        attempt.holder.succeed(now=now, file=result, expires_at=expires_at)
        size = {"Posts": (result.posts, "Count"), "Bytes": (result.size_bytes, "Bytes")}
        counted = metrics(size, task_name=attempt.task.name)
        log.info("published", extra={**_facts(attempt), "action": "publish", **counted})
    else:
        attempt.holder.succeed(now=now, result=result)
    attempt.show_in_redis(100)


def _ring(attempt: Attempt) -> None:
    try:
        attempt.wiring.queue.ring([(attempt.task.id, attempt.task.name)])
    except QueueError:
        log.warning("could not ring", extra=_facts(attempt))


def _facts(attempt: Attempt) -> dict[str, Any]:
    return {"action": "attempt", "task_id": attempt.task.id, "attempt": attempt.task.attempt}
