"""Tasks from the worker's side: claim one, keep the lease, report, and end.

An attempt owns a task between `claim` and one of the endings. Each write carries the number of the
claim; a worker that lost it gets `ClaimLost` and must stop. Leases go by the database's clock.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.engine import Database, UtcDateTime, db_clock
from chalicelib.db.models import LEASED, LEASED_TASKS, QUEUED, Task
from chalicelib.errors import ClaimLost
from chalicelib.tasks import schedule_runs, shares
from chalicelib.tasks.outcomes import end
from chalicelib.tasks.pauses import is_paused
from chalicelib.tasks.registry import TASKS, TaskKind, kind_of
from chalicelib.tasks.transitions import ROW, ConditionalUpdate, as_task, change_leased

MAX_PAUSE_S = 60
"""The longest wait between two attempts."""


@dataclass(frozen=True)
class Lease:
    """One attempt's right to a task, and all that it may write to the ledger.

    Attributes:
        database: The ledger.
        task_id: Which task.
        claim: The fence: the number of this claim.
        lease_s: How long the lease lasts without a sign of life, in seconds.
    """

    database: Database
    task_id: str
    claim: int
    lease_s: int

    def renew(self) -> str | None:
        """Show a sign of life.

        Returns:
            The task's status, or None when the claim is lost.
        """
        with self.database.single() as session:
            status: str | None = session.scalar(_RENEW, {**self._fence, "lease_s": self.lease_s})
        return status

    def report(
        self,
        done: int,
        total: int,
        *,
        now: datetime,
        checkpoint: dict[str, Any] | None = None,
        write: Callable[[so.Session], None] | None = None,
    ) -> int:
        """Write progress, and what the next attempt needs to go on from here.

        Args:
            done: How much is done; never falls in the ledger, whatever is given.
            total: Of how much.
            now: The time.
            checkpoint: Where to go on; None keeps the last one.
            write: Writes what the checkpoint covers, in the same transaction; before the task is
                locked, since it may take long.

        Returns:
            The percentage, at most 99: 100 is for success.
        """
        percent = min(99, 100 * done // total if total else 0)
        progress = {"reached": done, "of": total, "hundredths": percent, "lease_s": self.lease_s}
        given = {"state": checkpoint} if checkpoint else {}
        update = _CHECKPOINT if checkpoint else _REPORT
        with self.database.single() if write is None else self.database.write() as session:
            if write is not None:
                write(session)
            row = update.execute(session, self._fence, progress | given, now=now)
        return int(self._changed(row, now).percent)

    def succeed(
        self,
        outcome: Any = None,
        *,
        now: datetime,
        total: int | None = None,
        before: Callable[[so.Session, Any], Any] | None = None,
        kind: TaskKind | None = None,
    ) -> None:
        """End the task well; this commit is what publishes its outcome.

        Args:
            outcome: What the task's function returned. A dict is the task's result for people;
                what else there may be is the business of its kind.
            now: The time.
            total: How much was done in all, where that is more exact than the last report.
            before: Writes in the same transaction what takes long, before the task is locked, and
                returns the outcome; see `TaskKind.before_success`.
            kind: The task's kind, as claimed: one without hooks takes one round trip.
        """
        if kind is not None and before is None and not kind.has("on_success"):
            kind.refuse_outcome(outcome)
            values = {"now": now, "counted": total, "ended": outcome}
            if self._at_once(_SUCCEED_AT_ONCE, kind, values, now=now):
                return
        with self.database.write() if before else self.database.pipeline() as session:
            if before is not None:
                outcome = before(session, outcome)
            result = outcome if isinstance(outcome, dict) else None
            values = {"now": now, "counted": total, "ended": result}
            row = _SUCCEED.execute(session, self._fence, values, now=now)
            if row is not None:
                task = as_task(row)
                kind_of(task).on_success(session, task, outcome, lease_s=self.lease_s, now=now)
                schedule_runs.note_end(session, task, now=now)
        self._changed(row, now)

    def fail(self, code: str, detail: str, *, now: datetime, kind: TaskKind | None = None) -> None:
        """End the task badly, for good; its percentage stays. See `succeed` for `kind`."""
        if kind is not None and not kind.has("on_end"):
            values = {"now": now, "code": code, "detail": detail}
            if self._at_once(_FAIL_AT_ONCE, kind, values, now=now):
                return
        with self._locked(now) as (session, task):
            error = (code, detail)
            end(session, task, status="failed", lease_s=self.lease_s, now=now, error=error)

    def cancel(self, *, now: datetime, kind: TaskKind | None = None) -> None:
        """End the task because the user wanted it. See `succeed` for `kind`."""
        if (
            kind is not None
            and not kind.has("on_end")
            and self._at_once(_CANCEL_AT_ONCE, kind, {"now": now}, now=now)
        ):
            return
        with self._locked(now, cancelling=True) as (session, task):
            end(session, task, status="cancelled", lease_s=self.lease_s, now=now)

    def retry_later(self, code: str, detail: str, *, now: datetime) -> None:
        """A transient error ended the attempt: queue the task again, or fail it after the last."""
        with self._locked(now, cancelling=True) as (session, task):
            _count_failure(session, task, code, detail, lease_s=self.lease_s, now=now)

    def release(self, *, now: datetime, to_end: bool = False) -> None:
        """Queue the task again at once, at no cost of an attempt.

        Args:
            now: The time.
            to_end: Whether it goes on after those that wait now; else it keeps its position.
        """
        update = _RELEASE_TO_END if to_end else _RELEASE
        with self.database.single() as session:
            row = update.execute(session, self._fence, {}, now=now)
        self._changed(row, now)

    def time_out(self, time_limit_s: int, *, now: datetime) -> str:
        """The attempt is out of time: fail the task, unless this very attempt got it on.

        One that has moved the checkpoint is released instead, to the end of the queue.

        Args:
            time_limit_s: How long it was allowed to take, in seconds.
            now: The time.

        Returns:
            The outcome: `released`, `failed` or, where that was requested already, `cancelled`.
        """
        with self._locked(now, cancelling=True) as (session, task):
            if task.status == "cancelling":
                end(session, task, status="cancelled", lease_s=self.lease_s, now=now)
                return "cancelled"
            if task.checkpoint_claim == self.claim:
                _queue_again(task, pause_s=0)
                _move_to_end(task)
                return "released"
            error = ("timeout", f"The task took longer than {time_limit_s} seconds.")
            end(session, task, status="failed", lease_s=self.lease_s, now=now, error=error)
            return "failed"

    def recover(self, *, now: datetime, overdue: bool = False) -> bool:
        """The worker is dead: queue its task again, or fail it after the last attempt.

        Args:
            now: The time.
            overdue: Whether to do so only if the lease is over: a worker that was taken for dead
                may have renewed it meanwhile.

        Returns:
            Whether there was anything to recover.
        """
        detail = "The worker stopped unexpectedly; its memory or its machine may have failed."
        late = sa.select(Task.lease_until < db_clock()).where(Task.id == self.task_id)
        try:
            with self._locked(now, cancelling=True) as (session, task):
                if overdue and not session.scalar(late):
                    return False
                error = ("worker_lost", detail)
                _count_failure(session, task, *error, lease_s=self.lease_s, now=now)
        except ClaimLost:
            return False
        return True

    @property
    def _fence(self) -> dict[str, Any]:
        return {"task_id": self.task_id, "fence": self.claim}

    def _at_once(
        self, update: ConditionalUpdate, kind: TaskKind, values: dict[str, Any], *, now: datetime
    ) -> bool:
        """End a task that nothing but the kernel knows of, if it is one; whether it was."""
        with self.database.single() as session:
            fence = {**self._fence, "kind": kind.name}
            return update.execute(session, fence, values, now=now) is not None

    def _changed(self, row: sa.Row[Any] | None, now: datetime) -> sa.Row[Any]:
        if row is None:
            with self._locked(now):
                raise ClaimLost  # unless the task itself tells better why
        return row

    @contextmanager
    def _locked(
        self, now: datetime, *, cancelling: bool = False
    ) -> Iterator[tuple[so.Session, Task]]:
        with (
            self.database.pipeline() as session,
            change_leased(
                session, self.task_id, claim=self.claim, now=now, cancelling=cancelling
            ) as task,
        ):
            yield session, task


_RENEW = (
    sa.update(Task)
    .where(
        Task.id == sa.bindparam("task_id"),
        Task.claim == sa.bindparam("fence"),
        Task.status.in_(LEASED),
    )
    .values(
        lease_until=db_clock(sa.bindparam("lease_s", type_=sa.Float())), last_seen_at=db_clock()
    )
    .returning(Task.status)
    .execution_options(synchronize_session=False)
)

_THIS = ROW.id == sa.bindparam("task_id")
_MINE = ROW.claim == sa.bindparam("fence")
_RUNNING = (_THIS, ROW.status == "running", _MINE)
UNSCHEDULED = ROW.schedule_id.is_(None)
_ALONE = (ROW.name == sa.bindparam("kind"), UNSCHEDULED)
"""Nobody but the kernel has to know of the task's end."""

