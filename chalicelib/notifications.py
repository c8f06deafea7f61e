"""Notifications: the newest news about each subject, numbered so that a client misses nothing."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib import db
from chalicelib.models import Notification, Task, User

TASK_PROGRESS = "task_progress"


def next_seq(session: so.Session, user_id: int | sa.ScalarSelect[int]) -> int | None:
    """Raise the user's notification number and lock their row until the transaction ends.

    Call it before any other write about this user: everybody takes the user's row first, so
    nobody waits for each other in a circle, and a number is only ever seen after the lower ones.

    Args:
        session: A writing session.
        user_id: Whose, or a query for it.

    Returns:
        The new number, or None when the user is gone.
    """
    statement = (
        sa.update(User)
        .where(User.id == user_id)
        .values(notification_seq=User.notification_seq + 1)
        .returning(User.notification_seq)
        .execution_options(synchronize_session=False)
    )
    return session.scalar(statement)


def post_task_progress(session: so.Session, task: Task, *, seq: int, now: datetime) -> None:
    """Replace the notification about a task with one that says how it stands now."""
    data: dict[str, Any] = {
        "task_id": task.id,
        "name": task.name,
        "status": task.status,
        "progress": {"percent": task.percent, "done": task.done, "total": task.total},
        "error": task.error_code,
    }
    news = {"seq": seq, "timestamp": now, "data": data}
    keys = {"user_id": task.user_id, "name": TASK_PROGRESS, "subject": task.id}
    statement = db.insert(session, Notification).values(**keys, **news)
    session.execute(statement.on_conflict_do_update(index_elements=list(keys), set_=news))


def since(
    session: so.Session, user_id: int, *, after: int
) -> tuple[Sequence[Notification], int | None]:
    """What is new.

    Args:
        session: A session to read with.
        user_id: Whose notifications.
        after: The last number that the client has seen; 0 for all.

    Returns:
        The notifications with higher numbers, in their order, and the user's last number (None
        when the user is gone). Both come from one statement, so they fit each other.
    """
    statement = (
        sa.select(User.notification_seq, Notification)
        .outerjoin(Notification, sa.and_(Notification.user_id == User.id, Notification.seq > after))
        .where(User.id == user_id)
        .order_by(Notification.seq)
    )
    rows = session.execute(statement).all()
    if not rows:
        return [], None
    return [row[1] for row in rows if row[1] is not None], rows[0][0]
