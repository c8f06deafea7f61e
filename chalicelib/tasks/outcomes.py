"""How a task ends, whoever ends it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.engine import UtcDateTime
from chalicelib.db.models import Task
from chalicelib.exports import removals
from chalicelib.outbox import messages
from chalicelib.tasks.registry import TASKS
from chalicelib.tasks.transitions import ROW, Move


def end(
    session: so.Session,
    task: Task,
    *,
    status: str,
    lease_s: int,
    now: datetime,
    error: tuple[str, str] | None = None,
) -> None:
    """Give a locked task its one outcome.

    Args:
        session: The session that locked it.
        task: The task.
        status: `failed` or `cancelled`; those who succeed `FINISH` or `PUBLISH`.
        lease_s: How long a worker that does not know yet may go on, in seconds.
        now: The time.
        error: Code and detail of a failure.
    """
    task.status = status
    task.finished_at = now
    task.lease_until = None
    task.checkpoint = None
    task.error_code, task.error_detail = error or (None, None)
    if task.name in TASKS and TASKS[task.name].exports:
        messages.wish(task)
        task.object_key = None
        if task.claim:
            left_behind(session, task.user_id, task.id, lease_s=lease_s, now=now)


def left_behind(
    session: so.Session, user_id: int, task_id: str, *, lease_s: int, now: datetime
) -> None:
    """Have removed what a task's attempts left behind: all but the file that it published, if any.

    A task that succeeded at its first claim needs none of this: nobody else ever wrote there.
    """
    removals.wish(session, removals.task_prefix(user_id, task_id), now=now, lease_s=lease_s)


_HELD = (
    ROW.id == sa.bindparam("task_id"),
    ROW.status == "running",
    ROW.claim == sa.bindparam("held"),
)
_SUCCEEDED: Mapping[str, Any] = {
    "status": "succeeded",
    "finished_at": sa.bindparam("now", type_=UtcDateTime()),
    "lease_until": None,
    "checkpoint": None,
    "error_code": None,
    "error_detail": None,
    "percent": 100,
}

FINISH = Move(
    *_HELD,
    **_SUCCEEDED,
    done=ROW.total,
    result=sa.bindparam("ended", type_=ROW.result.type),
)
"""A held task succeeds and leaves a result."""

PUBLISH = Move(
    *_HELD,
    **_SUCCEEDED,
    **messages.WISHED,
    done=sa.bindparam("posts"),
    total=sa.bindparam("posts"),
    posts=sa.bindparam("posts"),
    object_key=sa.bindparam("key"),
    size_bytes=sa.bindparam("size_bytes"),
    sha256=sa.bindparam("sha256"),
    expires_at=sa.bindparam("until", type_=UtcDateTime()),
)
"""A held task succeeds and publishes a file, which is mailed."""
