"""Places in the queue: exact near its head, and never costly however long it is."""

from bisect import bisect_right
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from chalicelib.db.engine import Database
from chalicelib.db.models import QUEUED, Task
from chalicelib.values.sampling import Sample

NEAR = 500
"""Up to here a place is counted exactly, by the statement that reads the task."""

EVERY = 100
"""Beyond, a place is told to so many, by marks on the queue."""

MIN_AGE = timedelta(seconds=2)
"""How old the marks are at least before they are set anew."""

_queue = Task.__table__.alias("queue")
_Key = sa.ColumnElement[Any]


def ahead(queued_at: _Key, task_id: _Key) -> sa.ScalarSelect[int]:
    """How many queued tasks stand up to a key, that one included, but at most `NEAR` + 1.

    The index on what is queued is read from its head, so it costs the same for every queue.
    """
    upto = sa.tuple_(_queue.c.queued_at, _queue.c.id) <= sa.tuple_(queued_at, task_id)
    counted = (
        sa.select(_queue.c.id)
        .where(_queue.c.status == QUEUED, upto)
        .order_by(_queue.c.queued_at, _queue.c.id)
        .limit(sa.literal_column(str(NEAR + 1)))
        .correlate(Task.__table__)
        .subquery()
    )
    return sa.select(sa.func.count()).select_from(counted).scalar_subquery()


def near() -> sa.ColumnElement[int | None]:
    """The place of the task that a statement reads, or `NEAR` + 1; NULL unless it is queued."""
    table = Task.__table__.c
    return sa.case((table.status == QUEUED, ahead(table.queued_at, table.id)))


def _marks() -> sa.Select[Any]:
    order = (_queue.c.queued_at, _queue.c.id)
    place = sa.func.row_number().over(order_by=order).label("place")
    ranked = sa.select(*order, place).where(_queue.c.status == QUEUED).subquery()
    marked = sa.select(ranked.c.queued_at, ranked.c.id).where(ranked.c.place % EVERY == 0)
    return marked.order_by(ranked.c.place)


class Places:
    """Tells the places that are too far back to be counted each time they are asked for."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._marks = Sample(self._set_marks, min_age=MIN_AGE)

    def tell(self, task: Task, near: int | None, *, now: datetime) -> int | None:
        """The place of a task.

        Args:
            task: The task.
            near: Its place as the statement counted it, up to `NEAR` + 1.
            now: The time.

        Returns:
            The place; beyond `NEAR`, one that is seconds old and by up to `EVERY` too near.
        """
        if near is None or near <= NEAR:
            return near
        marks = self._marks.value(now=now)
        return max(near, EVERY * bisect_right(marks, (task.queued_at, task.id)))

    def _set_marks(self) -> list[tuple[Any, ...]]:
        """Go through the whole queue once."""
        with self._database.read() as session:
            return [tuple(row) for row in session.execute(_marks())]
