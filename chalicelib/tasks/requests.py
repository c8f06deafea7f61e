"""Tasks from the user's side: ask for one, look at it, cancel it, try it again.

The names of the helpers are those of chapter 22 of the Flask Mega-Tutorial. Every function takes a
session and leaves the commit to its caller, who enqueues a job after it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from math import ceil
from typing import Any, cast
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db import engine
from chalicelib.db.engine import Database, UtcDateTime
from chalicelib.db.models import ACTIVE, IdempotencyKey, Task
from chalicelib.errors import (
    CoolingDown,
    IdempotencyKeyReused,
    NotFound,
    TaskActive,
    TaskEnded,
    TaskInProgress,
    TaskSucceeded,
    Unauthenticated,
)
from chalicelib.tasks import notifications
from chalicelib.tasks.outcomes import end
from chalicelib.tasks.pauses import is_paused
from chalicelib.tasks.queue_position import EXACT_UP_TO, count_ahead
from chalicelib.tasks.registry import TaskKind, kind_of, kinds_without
from chalicelib.tasks.transitions import (
    ROW,
    SILENT,
    UNSCHEDULED,
    ConditionalUpdate,
    change,
    task_table,
)
from chalicelib.values.fields import format_time

NOT_NULL_VIOLATION, UNIQUE_VIOLATION = "23502", "23505"
"""PostgreSQL's codes for them."""

IDEMPOTENCY_TTL = timedelta(hours=24)
"""How long an Idempotency-Key names the same task."""


@dataclass(frozen=True, kw_only=True)
class TaskRequest:
    """What somebody asks for.

    Attributes:
        kind: A registered kind of task.
        params: Its parameters, valid already.
        max_attempts: How many attempts it gets.
        cooldown_s: How long after a success the same kind has to wait, in seconds.
        idempotency_key: What the client calls the request; the same key is the same task.
        not_before: When it may begin, and has its turn in the queue; None, or a time that is over,
            for at once.
        schedule_id: The schedule that launches it.
        alone: Whether it is refused while the user has any task that is not over.
    """

    kind: TaskKind
    params: Mapping[str, Any]
    max_attempts: int
    cooldown_s: int = 0
    idempotency_key: str | None = None
    not_before: datetime | None = None
    schedule_id: str | None = None
    alone: bool = False


@dataclass(frozen=True)
class Launched:
    """What became of a request.

    Attributes:
        task: The task.
        is_new: Whether this request created it; else its key named it already.
        position: How many tasks are queued up to this one, at most `EXACT_UP_TO` + 1; None unless
            it is new and may begin at once.
        paused: Whether its kind is paused; None unless it is new.
    """

    task: Task
    is_new: bool
    position: int | None = None
    paused: bool | None = None


def launch(
    database: Database, user_id: int, request: TaskRequest, *, now: datetime
) -> Launched | None:
    """Record a task with one round trip to PostgreSQL, where nothing is in its way.

    Returns:
        The new task; None when nothing was recorded, and `launch_task` knows why or does it.
    """
    takes_more = request.alone or request.cooldown_s or request.not_before is not None
    if takes_more or request.kind.has("on_launch") or not database.is_postgresql:
        return None
    facts, key = _facts(user_id, request, task_id=str(uuid4()), now=now), request.idempotency_key
    given = {f"given_{name}": value for name, value in facts.items()}
    if key is not None:
        old = now - IDEMPOTENCY_TTL
        given |= {"given_key": key, "given_fingerprint": _fingerprint(request), "old": old}
    try:
        with database.single() as session:
            begun = session.execute(_launching(by_key=key is not None), given).one_or_none()
            if begun is not None:
                notifications.announce(session, user_id)
    except sa.exc.IntegrityError as error:
        _refuse_other(error, NOT_NULL_VIOLATION)
        return None  # the key was given to another request meanwhile
    if begun is None:
        return None
    ahead, paused, due_at = begun
    task, position = Task(**facts, due_at=due_at), min(ahead + 1, EXACT_UP_TO + 1)
    return Launched(task, is_new=True, position=position, paused=paused)


