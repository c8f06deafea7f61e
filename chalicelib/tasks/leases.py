"""Tasks from the worker's side: claim one, keep it, report, and let go.

An attempt owns a task between `take` and one of the endings. Each write carries the claim; a
worker that lost it gets `ClaimLost` and must stop. Leases go by the database's clock alone.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.engine import Database, UtcDateTime, db_clock
from chalicelib.db.models import HELD, HELD_TASKS, Post, Task
from chalicelib.errors import ClaimLost
from chalicelib.tasks.outcomes import FINISH, PUBLISH, end, left_behind
from chalicelib.tasks.transitions import ROW, Move, as_task, change_held

MAX_PAUSE_S = 60
"""The longest wait between two attempts."""


@dataclass(frozen=True)
class File:
    """A published file.

    Attributes:
        key: Where it is.
        posts: How many posts are in it.
        size_bytes: Its size.
        sha256: Its digest, as 64 hexadecimal digits.
    """

    key: str
    posts: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Holder:
    """One attempt's hold on a task, and all it may do to the ledger.

    Attributes:
        database: The ledger.
        task_id: Which task.
        claim: The fence: the number of this claim.
        lease_s: How long the hold lasts without a sign of life, in seconds.
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
        hold = {"task_id": self.task_id, "held": self.claim, "lease_s": self.lease_s}
        with self.database.write() as session:
            status: str | None = session.scalar(_RENEW, hold)
        return status

    def report(
        self,
        done: int,
        total: int,
        *,
        now: datetime,
        checkpoint: dict[str, Any] | None = None,
        object_key: str | None = None,
    ) -> int:
        """Write progress, and what the next attempt needs to go on from here.

        Args:
            done: How much is done; never falls in the ledger, whatever is given.
            total: Of how much.
            now: The time.
            checkpoint: Where to go on; None keeps the last one.
            object_key: The key that the checkpoint is about; None keeps the last one.

        Returns:
            The percentage, at most 99: 100 is for success.
        """
        with self._held(now) as (_, task):
            task.total = total
            task.done = max(task.done, done)
            task.percent = max(task.percent, min(99, 100 * done // total if total else 0))
            task.checkpoint = checkpoint or task.checkpoint
            task.object_key = object_key or task.object_key
            self._extend(task)
        return task.percent

    def succeed(
        self,
        *,
        now: datetime,
        result: dict[str, Any] | None = None,
        file: File | None = None,
        expires_at: datetime | None = None,
    ) -> None:
        """End the task well; this commit is what publishes a file."""
        what: dict[str, Any] = {"task_id": self.task_id, "held": self.claim}
        how: dict[str, Any] = {"now": now}
        if file is None:
            move, how = FINISH, how | {"ended": result}
        else:
            move, how = PUBLISH, how | {**asdict(file), "until": expires_at}
        with self.database.write() as session:
            row = move.make(session, what, how, now=now)
            if row is not None and file is not None and self.claim > 1:
                left_behind(session, row.user_id, self.task_id, lease_s=self.lease_s, now=now)
        if row is None:
            with self._held(now):
                raise ClaimLost  # unless the task itself tells better why

    def fail(self, code: str, detail: str, *, now: datetime) -> None:
        """End the task badly, for good; its percentage stays."""
        with self._held(now) as (session, task):
            error = (code, detail)
            end(session, task, status="failed", lease_s=self.lease_s, now=now, error=error)

    def cancel(self, *, now: datetime) -> None:
        """End the task because the user wanted it."""
        with self._held(now, cancelling=True) as (session, task):
            end(session, task, status="cancelled", lease_s=self.lease_s, now=now)

    def put_off(self, code: str, detail: str, *, now: datetime) -> None:
        """A passing fault ended the attempt: queue the task again, or fail it after the last."""
        with self._held(now, cancelling=True) as (session, task):
            _count_failure(session, task, code, detail, lease_s=self.lease_s, now=now)

    def hand_back(self, *, now: datetime) -> None:
        """This worker must stop: queue the task again at once, at no cost of an attempt."""
        with self._held(now) as (_, task):
            _queue_again(task, pause_s=0)

    def bury(self, *, now: datetime, overdue: bool = False) -> bool:
        """The worker is dead: queue its task again, or fail it after the last attempt.

        Args:
            now: The time.
            overdue: Whether this is so only if the lease is over, which a worker that was taken
                for dead may have renewed meanwhile.

        Returns:
            Whether there was anything to bury.
        """
        detail = "The worker stopped unexpectedly; its memory or its machine may have failed."
        late = sa.select(Task.lease_until < db_clock()).where(Task.id == self.task_id)
        try:
            with self._held(now, cancelling=True) as (session, task):
                if overdue and not session.scalar(late):
                    return False
                error = ("worker_lost", detail)
                _count_failure(session, task, *error, lease_s=self.lease_s, now=now)
        except ClaimLost:
            return False
        return True

    @contextmanager
    def _held(
        self, now: datetime, *, cancelling: bool = False
    ) -> Iterator[tuple[so.Session, Task]]:
        with (
            self.database.write() as session,
            change_held(
                session, self.task_id, claim=self.claim, now=now, cancelling=cancelling
            ) as task,
        ):
            yield session, task

    def _extend(self, task: Task) -> None:
        task.lease_until = db_clock(self.lease_s)
        task.last_seen_at = db_clock()


_RENEW = (
    sa.update(Task)
    .where(
        Task.id == sa.bindparam("task_id"),
        Task.claim == sa.bindparam("held"),
        Task.status.in_(HELD),
    )
    .values(
        lease_until=db_clock(sa.bindparam("lease_s", type_=sa.Float())), last_seen_at=db_clock()
    )
    .returning(Task.status)
    .execution_options(synchronize_session=False)
)


def take(
    database: Database,
    task_id: str,
    *,
    worker: str,
    lease_s: int,
    now: datetime,
    name: str | None = None,
) -> tuple[Holder, Task] | None:
    """Claim a task.

    Args:
        database: The ledger.
        task_id: Which task.
        worker: The name of the worker, for people and for `held_by`.
        lease_s: How long the claim lasts without a sign of life, in seconds.
        now: The time.
        name: The kind of task that the caller can do; None for any.

    Returns:
        The hold and the task as claimed; None when there is nothing to do: somebody else has
        it, it is over, its pause is not, or it is gone.
    """
    what = {"task_id": task_id, "kind": name}
    how = {"by": worker, "lease_s": lease_s, "now": now}
    with database.write() as session:
        row = _TAKE.make(session, what, how, now=now)
    if row is None:
        return None
    task = as_task(row)
    return Holder(database, task_id, task.claim, lease_s), task


_NEWEST_POST = sa.func.max(Post.__table__.c.id)

_TAKE = Move(
    ROW.id == sa.bindparam("task_id"),
    ROW.status == "queued",
    ROW.due_at <= db_clock(1),
    ROW.name == sa.func.coalesce(sa.bindparam("kind", type_=sa.String()), ROW.name),
    status="running",
    claim=ROW.claim + 1,
    attempt=ROW.failures + 1,
    worker=sa.bindparam("by"),
    lease_until=db_clock(sa.bindparam("lease_s", type_=sa.Float())),
    last_seen_at=db_clock(),
    # The first attempt fixes what the task sees of the posts, in the claim's own commit.
    started_at=sa.func.coalesce(ROW.started_at, sa.bindparam("now", type_=UtcDateTime())),
    cutoff=sa.func.coalesce(
        ROW.cutoff, sa.select(sa.func.coalesce(_NEWEST_POST, 0)).scalar_subquery()
    ),
    returning=ROW,
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


def held_by(session: so.Session, worker: str) -> list[tuple[str, int]]:
    """What a worker holds: pairs of task id and claim."""
    statement = sa.select(Task.id, Task.claim).where(HELD_TASKS, Task.worker == worker)
    return [(row[0], row[1]) for row in session.execute(statement)]


def overdue(session: so.Session, *, most: int) -> list[tuple[str, int]]:
    """Claims whose lease is over: pairs of task id and claim."""
    statement = (
        sa.select(Task.id, Task.claim)
        .where(HELD_TASKS, Task.lease_until < db_clock())
        .order_by(Task.lease_until)
        .limit(most)
    )
    return [(row[0], row[1]) for row in session.execute(statement)]
