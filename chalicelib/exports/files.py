"""A finished export from the user's side: download it, delete it, have it mailed again."""

from datetime import datetime

from sqlalchemy import orm as so

from chalicelib.db.engine import db_clock
from chalicelib.db.models import ACTIVE, AuditEntry, Task
from chalicelib.errors import ExportGone, MailInProgress, NoFile, NotFound, NotReady
from chalicelib.exports import removals
from chalicelib.outbox import messages
from chalicelib.tasks.registry import TASKS
from chalicelib.tasks.transitions import change


def is_export(task: Task) -> bool:
    """Whether a task publishes a file."""
    return task.name in TASKS and TASKS[task.name].exports


def available(task: Task, *, now: datetime) -> bool:
    """Whether the ledger says that the file is there."""
    expired = task.expires_at is None or task.expires_at <= now
    return task.status == "succeeded" and task.gone_at is None and not expired


def require_file(task: Task, *, now: datetime) -> str:
    """The key of an export's file.

    Raises:
        NotFound: The task is no export.
        NotReady: It is not over yet.
        NoFile: It failed or was cancelled.
        ExportGone: The file expired or was deleted.
    """
    if not is_export(task):
        raise NotFound
    if task.status in ACTIVE:
        raise NotReady
    if task.status != "succeeded":
        raise NoFile
    if not available(task, now=now) or task.object_key is None:
        raise ExportGone
    return task.object_key


def note_download(session: so.Session, task: Task) -> None:
    """Put a download into the audit; all other entries are the database's own work."""
    session.add(
        AuditEntry(at=db_clock(), event="downloaded", user_id=task.user_id, task_id=task.id)
    )


def remove_file(session: so.Session, task_id: str, *, lease_s: int, now: datetime) -> str:
    """Take an export's file away; the objects follow by the removals.

    Returns:
        The prefix under which nothing may be left.

    Raises:
        NotFound: There is no such export.
        NotReady: It is not over yet.
    """
    with change(session, task_id, now=now) as task:
        if not is_export(task):
            raise NotFound
        if task.status in ACTIVE:
            raise NotReady
        prefix = removals.task_prefix(task.user_id, task.id)
        if task.status == "succeeded" and task.gone_at is None:
            task.gone_at = now
            if task.mail_state == "pending":
                task.mail_state = "failed"  # there is nothing left to mail
            removals.wish(session, prefix, now=now, lease_s=lease_s)
    return prefix


def mail_again(session: so.Session, task_id: str, *, now: datetime) -> Task:
    """Have the mail of an export sent once more, because the user asked.

    Raises:
        NotFound, NotReady, NoFile, ExportGone: As `require_file`.
        MailInProgress: The mail before is still on its way.
    """
    with change(session, task_id, now=now) as task:
        require_file(task, now=now)
        if task.mail_state in {"pending", "sending"}:
            raise MailInProgress
        messages.wish(task)
    return task