def _refuse_other(error: sa.exc.IntegrityError, expected: str) -> None:
    """Let nothing pass but what somebody who came first makes of a statement."""
    if getattr(error.orig, "sqlstate", None) != expected:
        raise error


def launch_task(
    session: so.Session, user_id: int, request: TaskRequest, *, now: datetime
) -> Launched:
    """Record a task, in three statements or more; it is queued from the commit on.

    Returns:
        The new task, or the one that the request's key names already.

    Raises:
        Unauthenticated: The user is gone.
        TaskInProgress: The user has one of this kind that is not over, or of any if this one must
            be alone.
        CoolingDown: The last success is too fresh.
        IdempotencyKeyReused: The key named another request.
    """
    task_id = str(uuid4())
    about = {"of": user_id, "now": now, "task_id": task_id, "kind": request.kind.name}
    begun = session.execute(_BEGIN, about).one_or_none()
    if begun is None:
        raise Unauthenticated
    if request.idempotency_key is not None:
        earlier = _remember(session, user_id, request, task_id=task_id, now=now)
        if earlier is not None:
            return Launched(earlier, is_new=False)
    if request.alone:
        _refuse_company(session, user_id)
    if request.cooldown_s:
        _check_cooldown(session, user_id, request.kind.name, request.cooldown_s, now=now)
    task = _insert(session, user_id, request, task_id=task_id, now=now)
    request.kind.on_launch(session, task, now=now)
    notifications.post_task_progress(session, task, seq=begun[0], now=now)
    position = min(begun[1] + 1, EXACT_UP_TO + 1) if task.queued_at == now else None
    return Launched(task, is_new=True, position=position, paused=begun[2])


# Raises the user's number, as every change does first, and looks how many are queued already and
# whether the kind is paused.
_BEGIN = notifications.raising(
    count_ahead(sa.bindparam("now", type_=UtcDateTime()), sa.bindparam("task_id")),
    is_paused(sa.bindparam("kind", type_=sa.String())),
)


def _remember(
    session: so.Session, user_id: int, request: TaskRequest, *, task_id: str, now: datetime
) -> Task | None:
    """Note the key for this task, or return the task that it already names."""
    names = {"user_id": user_id, "key": request.idempotency_key}
    values = {"fingerprint": _fingerprint(request), "task_id": task_id, "created_at": now}
    statement = _note_key(engine.dialect(session))
    if session.scalar(statement, {**names, **values, "old": now - IDEMPOTENCY_TTL}) is not None:
        return None
    noted, earlier, _ = session.execute(_EARLIER, names).one()
    return _same(request, noted, earlier)


def _fingerprint(request: TaskRequest) -> str:
    asked = [request.kind.name, request.params]
    if request.not_before is not None:
        asked.append(format_time(request.not_before))
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _same(request: TaskRequest, fingerprint: str, task: Task | None) -> Task:
    if fingerprint != _fingerprint(request):
        raise IdempotencyKeyReused
    if task is None:
        raise NotFound
    return task


def find_launched(
    session: so.Session, user_id: int, request: TaskRequest, *, now: datetime
) -> Task | None:
    """The task that a request's key names already; None where a new one would be launched.

    Raises:
        TaskInProgress: The user has one of this kind that is not over.
        IdempotencyKeyReused: The key named another request.
    """
    names = {"user_id": user_id, "key": request.idempotency_key}
    noted = session.execute(_EARLIER, names).one_or_none() if request.idempotency_key else None
    if noted is not None and noted[2] > now - IDEMPOTENCY_TTL:
        return _same(request, noted[0], noted[1])
    _refuse_second(session, user_id, request.kind.name, request.kind.unique_key(request.params))
    return None


_EARLIER = (
    sa.select(IdempotencyKey.fingerprint, Task, IdempotencyKey.created_at)
    .outerjoin(
        Task, sa.and_(Task.id == IdempotencyKey.task_id, Task.user_id == IdempotencyKey.user_id)
    )
    .where(
        IdempotencyKey.user_id == sa.bindparam("user_id"),
        IdempotencyKey.key == sa.bindparam("key"),
    )
)


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


