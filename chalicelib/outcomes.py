"""How a task ends, whoever ends it."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib import mails, removals
from chalicelib.db import UtcDateTime
from chalicelib.ledger import ROW, Move
from chalicelib.models import Task
from chalicelib.registry import TASKS


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
        status: `succeeded`, `failed` or `cancelled`.
        lease_s: How long a worker that does not know yet may go on, in seconds.
        now: The time.
        error: Code and detail of a failure.
    """
    task.status = status
    task.finished_at = now
    task.lease_until = None
    task.checkpoint = None
    task.error_code, task.error_detail = error or (None, None)
    if status == "succeeded":
        task.percent = 100
    if task.name in TASKS and TASKS[task.name].exports:
        mails.wish(task)
        _clear_files(session, task, lease_s=lease_s, now=now)


def _clear_files(session: so.Session, task: Task, *, lease_s: int, now: datetime) -> None:
    """Remove what attempts left behind: all of it, or all but the published file."""
    if task.status != "succeeded":
        task.object_key = None
    elif task.claim == 1:
        return  # nobody else ever wrote here
    if task.claim:
        prefix = removals.task_prefix(task.user_id, task.id)
        removals.wish(session, prefix, now=now, lease_s=lease_s)


FINISH = Move(
    ROW.id == sa.bindparam("task_id"),
    ROW.status == "running",
    ROW.claim == sa.bindparam("held"),
    status="succeeded",
    finished_at=sa.bindparam("now", type_=UtcDateTime()),
    lease_until=None,
    checkpoint=None,
    error_code=None,
    error_detail=None,
    percent=100,
    done=ROW.total,
    result=sa.bindparam("ended", type_=ROW.result.type),
)
"""What `end` makes of a held task that succeeds and publishes nothing, in one statement."""
