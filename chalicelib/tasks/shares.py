"""How many workers a kind of task may hold at a time: a share of those that are alive.

Only kinds that declare a share are counted, so the claim of any other costs nothing more.
"""

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.engine import db_clock
from chalicelib.db.locks import lock_names
from chalicelib.db.models import LEASED_TASKS, QUEUED, Task
from chalicelib.tasks.pauses import is_paused
from chalicelib.tasks.registry import TASKS, TaskKind


def limited_kinds() -> list[TaskKind]:
    """The kinds that may not hold every worker."""
    return [kind for kind in TASKS.values() if kind.share < 1]


def most_of(kind: TaskKind, workers: int) -> int:
    """How many of so many workers a kind may hold; one always, or its tasks would never run."""
    return max(1, int(kind.share * workers))


def exceeds(session: so.Session, kind: TaskKind, *, workers: int) -> bool:
    """Whether the kind holds more than its share, by a claim that this very transaction made."""
    lock_names(session, [f"share:{kind.name}"])  # two claims at once must see each other
    return _held(session, [kind]).get(kind.name, 0) > most_of(kind, workers)


def full_kinds(session: so.Session, *, workers: int) -> list[str]:
    """The kinds that hold their whole share: a job for one more task would be in vain."""
    kinds = limited_kinds()
    held = _held(session, kinds) if kinds else {}
    return [kind.name for kind in kinds if held.get(kind.name, 0) >= most_of(kind, workers)]


def next_of(session: so.Session, kind: TaskKind) -> str | None:
    """The task of a kind that is next in the queue."""
    due = (
        sa.select(Task.id)
        .where(
            Task.status == QUEUED,
            Task.name == kind.name,
            Task.due_at <= db_clock(),
            ~is_paused(Task.name),
        )
        .order_by(Task.queued_at, Task.id)
        .limit(1)
    )
    return session.scalar(due)


def _held(session: so.Session, kinds: list[TaskKind]) -> dict[str, int]:
    names = [kind.name for kind in kinds]
    statement = (
        sa.select(Task.name, sa.func.count())
        .where(LEASED_TASKS, Task.name.in_(names))
        .group_by(Task.name)
    )
    return {row[0]: row[1] for row in session.execute(statement)}