def _refuse_company(session: so.Session, user_id: int) -> None:
    for current in get_tasks_in_progress(session, user_id):
        raise TaskInProgress(current.id)


def _check_cooldown(
    session: so.Session, user_id: int, name: str, cooldown_s: int, *, now: datetime
) -> None:
    last = session.scalar(
        sa.select(Task.finished_at)
        .where(Task.user_id == user_id, Task.name == name, Task.status == "succeeded")
        .order_by(Task.finished_at.desc())
        .limit(1)
    )
    left_s = 0.0 if last is None else (last - now).total_seconds() + cooldown_s
    if left_s > 0:
        raise CoolingDown(ceil(left_s))


def _insert(
    session: so.Session, user_id: int, request: TaskRequest, *, task_id: str, now: datetime
) -> Task:
    delayed = request.not_before is not None and request.not_before > now
    facts = _facts(user_id, request, task_id=task_id, now=now)
    if delayed:
        facts["due_at"] = facts["queued_at"] = request.not_before
    due_at = session.scalar(_insert_task(engine.dialect(session), delayed=delayed), facts)
    if due_at is None:
        _refuse_second(session, user_id, request.kind.name, facts["unique_key"])
        raise TaskInProgress(task_id)
    return Task(**facts | {"due_at": due_at})


def _facts(user_id: int, request: TaskRequest, *, task_id: str, now: datetime) -> dict[str, Any]:
    return {
        **_FRESH,
        "id": task_id,
        "user_id": user_id,
        "name": request.kind.name,
        "unique_key": request.kind.unique_key(request.params),
        "params": dict(request.params),
        "max_attempts": request.max_attempts,
        "created_at": now,
        "queued_at": now,
        "schedule_id": request.schedule_id,
    }


_FRESH = {
    column.key: column.default.arg
    for column in Task.__table__.c
    if isinstance(column.default, sa.ColumnDefault)
}
"""What a task begins with. Given to the statement and to the object, so that nothing is read back:
the ORM's own INSERT with RETURNING takes three times as long."""


@cache
def _insert_task(dialect: str, *, delayed: bool) -> Any:
    statement = engine.insert(dialect, Task)
    if not delayed:
        statement = statement.values(due_at=engine.db_clock())
    return statement.on_conflict_do_nothing().returning(Task.__table__.c.due_at)


_GIVEN = (
    *(name for name in _FRESH if name != "unique_key"),
    *("id", "user_id", "name", "unique_key", "params"),
    *("max_attempts", "created_at", "queued_at", "schedule_id"),
)
"""The columns that `_facts` gives."""


def _given(column: sa.Column[Any]) -> sa.BindParameter[Any]:
    return sa.bindparam(f"given_{column.key}", type_=column.type)


