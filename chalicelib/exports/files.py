"""A finished export from the user's side: download it, delete it, have it emailed again."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.engine import db_clock
from chalicelib.db.models import ACTIVE, AuditEntry, ExportFile, OutboxMessage, Task
from chalicelib.errors import EmailInProgress, ExportGone, NoFile, NotFound, NotReady
from chalicelib.exports import publication, removals
from chalicelib.exports.kinds import export_of
from chalicelib.outbox import messages
from chalicelib.tasks.transitions import change

DOWNLOAD_NOTED_S = 3600.0
"""For how long one entry in the audit stands for all downloads of a file, in seconds."""


def is_available(task: Task, export: ExportFile | None, *, now: datetime) -> bool:
    """Whether the ledger says that the file is there."""
    if task.status != "succeeded" or export is None or export.gone_at is not None:
        return False
    return export.expires_at is not None and export.expires_at > now


def require_file(task: Task, export: ExportFile | None, *, now: datetime) -> str:
    """The key of an export's file.

    Raises:
        NotFound: The task is no export.
        NotReady: It is not over yet.
        NoFile: It failed or was cancelled.
        ExportGone: The file expired or was deleted.
    """
    if export_of(task) is None:
        raise NotFound
    if task.status in ACTIVE:
        raise NotReady
    if task.status != "succeeded":
        raise NoFile
    if export is None or export.object_key is None or not is_available(task, export, now=now):
        raise ExportGone
    return export.object_key


def note_download(session: so.Session, task: Task) -> None:
    """Put a download into the audit; all other entries are the database's own work.

    Once for each task and hour, or whoever downloads in a loop fills the disk.
    """
    noted = sa.exists().where(
        AuditEntry.task_id == task.id,
        AuditEntry.event == "downloaded",
        AuditEntry.at > db_clock(-DOWNLOAD_NOTED_S),
    )
    entry = sa.select(
        db_clock(), sa.literal("downloaded"), sa.literal(task.user_id), sa.literal(task.id)
    ).where(~noted)
    columns = ("at", "event", "user_id", "task_id")
    session.execute(sa.insert(AuditEntry).from_select(columns, entry))


def remove_file(
    session: so.Session, task_id: str, *, lease_s: int, now: datetime, owner: int | None = None
) -> None:
    """Take an export's file away; the objects follow by the removals.

    Args:
        session: A writing session.
        task_id: Which task.
        lease_s: The lease of a worker, in seconds.
        now: The time.
        owner: The user whose task it must be; None for anybody's.

    Raises:
        NotFound: There is no such export.
        NotReady: It is not over yet.
    """
    with change(session, task_id, now=now, owner=owner, announce=True) as task:
        if export_of(task) is None:
            raise NotFound
        if task.status in ACTIVE:
            raise NotReady
        export = session.get(ExportFile, task_id)
        if task.status == "succeeded" and export is not None and export.gone_at is None:
            export.gone_at = now
            if export.email_id is not None:
                messages.withdraw(session, export.email_id)  # there is nothing left to attach
            removals.request_removal(session, task.user_id, task.id, now=now, lease_s=lease_s)


def email_again(
    session: so.Session, task_id: str, *, now: datetime, owner: int | None = None
) -> Task:
    """Have the email about an export sent once more, because the user asked.

    Args:
        session: A writing session.
        task_id: Which task.
        now: The time.
        owner: The user whose task it must be; None for anybody's.

    Raises:
        NotFound, NotReady, NoFile, ExportGone: As `require_file`.
        EmailInProgress: The email before is still on its way.
    """
    with change(session, task_id, now=now, owner=owner, announce=True) as task:
        export = session.get(ExportFile, task_id)
        require_file(task, export, now=now)
        if export is None or export.email_id is None:
            raise NoFile
        earlier = session.get_one(OutboxMessage, export.email_id)
        if earlier.state in {"pending", "sending"}:
            raise EmailInProgress
        payload = dict(earlier.payload)
        email_id = messages.put(
            session, task.user_id, earlier.topic, payload, now=now, task_id=task.id
        )
        publication.note_email(session, task.id, email_id)
    return task
