"""Tasks from the worker's side: claim one, keep the lease, report, and end.

An attempt owns a task between `claim` and one of the endings. Each write carries the number of the
claim; a worker that lost it gets `ClaimLost` and must stop. Leases go by the database's clock.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.engine import Database, UtcDateTime, db_clock
from chalicelib.db.models import LEASED, LEASED_TASKS, QUEUED, Task
from chalicelib.errors import CancelRequested, ClaimLost
from chalicelib.tasks import schedule_runs, shares
from chalicelib.tasks.outcomes import call_hooks
from chalicelib.tasks.pauses import is_paused
from chalicelib.tasks.registry import TASKS, TaskKind, kind_of, kinds_without
from chalicelib.tasks.transitions import ROW, SILENT, UNSCHEDULED, ConditionalUpdate, as_task

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
        return int(self._changed(row).percent)

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
            named = {**self._fence, "kind": kind.name}
            with self.database.single() as session:
                if _SUCCEED_AT_ONCE.execute(session, named, values, now=now) is not None:
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
        self._changed(row)

    def fail(self, code: str, detail: str, *, now: datetime, kind: TaskKind | None = None) -> None:
        """End the task badly, for good; its percentage stays. See `succeed` for `kind`."""
        error = {"code": code, "detail": detail}
        self._changed(self._give_up(_FAIL, error, now=now, kind=kind))

    def cancel(self, *, now: datetime, kind: TaskKind | None = None) -> None:
        """End the task because the user wanted it. See `succeed` for `kind`."""
        self._changed(self._give_up(_CANCEL, {}, now=now, kind=kind))

    def retry_later(self, code: str, detail: str, *, now: datetime) -> None:
        """A transient error ended the attempt: queue the task again, or fail it after the last."""
        error = {"code": code, "detail": detail, "chance": _chance()}
        self._changed(self._give_up(_COUNT_FAILURE, error, now=now, overdue=False))

    def release(self, *, now: datetime, to_end: bool = False) -> None:
        """Queue the task again at once, at no cost of an attempt.

        Args:
            now: The time.
            to_end: Whether it goes on after those that wait now; else it keeps its position.
        """
        update = _RELEASE_TO_END if to_end else _RELEASE
        with self.database.single() as session:
            row = update.execute(session, self._fence, {}, now=now)
        self._changed(row)

    def time_out(self, time_limit_s: int, *, now: datetime) -> str:
        """The attempt is out of time: fail the task, unless this very attempt got it on.

        One that has moved the checkpoint is released instead, to the end of the queue.

        Args:
            time_limit_s: How long it was allowed to take, in seconds.
            now: The time.

        Returns:
            The outcome: `released`, `failed` or, where that was requested already, `cancelled`.
        """
        detail = f"The task took longer than {time_limit_s} seconds."
        error = {"code": "timeout", "detail": detail}
        row = self._changed(self._give_up(_TIME_OUT, error, now=now))
        return "released" if row.status == "queued" else str(row.status)

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
        error = {"code": "worker_lost", "detail": detail, "chance": _chance()}
        return self._give_up(_COUNT_FAILURE, error, now=now, overdue=overdue) is not None

    @property
    def _fence(self) -> dict[str, Any]:
        return {"task_id": self.task_id, "fence": self.claim}

    def _give_up(
        self,
        update: ConditionalUpdate,
        values: dict[str, Any],
        *,
        now: datetime,
        kind: TaskKind | None = None,
        **more: Any,
    ) -> sa.Row[Any] | None:
        """End the attempt without success, at once where nobody but the kernel has to know.

        Args:
            update: What becomes of the task.
            values: What the update needs to know for it.
            now: The time.
            kind: The task's kind, if known: with a hook, it is not tried in vain.
            **more: What else the update's conditions need.

        Returns:
            The task as it is now; None when it was not changed.
        """
        values = {**values, "now": now}
        given = {**self._fence, **more, "silent": kinds_without("on_end")}
        if kind is None or not kind.has("on_end"):
            with self.database.single() as session:
                row = update.execute(session, given | {"hooks_follow": False}, values, now=now)
            if row is not None:
                return row
        with self.database.pipeline() as session:
            row = update.execute(session, given | {"hooks_follow": True}, values, now=now)
            if row is not None and row.status != "queued":
                call_hooks(session, as_task(row), lease_s=self.lease_s, now=now)
        return row

    def _changed(self, row: sa.Row[Any] | None) -> sa.Row[Any]:
        """What was changed.

        Raises:
            ClaimLost: Nothing: another claim was made, the lease was taken away, or the task is
                gone.
            CancelRequested: Nothing: the user asked to cancel it, and the change was another one.
        """
        if row is not None:
            return row
        with self.database.read() as session:
            if session.scalar(_CANCELLING, self._fence):
                raise CancelRequested
        raise ClaimLost


RENEWED: dict[str, Any] = {
    "lease_until": db_clock(sa.bindparam("lease_s", type_=sa.Float())),
    "last_seen_at": db_clock(),
}
_RENEW = (
    sa.update(Task)
    .where(
        Task.id == sa.bindparam("task_id"),
        Task.claim == sa.bindparam("fence"),
        Task.status.in_(LEASED),
    )
    .values(**RENEWED)
    .returning(Task.status)
    .execution_options(synchronize_session=False)
)

_THIS = ROW.id == sa.bindparam("task_id")
_MINE = ROW.claim == sa.bindparam("fence")
_RUNNING = (_THIS, ROW.status == "running", _MINE)

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
_SUCCEED_AT_ONCE = ConditionalUpdate(
    *_RUNNING, ROW.name == sa.bindparam("kind"), UNSCHEDULED, **_SUCCEEDED
)

_LEASED = (_THIS, ROW.status.in_(LEASED), _MINE)
_CANCELLING = sa.select(sa.exists().where(_THIS, ROW.status == "cancelling", _MINE))
_MAY_END = sa.or_(sa.bindparam("hooks_follow", type_=sa.Boolean()), sa.and_(SILENT, UNSCHEDULED))
"""Whoever else has to know of the task's end is told, or there is nobody."""