@cache
def _launching(*, by_key: bool) -> sa.Select[Any]:
    """One statement that does on PostgreSQL what `launch_task` does, or nothing at all.

    It sees what was committed when it began. What came in between is found by the unique index on
    tasks in progress, and by the key's: a key that is good still becomes one without a task, which
    the table refuses, and all of the statement is undone.
    """
    task, key = cast("sa.Table", Task.__table__), cast("sa.Table", IdempotencyKey.__table__)
    user_id, old = _given(task.c.user_id), sa.bindparam("old", type_=UtcDateTime())
    same = (task.c.name == _given(task.c.name), task.c.unique_key == _given(task.c.unique_key))
    free = [~sa.exists().where(task.c.user_id == user_id, *same, task.c.status.in_(ACTIVE))]
    if by_key:
        names_it = (key.c.user_id == user_id, key.c.key == _given(key.c.key))
        free.append(~sa.exists().where(*names_it, key.c.created_at > old))
    begun = (
        notifications.raising(
            count_ahead(_given(task.c.queued_at), _given(task.c.id)).label("ahead"),
            is_paused(_given(task.c.name)).label("paused"),
            notifications.USER.id,
            of=user_id,
        )
        .where(*free)
        .cte("begun")
    )
    columns = [task.c[name] for name in _GIVEN]
    row = sa.select(*(_given(one) for one in columns), engine.db_clock()).select_from(begun)
    inserted = (
        engine.insert("postgresql", Task)
        .from_select([*(one.key for one in columns), "due_at"], row, include_defaults=False)
        .on_conflict_do_nothing()
        .returning(*notifications.announced(task.c), task.c.due_at)
        .cte("inserted")
    )
    now = _given(task.c.created_at)
    seq = sa.select(begun.c.notification_seq).scalar_subquery()
    parts = [notifications.posting(inserted.c, seq=seq, now=now).cte("posted")]
    if by_key:
        parts.append(_noting(inserted.c, old, now).cte("noted"))
    found = sa.select(begun.c.ahead, begun.c.paused, inserted.c.due_at)
    return found.where(begun.c.id == inserted.c.user_id).add_cte(*parts)


def _noting(task: Any, old: Any, now: Any) -> Any:
    """Give the key to a new task; if it names another one, what it names becomes NULL."""
    key = cast("sa.Table", IdempotencyKey.__table__).c
    row = sa.select(task.user_id, _given(key.key), _given(key.fingerprint), task.id, now)
    names = ["user_id", "key", "fingerprint", "task_id", "created_at"]
    statement = engine.insert("postgresql", IdempotencyKey)
    statement = statement.from_select(names, row, include_defaults=False)
    renewed = {
        name: sa.case((key.created_at <= old, statement.excluded[name])) for name in names[2:]
    }
    return statement.on_conflict_do_update(index_elements=names[:2], set_=renewed)


def _refuse_second(session: so.Session, user_id: int, name: str, unique_key: str) -> None:
    current = get_task_in_progress(session, user_id, name, unique_key=unique_key)
    if current is not None:
        raise TaskInProgress(current.id)


def get_tasks_in_progress(session: so.Session, user_id: int) -> Sequence[Task]:
    """The user's tasks that are not over."""
    statement = sa.select(Task).where(Task.user_id == user_id, Task.status.in_(ACTIVE))
    return session.scalars(statement.order_by(Task.created_at)).all()


def get_task_in_progress(
    session: so.Session, user_id: int, name: str, *, unique_key: str = ""
) -> Task | None:
    """The user's task of one kind that is not over, if there is one."""
    statement = sa.select(Task).where(
        Task.user_id == user_id,
        Task.name == name,
        Task.unique_key == unique_key,
        Task.status.in_(ACTIVE),
    )
    return session.scalar(statement)


def cancel(database: Database, task_id: str, *, now: datetime, owner: int | None = None) -> bool:
    """Cancel a task with one round trip to PostgreSQL: one that runs, or whose kind has no hooks.

    Returns:
        Whether it was cancelled; `cancel_task` knows why not, or does it.
    """
    if not database.is_postgresql:
        return False
    about = {"task_id": task_id, "owner": owner, "silent": kinds_without("on_end")}
    with database.single() as session:
        return _CANCEL.execute(session, about, {"now": now}, now=now) is not None


_OWNER = sa.bindparam("owner", type_=ROW.user_id.type)
_THEIRS = (ROW.id == sa.bindparam("task_id"), sa.or_(_OWNER.is_(None), ROW.user_id == _OWNER))
_IS_QUEUED = ROW.status == "queued"
_CANCEL = ConditionalUpdate(
    *_THEIRS,
    sa.or_(ROW.status == "running", sa.and_(_IS_QUEUED, SILENT, UNSCHEDULED)),
    status=sa.case((_IS_QUEUED, "cancelled"), else_="cancelling"),
    finished_at=sa.case((_IS_QUEUED, sa.bindparam("now", type_=UtcDateTime()))),
    **{
        name: sa.case((_IS_QUEUED, sa.null()), else_=ROW[name])
        for name in ("checkpoint", "error_code", "error_detail")
    },
)