_ENDED: dict[str, Any] = {
    "finished_at": sa.bindparam("now", type_=UtcDateTime()),
    "lease_until": None,
    "checkpoint": None,
}


def succeeded(counted: Any, ended: Any) -> dict[str, Any]:
    """What becomes of a task that succeeds: how much was done in all, if known, and its result."""
    total = sa.func.coalesce(counted, ROW.total)
    return _ENDED | {
        "status": "succeeded",
        "error_code": None,
        "error_detail": None,
        "percent": 100,
        "done": total,
        "total": total,
        "result": ended,
    }


_SUCCEEDED = succeeded(
    sa.bindparam("counted", type_=sa.BigInteger()), sa.bindparam("ended", type_=ROW.result.type)
)
_FAILED: dict[str, Any] = _ENDED | {
    "status": "failed",
    "error_code": sa.bindparam("code"),
    "error_detail": sa.bindparam("detail"),
}
_SUCCEED = ConditionalUpdate(*_RUNNING, **_SUCCEEDED, returning=ROW)
_SUCCEED_AT_ONCE = ConditionalUpdate(*_RUNNING, *_ALONE, **_SUCCEEDED)
_FAIL_AT_ONCE = ConditionalUpdate(*_RUNNING, *_ALONE, **_FAILED)
_CANCEL_AT_ONCE = ConditionalUpdate(
    *(_THIS, ROW.status.in_(LEASED), _MINE, *_ALONE),
    **_ENDED,
    status="cancelled",
    error_code=None,
    error_detail=None,
)


