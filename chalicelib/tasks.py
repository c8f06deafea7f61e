"""Tasks from the user's side: ask for one, look at it, cancel it, try it again.

The names of the helpers are those of chapter 22 of the Flask Mega-Tutorial. Every function takes a
session and leaves the commit to its caller; after the commit the caller rings the queue.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib import db, mails, notifications
from chalicelib.errors import (
    CoolingDown,
    IdempotencyKeyReused,
    NotFound,
    TaskActive,
    TaskEnded,
    TaskInProgress,
    Unauthenticated,
)
from chalicelib.ledger import change
from chalicelib.models import ACTIVE, IdempotencyKey, Task
from chalicelib.outcomes import end
from chalicelib.paging import Page

IDEMPOTENCY_TTL = timedelta(hours=24)
"""How long an Idempotency-Key names the same task."""


@dataclass(frozen=True)
class Seen:
    """A task as it stands, and its place in the queue.

    Attributes:
        task: The row.
        position: 1 when it is next; None unless it is queued.
    """

    task: Task
    position: int | None


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
    """Record the wish for a task; it is queued from the commit on.

    Raises:
        TaskInProgress: The user has one of this kind that is not over.
        CoolingDown: The last success is too fresh.
        IdempotencyKeyReused: The key named another request.
    """
    seq = notifications.next_seq(session, user_id)
    if seq is None:
        raise Unauthenticated
    task_id = str(uuid4())
    if wish.idempotency_key is not None:
        earlier = _remember(session, user_id, wish, task_id=task_id, now=now)
        if earlier is not None:
            return session.get_one(Task, earlier)
    if wish.cooldown_s:
        _check_cooldown(session, user_id, wish, now=now)
    task = _insert(session, user_id, wish, task_id=task_id, now=now)
    notifications.post_task_progress(session, task, seq=seq, now=now)
    return task


def _remember(
    session: so.Session, user_id: int, wish: Wish, *, task_id: str, now: datetime
) -> str | None:
    """Note the key for this task, or return the id of the task that it already names."""
    canonical = json.dumps([wish.name, wish.params], sort_keys=True)
    fingerprint = hashlib.sha256(canonical.encode()).hexdigest()
    names = {"user_id": user_id, "key": wish.idempotency_key}
    values = {"fingerprint": fingerprint, "task_id": task_id, "created_at": now}
    statement = (
        db.insert(session, IdempotencyKey)
        .values(**names, **values)
        .on_conflict_do_update(
            index_elements=list(names),
            set_=values,
            where=IdempotencyKey.created_at <= now - IDEMPOTENCY_TTL,
        )
        .returning(IdempotencyKey.task_id)
    )
    if session.scalar(statement) is not None:
        return None
    earlier = session.get_one(IdempotencyKey, (user_id, wish.idempotency_key))
    if earlier.fingerprint != fingerprint:
        raise IdempotencyKeyReused
    return earlier.task_id


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
    statement = (
        db.insert(session, Task)
        .values(
            id=task_id,
            user_id=user_id,
            name=wish.name,
            params=dict(wish.params),
            max_attempts=wish.max_attempts,
            created_at=now,
            queued_at=now,
            due_at=db.db_clock(),
        )
        .on_conflict_do_nothing()
        .returning(Task)
    )
    task: Task | None = session.scalar(statement)
    if task is None:
        _refuse_second(session, user_id, wish.name)
        raise TaskInProgress(task_id)
    return task


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


def get_task(session: so.Session, user_id: int, task_id: str) -> Seen:
    """One task of a user, in one statement.

    Raises:
        NotFound: There is none of this id, or it is somebody else's.
    """
    statement = sa.select(Task, _position()).where(Task.id == task_id, Task.user_id == user_id)
    row = session.execute(statement).one_or_none()
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
) -> list[Seen]:
    """Tasks, the newest first: a user's, or everybody's for an administrator."""
    statement = sa.select(Task, _position()).order_by(Task.created_at.desc(), Task.id.desc())
    wanted = {Task.user_id: user_id, Task.status: status, Task.name: name}
    for column, value in wanted.items():
        if value is not None:
            statement = statement.where(column == value)
    if page.before is not None:
        statement = statement.where(sa.tuple_(Task.created_at, Task.id) < page.before)
    return [Seen(row[0], row[1]) for row in session.execute(statement.limit(page.limit))]


def _position() -> sa.ColumnElement[int | None]:
    """How many queued tasks stand before this one, itself included; NULL unless queued."""
    other = so.aliased(Task)
    before = sa.tuple_(other.queued_at, other.id) <= sa.tuple_(Task.queued_at, Task.id)
    count = sa.select(sa.func.count()).where(other.status == "queued", before)
    return sa.case((Task.status == "queued", count.correlate(Task).scalar_subquery()))


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
        task.due_at = db.db_clock()
        task.failures = task.attempt = task.percent = task.done = task.total = 0
        task.started_at = task.finished_at = task.last_seen_at = None
        task.error_code = task.error_detail = task.checkpoint = None
        task.object_key = task.cutoff = None
        mails.forget(task)
    return task