_FAIL = ConditionalUpdate(*_RUNNING, _MAY_END, **_FAILED, returning=ROW)
_CANCEL = ConditionalUpdate(
    *_LEASED,
    _MAY_END,
    **_ENDED,
    status="cancelled",
    error_code=None,
    error_detail=None,
    returning=ROW,
)


def _trying_again(
    *when: sa.ColumnElement[bool],
    may: sa.ColumnElement[bool],
    again: Mapping[str, Any],
    **more: Any,
) -> ConditionalUpdate:
    """What becomes of a task whose attempt came to nothing: queued again, failed or cancelled.

    Args:
        *when: What must be so besides the lease.
        may: Whether there is another attempt, unless the user wants none.
        again: What becomes of which columns then.
        **more: What becomes of which others, in any case.
    """
    is_cancelled = ROW.status == "cancelling"
    goes_on = sa.and_(~is_cancelled, may)

    def unless_it_goes_on(value: Any, name: str) -> Any:
        return sa.case((goes_on, ROW[name]), (is_cancelled, sa.null()), else_=value)

    return ConditionalUpdate(
        *_LEASED,
        sa.or_(goes_on, _MAY_END),
        *when,
        **more,
        **{name: sa.case((goes_on, value), else_=ROW[name]) for name, value in again.items()},
        status=sa.case((goes_on, "queued"), (is_cancelled, "cancelled"), else_="failed"),
        lease_until=None,
        finished_at=sa.case((goes_on, ROW.finished_at), else_=_ENDED["finished_at"]),
        checkpoint=unless_it_goes_on(sa.null(), "checkpoint"),
        error_code=unless_it_goes_on(_FAILED["error_code"], "error_code"),
        error_detail=unless_it_goes_on(_FAILED["error_detail"], "error_detail"),
        returning=ROW,
    )


# Half of the pause is chance, so that tasks which failed together do not return together.
_DOUBLED = {failures: 2**failures for failures in range(MAX_PAUSE_S.bit_length())}
_PAUSE_S = sa.case(_DOUBLED, value=ROW.failures, else_=MAX_PAUSE_S) * sa.bindparam(
    "chance", type_=sa.Float()
)


def _chance() -> float:
    return random.uniform(0.5, 1)  # noqa: S311 - not a secret  # nosec B311


_COUNT_FAILURE = _trying_again(
    sa.or_(~sa.bindparam("overdue", type_=sa.Boolean()), ROW.lease_until < db_clock()),
    may=ROW.failures + 1 < ROW.max_attempts,
    again={"due_at": db_clock(_PAUSE_S)},
    failures=ROW.failures + sa.case((ROW.status == "cancelling", 0), else_=1),
)
_TIME_OUT = _trying_again(
    may=ROW.checkpoint_claim == sa.bindparam("fence"),
    again={"due_at": db_clock(0.0), "queued_at": db_clock(), "yielded_at": db_clock()},
)


def _at_least(column: sa.Column[Any], name: str) -> Any:
    """What a column becomes that never falls."""
    given = sa.bindparam(name, type_=column.type)
    return sa.case((column > given, column), else_=given)


_PROGRESS: dict[str, Any] = RENEWED | {
    "total": sa.bindparam("of"),
    "done": _at_least(ROW.done, "reached"),
    "percent": _at_least(ROW.percent, "hundredths"),
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