def _at_least(column: sa.Column[Any], name: str) -> Any:
    """What a column becomes that never falls."""
    given = sa.bindparam(name, type_=column.type)
    return sa.case((column > given, column), else_=given)


_PROGRESS: dict[str, Any] = {
    "total": sa.bindparam("of"),
    "done": _at_least(ROW.done, "reached"),
    "percent": _at_least(ROW.percent, "hundredths"),
    "lease_until": db_clock(sa.bindparam("lease_s", type_=sa.Float())),
    "last_seen_at": db_clock(),
}
_STATE = sa.bindparam("state", type_=ROW.checkpoint.type)
_MOVED = sa.cast(ROW.checkpoint, sa.Text).is_distinct_from(sa.cast(_STATE, sa.Text))
_MOVED_BY = sa.case((_MOVED, sa.bindparam("fence")), else_=ROW.checkpoint_claim)
_REPORT = ConditionalUpdate(*_RUNNING, **_PROGRESS)
_CHECKPOINT = ConditionalUpdate(
    *_RUNNING, **_PROGRESS, checkpoint=_STATE, checkpoint_claim=_MOVED_BY
)

RELEASED: dict[str, Any] = {"status": "queued", "lease_until": None, "due_at": db_clock(0.0)}
_RELEASE = ConditionalUpdate(*_RUNNING, **RELEASED)
_RELEASE_TO_END = ConditionalUpdate(
    *_RUNNING, **RELEASED, queued_at=db_clock(), yielded_at=db_clock()
)


@dataclass(frozen=True)
class Claimed:
    """A task that a worker has just claimed.

    Attributes:
        lease: The right to it.
        task: The task as claimed.
        facts: What its kind fixed for all its attempts; see `TaskKind.on_claim`.
    """

    lease: Lease
    task: Task
    facts: Any


