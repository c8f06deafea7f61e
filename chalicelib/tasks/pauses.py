"""What operators pause: a kind of task, or all of them.

A paused task stays queued and is not claimed; one that runs goes on. The claim itself looks, so a
pause takes effect with its commit, whatever lies in the queue.
"""

from typing import cast

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db import engine
from chalicelib.db.models import QUEUED, Pause, Task
from chalicelib.tasks.notifications import EVERYBODY, announce

EVERYTHING = "*"
"""The name of a pause that is for every kind."""

MOST_ENQUEUED = 5000
"""For how many tasks a resumption enqueues jobs at once; the reconciler goes on."""

PAUSE = cast("sa.Table", Pause.__table__)


def is_paused(
    name: so.InstrumentedAttribute[str] | sa.ColumnElement[str],
) -> sa.ColumnElement[bool]:
    """Whether a kind of task is paused, as part of another statement."""
    return sa.select(PAUSE.c.name).where(PAUSE.c.name.in_((name, EVERYTHING))).exists()


def list_paused(session: so.Session) -> list[str]:
    """What is paused, by name."""
    return list(session.scalars(sa.select(PAUSE.c.name).order_by(PAUSE.c.name)))


def pause(session: so.Session, name: str = EVERYTHING) -> None:
    """Keep workers from claiming tasks of a kind, or of any; again, it changes nothing."""
    statement = engine.insert(engine.dialect(session), Pause).values(created_at=engine.db_clock())
    session.execute(statement.on_conflict_do_nothing(), {"name": name})
    announce(session, EVERYBODY)


def resume(session: so.Session, name: str = EVERYTHING) -> list[tuple[str, str]]:
    """End a pause; for all kinds, the pauses of each kind, too.

    Returns:
        Pairs of id and name of the tasks that can be claimed again, for the queue: the oldest.
    """
    ended = sa.delete(PAUSE)
    if name != EVERYTHING:
        ended = ended.where(PAUSE.c.name == name)
    if not session.execute(ended.returning(PAUSE.c.name)).all():
        return []
    announce(session, EVERYBODY)
    due = (
        sa.select(Task.id, Task.name)
        .where(Task.status == QUEUED, Task.due_at <= engine.db_clock(), ~is_paused(Task.name))
        .order_by(Task.queued_at, Task.id)
        .limit(MOST_ENQUEUED)
    )
    if name != EVERYTHING:
        due = due.where(Task.name == name)
    return [(row[0], row[1]) for row in session.execute(due)]
