"""Tasks as people see them: with their position in the queue, their file and its email."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.models import ACTIVE, ExportFile, OutboxMessage, Task, User
from chalicelib.errors import NotFound
from chalicelib.tasks.pauses import is_paused
from chalicelib.tasks.queue_position import counted_position
from chalicelib.tasks.requests import Launched
from chalicelib.values.paging import Page


@dataclass(frozen=True)
class Email:
    """What became of the email about an export."""

    state: str
    message_id: str | None
    sent_at: datetime | None


@dataclass(frozen=True)
class TaskView:
    """A task and what belongs to it.

    Attributes:
        task: The row.
        counted: Its position in the queue, up to `queue_position.EXACT_UP_TO` + 1; None unless it
            is queued.
        paused: Whether operators have paused its kind.
        export: What an export adds to it.
        email: The email about its outcome.
    """

    task: Task
    counted: int | None = None
    paused: bool = False
    export: ExportFile | None = None
    email: Email | None = None


def view_launched(launched: Launched) -> TaskView:
    """A task that was created just now, which has no file and no email yet."""
    return TaskView(launched.task, launched.position, bool(launched.paused))


_COLUMNS = (
    *(Task, counted_position(), is_paused(Task.name), ExportFile),
    *(OutboxMessage.state, OutboxMessage.message_id, OutboxMessage.sent_at),
)


def _joined(tasks: Any) -> sa.Select[Any]:
    with_file = tasks.outerjoin(ExportFile, ExportFile.task_id == Task.id)
    viewed = with_file.outerjoin(OutboxMessage, OutboxMessage.id == ExportFile.email_id)
    return cast("sa.Select[Any]", viewed)


def with_view(users: sa.Select[Any]) -> sa.Select[Any]:
    """A query for a user as one that finds a task of theirs beside them, for `view_beside`."""
    of_user = sa.and_(Task.id == sa.bindparam("task_id"), Task.user_id == User.id)
    return _joined(users.add_columns(*_COLUMNS).outerjoin(Task, of_user))


def view_beside(row: sa.Row[Any]) -> TaskView | None:
    """The task in a row of `with_view`, if there is one."""
    view = _view(row[-len(_COLUMNS) :])
    return view if view.task is not None else None


_VIEW = _joined(sa.select(*_COLUMNS))
_OF_USER = _VIEW.where(Task.id == sa.bindparam("task_id"), Task.user_id == sa.bindparam("of"))
_ANYBODYS = _VIEW.where(Task.id == sa.bindparam("task_id"))


def _view(row: Any) -> TaskView:
    task, counted, paused, export, state, message_id, sent_at = row
    email = Email(state, message_id, sent_at) if state else None
    return TaskView(task, counted, paused, export, email)


def view_task(session: so.Session, task_id: str, *, owner: int | None = None) -> TaskView:
    """One task, in one statement.

    Args:
        session: A session to read with.
        task_id: Which task.
        owner: The user whose task it must be; None for anybody's.

    Raises:
        NotFound: There is no such task, or it is another user's.
    """
    statement = _ANYBODYS if owner is None else _OF_USER
    row = session.execute(statement, {"task_id": task_id, "of": owner}).one_or_none()
    if row is None:
        raise NotFound
    return _view(row)


def view_tasks(session: so.Session, task_ids: Collection[str]) -> dict[str, TaskView]:
    """Some tasks by their ids, whosesoever they are; those that are gone are left out."""
    if not task_ids:
        return {}
    rows = session.execute(_VIEW.where(Task.id.in_(task_ids)))
    return {view.task.id: view for view in map(_view, rows)}


def list_tasks(
    session: so.Session,
    *,
    page: Page,
    user_id: int | None = None,
    status: str | None = None,
    names: Sequence[str] | None = None,
) -> tuple[Sequence[TaskView], bool]:
    """A page of tasks, the newest first, and whether more follow: a user's, or everybody's."""
    statement = _VIEW
    for column, value in ((Task.user_id, user_id), (Task.status, status)):
        if value is not None:
            statement = statement.where(column == value)
    if names is not None:
        statement = statement.where(Task.name.in_(names))
    rows = session.execute(page.of(statement, Task.created_at, Task.id))
    return page.cut([_view(row) for row in rows])


def tasks_in_progress(session: so.Session, user_id: int) -> Sequence[TaskView]:
    """A user's tasks that are not over, the oldest first."""
    statement = _VIEW.where(Task.user_id == user_id, Task.status.in_(ACTIVE))
    return [_view(row) for row in session.execute(statement.order_by(Task.created_at, Task.id))]
