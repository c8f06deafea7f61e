"""What operators look at: everybody's tasks, and how long they took."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.engine import Database
from chalicelib.db.models import FAILED, LEASED_TASKS, QUEUED, Task, User


@dataclass(frozen=True)
class Overseen:
    """A task and whose it is."""

    task: Task
    username: str


@dataclass(frozen=True)
class Ended:
    """A task that ended.

    Attributes:
        status: How.
        finished_at: When.
        duration_s: How long it took since its first attempt, in seconds; None if it had none.
    """

    status: str
    finished_at: datetime
    duration_s: float | None


def going_on(session: so.Session, *, limit: int) -> list[Overseen]:
    """Tasks that are not over, what was queued last first."""
    leased = sa.select(Task.id).where(LEASED_TASKS)
    queued = sa.select(Task.id).where(Task.status == QUEUED)
    last = queued.order_by(Task.queued_at.desc(), Task.id.desc()).limit(limit).subquery()
    ids = sa.union_all(leased, sa.select(last.c.id))
    return _oversee(session, Task.id.in_(ids), Task.queued_at, limit=limit)


def failed(session: so.Session, *, limit: int) -> list[Overseen]:
    """Tasks that failed, the last one first."""
    return _oversee(session, Task.status == FAILED, Task.finished_at, limit=limit)


def _oversee(
    session: so.Session, which: sa.ColumnElement[bool], happened: Any, *, limit: int
) -> list[Overseen]:
    statement = (
        sa.select(Task, User.username)
        .join(User, User.id == Task.user_id)
        .where(which)
        .order_by(happened.desc(), Task.id.desc())
        .limit(limit)
    )
    return [Overseen(row[0], row[1]) for row in session.execute(statement)]


def count_tasks(database: Database) -> dict[str, int]:
    """How many tasks there are in each state; it takes longer the more there ever were."""
    statement = sa.select(Task.status, sa.func.count()).group_by(Task.status)
    with database.read() as session:
        return {row[0]: row[1] for row in session.execute(statement)}


def oldest_queued(session: so.Session) -> datetime | None:
    """Since when the task waits that waits for the longest time."""
    statement = sa.select(Task.queued_at).where(Task.status == QUEUED)
    return session.scalar(statement.order_by(Task.queued_at, Task.id).limit(1))


def ended_between(
    session: so.Session, since: datetime, until: datetime, *, limit: int
) -> Sequence[Ended]:
    """The tasks that ended after a moment, and not after another, the newest first."""
    within = (Task.finished_at > since, Task.finished_at <= until)
    statement = (
        sa.select(Task.status, Task.started_at, Task.finished_at)
        .where(*within, Task.finished_at.is_not(None))
        .order_by(Task.finished_at.desc())
        .limit(limit)
    )
    return [
        Ended(status, finished, (finished - started).total_seconds() if started else None)
        for status, started, finished in session.execute(statement)
        if finished
    ]
