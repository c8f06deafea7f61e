"""Tasks from the user's side: ask for one, look at it, cancel it, try it again.

The names of the helpers are those of chapter 22 of the Flask Mega-Tutorial. Every function takes a
session and leaves the commit to its caller; after the commit the caller rings the queue.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from math import ceil
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db import engine
from chalicelib.db.engine import UtcDateTime
from chalicelib.db.models import ACTIVE, IdempotencyKey, Task
from chalicelib.errors import (
    CoolingDown,
    IdempotencyKeyReused,
    NotFound,
    TaskActive,
    TaskEnded,
    TaskInProgress,
    Unauthenticated,
)
from chalicelib.outbox import messages
from chalicelib.tasks import notifications, queue_position
from chalicelib.tasks.outcomes import end
from chalicelib.tasks.queue_position import NEAR
from chalicelib.tasks.transitions import change
from chalicelib.values.paging import Page

IDEMPOTENCY_TTL = timedelta(hours=24)
"""How long an Idempotency-Key names the same task."""


@dataclass(frozen=True)
class Seen:
    """A task as it stands, and its place in the queue.

    Attributes:
        task: The row.
        near: 1 when it is next; `NEAR` + 1 when it is further back; None unless queued.
    """

    task: Task
    near: int | None


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What somebody asks for.

    Attributes:
        name: A registered task.
        params: Its parameters, valid already.
        max_attempts: How many attempts it gets.
        cooldown_s: How long after a success the same kind has to wait, in seconds.
        idempotency_key: What the client calls the request; the same key is the same task.
    """

    name: str
    params: Mapping[str, Any]
    max_attempts: int
    cooldown_s: int = 0
    idempotency_key: str | None = None


def launch_task(session: so.Session, user_id: int, wish: Wish, *, now: datetime) -> Task:
    """Record the wish for a task; the task and the errors are those of `launch`."""
    return launch(session, user_id, wish, now=now).task


def launch(session: so.Session, user_id: int, wish: Wish, *, now: datetime) -> Seen:
    """Record the wish for a task, in three statements; it is queued from the commit on.

    Returns:
        The task, or the one that the wish's key names already, as it stands.

    Raises:
        Unauthenticated: The user is gone.
        TaskInProgress: The user has one of this kind that is not over.
        CoolingDown: The last success is too fresh.
        IdempotencyKeyReused: The key named another request.
    """
    task_id = str(uuid4())
    begun = session.execute(_BEGIN, {"of": user_id, "now": now, "task_id": task_id}).one_or_none()
    if begun is None:
        raise Unauthenticated
    if wish.idempotency_key is not None:
        earlier = _remember(session, user_id, wish, task_id=task_id, now=now)
        if earlier is not None:
            return get_task(session, user_id, earlier)
    if wish.cooldown_s:
        _check_cooldown(session, user_id, wish, now=now)
    task = _insert(session, user_id, wish, task_id=task_id, now=now)
    notifications.post_task_progress(session, task, seq=begun[0], now=now)
    return Seen(task, min(begun[1] + 1, NEAR + 1))


# Raises the user's number, as every change does first, and looks how many are queued already.
_BEGIN = notifications.raising(
    queue_position.ahead(sa.bindparam("now", type_=UtcDateTime()), sa.bindparam("task_id"))
)


def _remember(
    session: so.Session, user_id: int, wish: Wish, *, task_id: str, now: datetime
) -> str | None:
    """Note the key for this task, or return the id of the task that it already names."""
    canonical = json.dumps([wish.name, wish.params], sort_keys=True)
    fingerprint = hashlib.sha256(canonical.encode()).hexdigest()
    names = {"user_id": user_id, "key": wish.idempotency_key}
    values = {"fingerprint": fingerprint, "task_id": task_id, "created_at": now}
    statement = _note_key(engine.dialect(session))
    if session.scalar(statement, {**names, **values, "old": now - IDEMPOTENCY_TTL}) is not None:
        return None
    earlier = session.get_one(IdempotencyKey, (user_id, wish.idempotency_key))
    if earlier.fingerprint != fingerprint:
        raise IdempotencyKeyReused
    return earlier.task_id


@cache
def _note_key(dialect: str) -> Any:
    names, values = ("user_id", "key"), ("fingerprint", "task_id", "created_at")
    statement = engine.insert(dialect, IdempotencyKey)
    renewed = statement.on_conflict_do_update(
        index_elements=names,
        set_={name: statement.excluded[name] for name in values},
        where=IdempotencyKey.created_at <= sa.bindparam("old", type_=UtcDateTime()),
    )
    return renewed.returning(IdempotencyKey.__table__.c.task_id)


def _check_cooldown(session: so.Session, user_id: int, wish: Wish, *, now: datetime) -> None:
    last = session.scalar(
        sa.select(Task.finished_at)
        .where(Task.user_id == user_id, Task.name == wish.name, Task.status == "succeeded")
        .order_by(Task.finished_at.desc())
        .limit(1)
    )
    left_s = 0.0 if last is None else (last - now).total_seconds() + wish.cooldown_s
    if left_s > 0:
        raise CoolingDown(ceil(left_s))


