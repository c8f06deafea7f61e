"""Positions in the queue: exact near its head, and cheap however long it is."""

from bisect import bisect_right
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from chalicelib.db.engine import Database
from chalicelib.db.models import QUEUED, Task
from chalicelib.values.sampling import Sample

EXACT_UP_TO = 500
"""Up to here a position is counted exactly, by the statement that reads the task."""

MARKER_INTERVAL = 100
"""Beyond 500, positions are rounded to 100 using sampled markers."""

MIN_AGE = timedelta(seconds=2)
"""How old the markers are at least before they are sampled anew."""

_queue = Task.__table__.alias("queue")
_Key = sa.ColumnElement[Any]


def count_ahead(queued_at: _Key, task_id: _Key) -> sa.ScalarSelect[int]:
    """How many queued tasks there are up to a key, inclusive, but at most `EXACT_UP_TO` + 1.

    The index on what is queued is read from its head, so it costs the same for every queue.
    """
    up_to = sa.tuple_(_queue.c.queued_at, _queue.c.id) <= sa.tuple_(queued_at, task_id)
    counted = (
        sa.select(_queue.c.id)
        .where(_queue.c.status == QUEUED, up_to)
        .order_by(_queue.c.queued_at, _queue.c.id)
        .limit(sa.literal_column(str(EXACT_UP_TO + 1)))
        .correlate(Task.__table__)
        .subquery()
    )
    return sa.select(sa.func.count()).select_from(counted).scalar_subquery()


def is_delayed(task: Task, *, now: datetime) -> bool:
    """Whether a task waits for the time that it was asked to wait for.

    Its turn in the queue is that very time, which is true of no other task.
    """
    return task.queued_at == task.due_at and task.due_at > now and task.started_at is None


def counted_position() -> sa.ColumnElement[int | None]:
    """The position of the task that a statement reads, up to `EXACT_UP_TO` + 1.

    NULL unless the task is queued.
    """
    table = Task.__table__.c
    return sa.case((table.status == QUEUED, count_ahead(table.queued_at, table.id)))


def _markers() -> sa.Select[Any]:
    order = (_queue.c.queued_at, _queue.c.id)
    position = sa.func.row_number().over(order_by=order).label("position")
    ranked = sa.select(*order, position).where(_queue.c.status == QUEUED).subquery()
    sampled = sa.select(ranked.c.queued_at, ranked.c.id)
    return sampled.where(ranked.c.position % MARKER_INTERVAL == 0).order_by(ranked.c.position)


class QueuePositions:
    """Tells the positions that are too far back to be counted each time they are asked for."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._markers = Sample(self._sample_markers, min_age=MIN_AGE)

    def position(self, task: Task, counted: int | None, *, now: datetime) -> int | None:
        """The position of a task: 1 is next, None unless it is queued.

        Args:
            task: The task.
            counted: Its position as the statement that read it counted, up to `EXACT_UP_TO` + 1.
            now: The time.

        Returns:
            The position; beyond `EXACT_UP_TO` it is seconds old and up to `MARKER_INTERVAL` low.
        """
        if counted is None or counted <= EXACT_UP_TO:
            return counted
        markers = self._markers.value(now=now)
        return max(counted, MARKER_INTERVAL * bisect_right(markers, (task.queued_at, task.id)))

    def _sample_markers(self) -> list[tuple[Any, ...]]:
        """Go through the whole queue once."""
        with self._database.read() as session:
            return [tuple(row) for row in session.execute(_markers())]