def cancel_task(
    session: so.Session, task_id: str, *, lease_s: int, now: datetime, owner: int | None = None
) -> Task:
    """Cancel a task: at once when nobody works on it, else by asking its worker to stop.

    Args:
        session: A writing session.
        task_id: Which task.
        lease_s: The lease of a worker, in seconds.
        now: The time.
        owner: The user whose task it must be; None for anybody's.

    Raises:
        NotFound: There is no such task, or it is another user's.
        TaskEnded: It succeeded or failed already.
    """
    with change(session, task_id, now=now, owner=owner) as task:
        if task.status == "queued":
            end(session, task, status="cancelled", lease_s=lease_s, now=now)
        elif task.status == "running":
            task.status = "cancelling"
        elif task.status in {"succeeded", "failed"}:
            raise TaskEnded
    return task


def retry(database: Database, task_id: str, *, now: datetime, owner: int | None = None) -> bool:
    """Queue a failed or cancelled task again with one round trip to PostgreSQL.

    Not one of a kind that has a hook for it.

    Returns:
        Whether it was queued; `retry_task` knows why not, or does it.
    """
    if not database.is_postgresql:
        return False
    about = {"task_id": task_id, "owner": owner, "silent": kinds_without("on_retry")}
    try:
        with database.single() as session:
            return _RETRY.execute(session, about, {"now": now}, now=now) is not None
    except sa.exc.IntegrityError as error:
        _refuse_other(error, UNIQUE_VIOLATION)
        return False  # another one of its kind came first


_ANEW: dict[str, Any] = {
    "status": "queued",
    **dict.fromkeys(("failures", "attempt", "percent", "done", "total"), 0),
    **dict.fromkeys(("started_at", "finished_at", "last_seen_at", "yielded_at")),
    **dict.fromkeys(("error_code", "error_detail", "checkpoint", "result")),
}
"""What becomes of a task that is tried again: nothing of the past is left but its name."""

_OTHER = task_table.alias("other")
_RETRY = ConditionalUpdate(
    *(*_THEIRS, ROW.status.in_(("failed", "cancelled")), SILENT),
    ~sa.exists()
    .where(
        *(_OTHER.c[same] == ROW[same] for same in ("user_id", "name", "unique_key")),
        _OTHER.c.status.in_(ACTIVE),
    )
    .correlate(task_table),
    **_ANEW,
    queued_at=sa.bindparam("now", type_=UtcDateTime()),
    due_at=engine.db_clock(),
)


def retry_task(
    session: so.Session,
    task_id: str,
    *,
    now: datetime,
    owner: int | None = None,
    cooldown_s: int = 0,
    alone: bool = False,
) -> Task:
    """Queue a failed or cancelled task again, with nothing of the past but its name.

    Args:
        session: A writing session.
        task_id: Which task.
        now: The time.
        owner: The user whose task it must be; None for anybody's.
        cooldown_s: How long after a success the same kind has to wait, in seconds.
        alone: Whether it is refused while the user has any task that is not over.

    Raises:
        NotFound: There is no such task, or it is another user's.
        TaskActive: It is not over.
        TaskSucceeded: There is nothing to try again.
        TaskInProgress: The user has another one of this kind that is not over, or of any if this
            one must be alone.
        CoolingDown: The last success is too fresh.
    """
    with change(session, task_id, now=now, owner=owner) as task:
        if task.status == "succeeded":
            raise TaskSucceeded
        if task.status in ACTIVE:
            raise TaskActive
        _refuse_second(session, task.user_id, task.name, task.unique_key)
        if alone:
            _refuse_company(session, task.user_id)
        if cooldown_s:
            _check_cooldown(session, task.user_id, task.name, cooldown_s, now=now)
        for column, value in _ANEW.items():
            setattr(task, column, value)
        task.queued_at, task.due_at = now, engine.db_clock()
        kind_of(task).on_retry(session, task, now=now)
    return task