def _insert(session: so.Session, user_id: int, wish: Wish, *, task_id: str, now: datetime) -> Task:
    facts = {
        **_FRESH,
        "id": task_id,
        "user_id": user_id,
        "name": wish.name,
        "params": dict(wish.params),
        "max_attempts": wish.max_attempts,
        "created_at": now,
        "queued_at": now,
    }
    due_at = session.scalar(_insert_task(engine.dialect(session)), facts)
    if due_at is None:
        _refuse_second(session, user_id, wish.name)
        raise TaskInProgress(task_id)
    return Task(**facts, due_at=due_at)


_FRESH = {
    column.key: column.default.arg
    for column in Task.__table__.c
    if isinstance(column.default, sa.ColumnDefault)
}
"""What a task begins with. Given to the statement and to the object, so that nothing is read back:
the ORM's own INSERT with RETURNING takes three times as long."""


@cache
def _insert_task(dialect: str) -> Any:
    statement = (
        engine.insert(dialect, Task).values(due_at=engine.db_clock()).on_conflict_do_nothing()
    )
    return statement.returning(Task.__table__.c.due_at)


def _refuse_second(session: so.Session, user_id: int, name: str) -> None:
    current = get_task_in_progress(session, user_id, name)
    if current is not None:
        raise TaskInProgress(current.id)


def get_tasks_in_progress(session: so.Session, user_id: int) -> Sequence[Task]:
    """The user's tasks that are not over."""
    statement = sa.select(Task).where(Task.user_id == user_id, Task.status.in_(ACTIVE))
    return session.scalars(statement.order_by(Task.created_at)).all()


def get_task_in_progress(session: so.Session, user_id: int, name: str) -> Task | None:
    """The user's task of one kind that is not over, if there is one."""
    statement = sa.select(Task).where(
        Task.user_id == user_id, Task.name == name, Task.status.in_(ACTIVE)
    )
    return session.scalar(statement)


def get_progress(task: Task) -> int:
    """How far a task is, in percent; 100 only when it succeeded."""
    return task.percent


_SEEN = sa.select(Task, queue_position.near())
_OF_USER = _SEEN.where(Task.id == sa.bindparam("task_id"), Task.user_id == sa.bindparam("of"))


def get_task(session: so.Session, user_id: int, task_id: str) -> Seen:
    """One task of a user, in one statement.

    Raises:
        NotFound: There is none of this id, or it is somebody else's.
    """
    row = session.execute(_OF_USER, {"task_id": task_id, "of": user_id}).one_or_none()
    if row is None:
        raise NotFound
    return Seen(row[0], row[1])


def list_tasks(
    session: so.Session,
    *,
    page: Page,
    user_id: int | None = None,
    status: str | None = None,
    name: str | None = None,
) -> tuple[Sequence[Seen], bool]:
    """A page of tasks, the newest first, and whether more follow: a user's, or everybody's."""
    statement = _SEEN.order_by(Task.created_at.desc(), Task.id.desc())
    wanted = {Task.user_id: user_id, Task.status: status, Task.name: name}
    for column, value in wanted.items():
        if value is not None:
            statement = statement.where(column == value)
    if page.before is not None:
        statement = statement.where(sa.tuple_(Task.created_at, Task.id) < page.before)
    rows = session.execute(statement.limit(page.limit + 1))
    return page.cut([Seen(row[0], row[1]) for row in rows])


def cancel_task(session: so.Session, task_id: str, *, lease_s: int, now: datetime) -> Task:
    """Cancel a task: at once when nobody works on it, else by asking its worker to stop.

    Raises:
        NotFound: There is no such task.
        TaskEnded: It succeeded or failed already.
    """
    with change(session, task_id, now=now) as task:
        if task.status == "queued":
            end(session, task, status="cancelled", lease_s=lease_s, now=now)
        elif task.status == "running":
            task.status = "cancelling"
        elif task.status in {"succeeded", "failed"}:
            raise TaskEnded
    return task


def retry_task(session: so.Session, task_id: str, *, now: datetime) -> Task:
    """Queue a failed or cancelled task again, with nothing of the past but its name.

    Raises:
        NotFound: There is no such task.
        TaskActive: It is not over, or it succeeded.
        TaskInProgress: The user has another one of this kind that is not over.
    """
    with change(session, task_id, now=now) as task:
        if task.status not in {"failed", "cancelled"}:
            raise TaskActive
        _refuse_second(session, task.user_id, task.name)
        task.status = "queued"
        task.queued_at = now
        task.due_at = engine.db_clock()
        task.failures = task.attempt = task.percent = task.done = task.total = 0
        task.started_at = task.finished_at = task.last_seen_at = None
        task.error_code = task.error_detail = task.checkpoint = None
        task.object_key = task.cutoff = None
        messages.forget(task)
    return task