def claim(
    database: Database,
    task_id: str,
    *,
    worker: str,
    lease_s: int,
    now: datetime,
    name: str | None = None,
    workers: int | None = None,
) -> Claimed | None:
    """Claim a task.

    Args:
        database: The ledger.
        task_id: Which task.
        worker: The name of the worker, for people and for `leased_by`.
        lease_s: How long the lease lasts without a sign of life, in seconds.
        now: The time.
        name: Of what kind the task probably is: one round trip is enough if that kind has no hook
            and no share.
        workers: How many are alive, for kinds that may hold a share of them; None if unknown.

    Returns:
        The lease and the task as claimed; None when there is nothing to do: another worker has
        claimed it, it is over, its pause is not, it is gone, its kind is paused or holds its share
        of the workers, or this code does not know its kind.
    """
    values = {"by": worker, "lease_s": lease_s, "now": now}
    if name in TASKS and TASKS[name].share == 1 and not TASKS[name].has("on_claim"):
        with database.single() as session:
            named = {"task_id": task_id, "kind": name}
            row = _CLAIM_AT_ONCE.execute(session, named, values, now=now)
        if row is not None:
            task = as_task(row)
            return Claimed(Lease(database, task_id, task.claim, lease_s), task, None)
    with database.pipeline() as session:
        row = _CLAIM.execute(session, {"task_id": task_id}, values, now=now)
        if row is None:
            return None
        if row.name not in TASKS:  # queued by newer code, before a rollback
            session.rollback()
            return None
        task = as_task(row)
        kind = kind_of(task)
        limited = workers is not None and kind.share < 1
        if limited and shares.exceeds(session, kind, workers=workers or 0):
            session.rollback()
            return None
        facts = kind.on_claim(session, task, now=now)
    return Claimed(Lease(database, task_id, task.claim, lease_s), task, facts)


CLAIMABLE = (
    ROW.status == "queued",
    ROW.due_at <= db_clock(1),
    ~is_paused(ROW.name),
)
CLAIMED: dict[str, Any] = {
    "status": "running",
    "claim": ROW.claim + 1,
    "attempt": ROW.failures + 1,
    "worker": sa.bindparam("by"),
    "lease_until": db_clock(sa.bindparam("lease_s", type_=sa.Float())),
    "last_seen_at": db_clock(),
    "yielded_at": None,
    "started_at": sa.func.coalesce(ROW.started_at, sa.bindparam("now", type_=UtcDateTime())),
}
_CLAIM = ConditionalUpdate(_THIS, *CLAIMABLE, **CLAIMED, returning=ROW)
_CLAIM_AT_ONCE = ConditionalUpdate(
    *(_THIS, *CLAIMABLE, ROW.name == sa.bindparam("kind")), **CLAIMED, returning=ROW
)


def _count_failure(
    session: so.Session, task: Task, code: str, detail: str, *, lease_s: int, now: datetime
) -> None:
    if task.status == "cancelling":
        end(session, task, status="cancelled", lease_s=lease_s, now=now)
        return
    task.failures += 1
    if task.failures >= task.max_attempts:
        end(session, task, status="failed", lease_s=lease_s, now=now, error=(code, detail))
        return
    # Half of the pause is chance, so that tasks which failed together do not return together.
    pause_s = min(MAX_PAUSE_S, 2 ** (task.failures - 1))
    _queue_again(task, pause_s=pause_s * random.uniform(0.5, 1))  # noqa: S311 - not a secret  # nosec B311


def _queue_again(task: Task, *, pause_s: float) -> None:
    task.status = "queued"
    task.lease_until = None
    task.due_at = db_clock(pause_s)


def _move_to_end(task: Task) -> None:
    task.queued_at = task.yielded_at = db_clock()


def leased_by(session: so.Session, worker: str) -> list[tuple[str, int, str]]:
    """What a worker has leases on: task id, claim, and the name of the kind."""
    statement = sa.select(Task.id, Task.claim, Task.name)
    statement = statement.where(LEASED_TASKS, Task.worker == worker)
    return [(row[0], row[1], row[2]) for row in session.execute(statement)]


def overdue(session: so.Session, *, most: int) -> list[tuple[str, int]]:
    """Claims whose lease is over: pairs of task id and claim."""
    statement = (
        sa.select(Task.id, Task.claim)
        .where(LEASED_TASKS, Task.lease_until < db_clock())
        .order_by(Task.lease_until)
        .limit(most)
    )
    return [(row[0], row[1]) for row in session.execute(statement)]


def others_wait(session: so.Session) -> bool:
    """Whether a task could be claimed now; the one of whoever asks is running."""
    return bool(session.scalar(_OTHERS_WAIT))


_OTHERS_WAIT = sa.select(
    sa.exists().where(
        Task.status == QUEUED,
        Task.due_at <= db_clock(),
        ~is_paused(Task.name),
    )
)
