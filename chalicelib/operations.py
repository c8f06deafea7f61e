"""What operators look at: everybody's tasks, and how long they took."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.models import Task, User


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


def newest(session: so.Session, statuses: Collection[str], *, limit: int) -> list[Overseen]:
    """Tasks in some states, what happened last first."""
    happened = sa.func.coalesce(Task.finished_at, Task.queued_at)
    statement = (
        sa.select(Task, User.username)
        .join(User, User.id == Task.user_id)
        .where(Task.status.in_(statuses))
        .order_by(happened.desc(), Task.id)
        .limit(limit)
    )
    return [Overseen(row[0], row[1]) for row in session.execute(statement)]


def ended_since(session: so.Session, since: datetime, *, limit: int) -> Sequence[Ended]:
    """The tasks that ended after a moment, the newest first."""
    statement = (
        sa.select(Task.status, Task.started_at, Task.finished_at)
        .where(Task.finished_at > since)
        .order_by(Task.finished_at.desc())
        .limit(limit)
    )
    return [
        Ended(status, finished, (finished - started).total_seconds() if started else None)
        for status, started, finished in session.execute(statement)
        if finished
    ]
