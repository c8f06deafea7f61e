"""Notifications: the newest news about each subject, numbered so that a client misses nothing."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db import engine
from chalicelib.db.models import Notification, Task, User
from chalicelib.db.pipelines import unanswered

TASK_PROGRESS = "task_progress"

MOST_AT_ONCE = 100
"""How many notifications one look returns."""


_users = cast("sa.Table", User.__table__)
USER = _users.c
"""A user's columns, for what `raising` returns."""


def raising(*more: sa.ColumnElement[Any], of: Any = None) -> Any:
    """A statement that raises a user's notification number and locks their row until the commit.

    Execute it before any other write about the user: everybody takes the user's row first, so
    nobody waits for each other in a circle, and a number is only ever seen after the lower ones.
    It returns the new number, or no row when the user is gone.

    Args:
        *more: What it returns besides the number.
        of: A query for the user's id; without one the parameter `of` names it.
    """
    return (
        sa.update(_users)
        .where(USER.id == (sa.bindparam("of") if of is None else of))
        .values(notification_seq=USER.notification_seq + 1)
        .returning(USER.notification_seq, *more)
    )


def announced(task: Any) -> tuple[Any, ...]:
    """What `post_task_progress` tells of a task: attributes, or columns of the table."""
    return (
        task.user_id,
        task.id,
        task.name,
        task.status,
        task.percent,
        task.done,
        task.total,
        task.error_code,
    )


def posting(task: Any, *, seq: sa.ColumnElement[int], now: sa.ColumnElement[datetime]) -> Any:
    """A statement that does what `post_task_progress` does, as a part of another on PostgreSQL.

    Args:
        task: The columns of a part of that statement, which returns one task or none.
        seq: The number of the notification, from such a part, too.
        now: The time.
    """
    user_id, task_id, name, status, percent, done, total, error_code = announced(task)
    build = sa.func.json_build_object
    progress = build("percent", percent, "done", done, "total", total)
    told = ("task_id", task_id, "name", name, "status", status)
    data = build(*told, "progress", progress, "error", error_code)
    news = sa.select(user_id, sa.literal(TASK_PROGRESS), task_id, seq, now, data)
    names = ["user_id", "name", "subject", "seq", "timestamp", "data"]
    statement = engine.insert("postgresql", Notification)
    replaced = {name: statement.excluded[name] for name in names[3:]}
    return statement.from_select(names, news, include_defaults=False).on_conflict_do_update(
        index_elements=names[:3], set_=replaced
    )


def post_task_progress(
    session: so.Session, task: Task | sa.Row[Any], *, seq: int, now: datetime
) -> None:
    """Replace the notification about a task with one that says how it stands now."""
    user_id, task_id, name, status, percent, done, total, error_code = announced(task)
    data: dict[str, Any] = {
        "task_id": task_id,
        "name": name,
        "status": status,
        "progress": {"percent": percent, "done": done, "total": total},
        "error": error_code,
    }
    news = {"seq": seq, "timestamp": now, "data": data}
    keys = {"user_id": user_id, "name": TASK_PROGRESS, "subject": task_id}
    unanswered(session, _post(engine.dialect(session)), {**keys, **news})


@cache
def _post(dialect: str) -> Any:
    keys, news = ("user_id", "name", "subject"), ("seq", "timestamp", "data")
    statement = engine.insert(dialect, Notification)
    replaced = {name: statement.excluded[name] for name in news}
    return statement.on_conflict_do_update(index_elements=keys, set_=replaced)


def announce_again(
    session: so.Session, user_id: int, task_id: str, *, seq: int, now: datetime
) -> None:
    """Have those who watch a task look at it once more: what belongs to it has changed."""
    session.execute(_ANNOUNCE_AGAIN, {"of": user_id, "about": task_id, "next": seq, "moment": now})


def announcing(about: Any, *, seq: Any, now: Any) -> sa.Update:
    """What `announce_again` does, as a part of another statement, as `posting` is."""
    return (
        sa.update(_notifications)
        .where(
            _notifications.c.user_id == about.user_id,
            _notifications.c.name == TASK_PROGRESS,
            _notifications.c.subject == about.task_id,
        )
        .values(seq=seq, timestamp=now)
    )


_notifications = cast("sa.Table", Notification.__table__)
_ANNOUNCE_AGAIN = (
    sa.update(_notifications)
    .where(
        _notifications.c.user_id == sa.bindparam("of"),
        _notifications.c.name == TASK_PROGRESS,
        _notifications.c.subject == sa.bindparam("about"),
    )
    .values(
        seq=sa.bindparam("next"),
        timestamp=sa.bindparam("moment", type_=_notifications.c.timestamp.type),
    )
)

_SINCE = (
    sa.select(User.notification_seq, Notification)
    .outerjoin(
        Notification,
        sa.and_(Notification.user_id == User.id, Notification.seq > sa.bindparam("after")),
    )
    .where(User.id == sa.bindparam("of"))
    .order_by(Notification.seq)
    .limit(MOST_AT_ONCE + 1)
)


def since(
    session: so.Session, user_id: int, *, after: int
) -> tuple[Sequence[Notification], int | None]:
    """What is new.

    Args:
        session: A session to read with.
        user_id: Whose notifications.
        after: The last number that the client has seen; 0 for all.

    Returns:
        The oldest `MOST_AT_ONCE` notifications with higher numbers, in their order, and the number
        after which the client asks next: the last of these while more follow, else the user's
        last (None when the user is gone). All come from one statement, so they fit each other.
    """
    rows = session.execute(_SINCE, {"of": user_id, "after": after}).all()
    if not rows:
        return [], None
    found = [row[1] for row in rows if row[1] is not None]
    if len(found) > MOST_AT_ONCE:
        return found[:MOST_AT_ONCE], found[MOST_AT_ONCE - 1].seq
    return found, rows[0][0]
