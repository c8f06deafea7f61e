"""The one place where a task changes.

Whoever changes a task locks its user first (by raising their notification number), then the
task, checks that it may, changes attributes, and leaves a notification; all in one transaction.
Nobody locks in another order, so nobody deadlocks; and no change goes unannounced.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache, cached_property
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import orm as so
from sqlalchemy.dialects import postgresql

from chalicelib.db import engine
from chalicelib.db.engine import UtcDateTime
from chalicelib.db.models import Task
from chalicelib.errors import NotFound
from chalicelib.tasks import notifications

task_table = cast("sa.Table", Task.__table__)
ROW = task_table.c
"""A task's columns, for statements that bypass the ORM: its UPDATE takes twice the time."""

SILENT = ROW.name.in_(sa.bindparam("silent", expanding=True))
"""Whether a task is of one of these kinds, those that do not declare a hook."""

UNSCHEDULED = ROW.schedule_id.is_(None)
"""Whether no schedule waits for a task's end."""

_RAISE = notifications.raising(
    notifications.USER.id,
    of=sa.select(ROW.user_id).where(ROW.id == sa.bindparam("task_id")).scalar_subquery(),
)
_LOCK = (
    sa.select(Task)
    .where(Task.id == sa.bindparam("task_id"))
    .with_for_update()
    .execution_options(populate_existing=True)
)


# On PostgreSQL in one step. What is locked there is the newest version of the task.
_raised = _RAISE.cte("raised")
_RAISE_AND_LOCK = (
    sa.select(Task, _raised.c.notification_seq)
    .where(Task.id == sa.bindparam("task_id"), Task.user_id == _raised.c.id)
    .with_for_update(of=Task)
    .execution_options(populate_existing=True)
)


def _lock(session: so.Session, task_id: str) -> tuple[Task | None, int | None]:
    """Lock a task after its user; it is read anew, for what the session knew of it may be old."""
    about = {"task_id": task_id}
    if engine.dialect(session) == "postgresql":
        row = session.execute(_RAISE_AND_LOCK, about).one_or_none()
        return (None, None) if row is None else (row[0], row[1])
    seq = session.scalar(_RAISE, about)
    return session.scalar(_LOCK, about), seq


@contextmanager
def change(
    session: so.Session,
    task_id: str,
    *,
    now: datetime,
    owner: int | None = None,
    announce: bool = False,
) -> Iterator[Task]:
    """Lock a task for a change by somebody who has no claim on it.

    Args:
        session: A writing session.
        task_id: Which task.
        now: The time of the change, for the notification.
        owner: The user whose task it must be; None for anybody's.
        announce: Whether to leave a notification even if the row itself stays as it is, because
            something that belongs to it changes.

    Yields:
        The task as it stands; attributes set inside are written at the end of the block, together
        with a notification, if there were any.

    Raises:
        NotFound: There is no such task, or it is another user's.
    """
    task, seq = _lock(session, task_id)
    if seq is None or task is None or owner not in {None, task.user_id}:
        raise NotFound
    with session.no_autoflush:  # or a statement of a hook would hide that the task was modified
        yield task
    if announce or session.is_modified(task):
        session.flush()
        notifications.post_task_progress(session, task, seq=seq, now=now)


class ConditionalUpdate:
    """A compare-and-set: changes a task if it is as it must be, without reading it first.

    It locks, changes and announces as `change` does, by statements that are built once: three on
    SQLite, and one on PostgreSQL. That one sees what was committed when it began, but for the rows
    that it locks: their conditions are evaluated again on what they are by then. So one that had
    to wait, and finds the task changed, changes nothing. Where it commits itself (`single`), it
    leaves a gap in the user's numbers then, which nobody can tell from that of a notification that
    was replaced.

    Args:
        *when: What must be so of a `ROW`, before the user's row is locked and again under the lock.
        returning: Which columns `execute` returns, besides those that are announced.
        **values: What becomes of which columns.
    """

    def __init__(
        self,
        *when: sa.ColumnElement[bool],
        returning: Iterable[sa.Column[Any]] = (),
        **values: Any,
    ) -> None:
        self._owner = sa.select(ROW.user_id).where(*when).scalar_subquery()
        self._update = sa.update(task_table).where(*when).values(**values)
        self._columns = dict.fromkeys((*notifications.announced(ROW), *returning))

    # Built when they are first needed: a function that starts needs few of them, and one of two.

    @cached_property
    def _raise(self) -> Any:
        return notifications.raising(of=self._owner)

    @cached_property
    def _change(self) -> Any:
        return self._update.returning(*self._columns)

    @cached_property
    def _whole(self) -> sa.Select[Any]:
        return _in_one_statement(self._update, self._columns, self._owner)

    def execute(
        self,
        session: so.Session,
        conditions: Mapping[str, Any],
        values: Mapping[str, Any],
        *,
        now: datetime,
    ) -> sa.Row[Any] | None:
        """Change a task, if it is as it must be.

        Args:
            session: A writing session.
            conditions: The parameters of the conditions.
            values: Those of the new values.
            now: The time of the change.

        Returns:
            The task's columns as they are now; None when nothing was changed.
        """
        if engine.dialect(session) == "postgresql":
            given = {**conditions, **values, "announced_at": now}
            row = session.execute(self._whole, given).one_or_none()
            if row is None:
                session.rollback()
            else:
                notifications.announce(session, row.user_id)
            return row
        seq = session.scalar(self._raise, conditions)
        row = None
        if seq is not None:
            row = session.execute(self._change, {**conditions, **values}).one_or_none()
        if seq is None or row is None:
            session.rollback()
            return None
        notifications.post_task_progress(session, row, seq=seq, now=now)
        return row


def _in_one_statement(
    change: sa.Update, columns: Iterable[sa.Column[Any]], owner: sa.ScalarSelect[int]
) -> sa.Select[Any]:
    raised = notifications.raising(notifications.USER.id, of=owner).cte("raised")
    changed = (
        change.where(ROW.user_id == raised.c.id)
        .returning(*columns, raised.c.notification_seq.label("announced_as"))
        .cte("changed")
    )
    return sa.select(*(changed.c[one.key] for one in columns)).add_cte(_posting(changed.c))


def _posting(changed: Any) -> sa.CTE:
    """Announce what a part of a statement has changed, with the numbers that it gives."""
    now = sa.bindparam("announced_at", type_=UtcDateTime())
    posted: sa.CTE = notifications.posting(changed, seq=changed.announced_as, now=now).cte("posted")
    return posted


class ConditionalUpdates:
    """`ConditionalUpdate` for many tasks in one statement, on PostgreSQL alone.

    The users are locked first. Those whom somebody else has locked are left out with their tasks:
    else whoever erases a large account would keep others waiting who have nothing to do with it,
    and two such statements could wait for each other in a circle. Each user's number is raised by
    as many as there were tasks to change when the statement began, and the notifications are
    numbered back from it; what turns out not to be changed leaves gaps below.

    Args:
        given: The columns that are given for each task, with their types; `id` is its id.
        when: What must be so of a `ROW`, made of those columns.
        values: What becomes of which columns, made of them, too.
        returning: Which columns `execute` returns, besides those that are announced.
    """

    def __init__(
        self,
        given: Mapping[str, sa.types.TypeEngine[Any]],
        *,
        when: Callable[[Any], Iterable[sa.ColumnElement[bool]]],
        values: Callable[[Any], Mapping[str, Any]],
        returning: Iterable[sa.Column[Any]] = (),
    ) -> None:
        self._given, self._when, self._values = given, when, values
        self._columns = dict.fromkeys((*notifications.announced(ROW), *returning))

    def execute(
        self,
        session: so.Session,
        tasks: Iterable[Mapping[str, Any]],
        values: Mapping[str, Any],
        *,
        now: datetime,
    ) -> dict[str, sa.Row[Any]]:
        """Change those tasks that are as they must be.

        Args:
            session: What `Database.single` gives.
            tasks: The given columns of each.
            values: Parameters that all have in common.
            now: The time of the change.

        Returns:
            The columns as they are now, by the ids of the tasks that were changed.
        """
        arrays = given_as_arrays(self._given, list(tasks))
        rows = session.execute(self._whole, {**arrays, **values, "announced_at": now}).all()
        for row in rows:
            notifications.announce(session, row.user_id)
        return {row.id: row for row in rows}

    @cached_property
    def _whole(self) -> sa.Select[Any]:
        given = given_tasks(self._given)
        conditions = (ROW.id == given.c.id, *self._when(given.c))
        counted = (
            sa.select(ROW.user_id, sa.func.count().label("tasks"))
            .where(*conditions)
            .group_by(ROW.user_id)
            .cte("counted")
        )
        raised = _raise_unlocked(counted)
        changed = (
            sa.update(task_table)
            .where(*conditions, ROW.user_id == raised.c.id)
            .values(**self._values(given.c))
            .returning(*self._columns, raised.c.notification_seq.label("last"))
            .cte("changed")
        )
        place = sa.func.row_number().over(partition_by=changed.c.user_id, order_by=changed.c.id)
        numbered = sa.select(changed, (changed.c.last + 1 - place).label("announced_as"))
        posted = _posting(numbered.cte("numbered").c)
        return sa.select(*(changed.c[one.key] for one in self._columns)).add_cte(posted)


def given_tasks(types: Mapping[str, sa.types.TypeEngine[Any]]) -> sa.CTE:
    """The part of a statement that has a row for each task that it is about.

    Args:
        types: The columns of the rows; see `given_as_arrays` for what is in them.
    """
    arrays = [
        sa.bindparam(f"given_{name}", type_=postgresql.ARRAY(type_))
        for name, type_ in types.items()
    ]
    columns = [sa.column(name, type_) for name, type_ in types.items()]
    unnested = sa.func.unnest(*arrays).table_valued(*columns).render_derived("one")
    return sa.select(unnested).cte("given")


def given_as_arrays(
    names: Iterable[str], tasks: Sequence[Mapping[str, Any]]
) -> dict[str, list[Any]]:
    """The parameters of `given_tasks`."""
    return {f"given_{name}": [one[name] for one in tasks] for name in names}


def _raise_unlocked(counted: sa.CTE) -> sa.CTE:
    """Raise users' numbers by their tasks; those whom somebody else has locked are left out."""
    locked = (
        sa.select(notifications.USER.id)
        .where(notifications.USER.id.in_(sa.select(counted.c.user_id)))
        .with_for_update(key_share=True, skip_locked=True)
        .cte("locked")
        .prefix_with("MATERIALIZED")
    )
    raising = sa.update(notifications.USER.id.table).where(
        notifications.USER.id == locked.c.id, locked.c.id == counted.c.user_id
    )
    return (
        raising.values(notification_seq=notifications.USER.notification_seq + counted.c.tasks)
        .returning(notifications.USER.id, notifications.USER.notification_seq)
        .cte("raised")
    )


def as_task(row: sa.Row[Any]) -> Task:
    """All columns of a `ROW` as an object that belongs to no session."""
    task: Task = _manager().new_instance()
    vars(task).update(row._mapping)  # noqa: SLF001 - it is public
    return task


@cache
def _manager() -> Any:
    """Makes tasks as a query does; `Task(…)` tells all listeners, which takes 20 times as long."""
    so.configure_mappers()
    return sa.inspect(Task).class_manager
