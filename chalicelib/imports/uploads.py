"""The rows of the table `imports`: a file is asked for, uploaded, started, and over."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.models import (
    REPORTS_TO_EXPIRE,
    UPLOADS_TO_EXPIRE,
    ImportUpload,
    Task,
)
from chalicelib.errors import (
    ImportGone,
    NotFound,
    NothingUploaded,
    ReportGone,
    ReportNotReady,
    TaskInProgress,
)
from chalicelib.exports import removals
from chalicelib.values.paging import Page

URL_TTL_S = 3600
"""How long a signed upload may begin, in seconds; one that has begun may take longer."""

MOST_WAITING = 10
"""How many files of a user may wait: each may be as large as an import can be."""

KEPT_FOR = timedelta(days=1)
"""How long a file waits to be started; the bucket's lifecycle removes it then, too."""


@dataclass(frozen=True)
class ImportView:
    """An import and the task that imports it, once it is started."""

    upload: ImportUpload
    task: Task | None


def upload_key(upload: ImportUpload) -> str:
    """Where the uploaded file is in the bucket."""
    return removals.import_prefix(upload.user_id, upload.id) + "upload"


def create(
    session: so.Session, user_id: int, *, filename: str | None, now: datetime
) -> ImportUpload:
    """Note that a file is going to be uploaded."""
    upload = ImportUpload(
        id=str(uuid4()),
        user_id=user_id,
        filename=filename,
        created_at=now,
        expires_at=now + KEPT_FOR,
    )
    session.add(upload)
    session.flush()
    return upload


_VIEW = sa.select(ImportUpload, Task).outerjoin(Task, Task.id == ImportUpload.task_id)


def view_import(session: so.Session, import_id: str, *, owner: int) -> ImportView:
    """One import of a user.

    Raises:
        NotFound: There is none of this id, or it is another user's.
    """
    statement = _VIEW.where(ImportUpload.id == import_id, ImportUpload.user_id == owner)
    row = session.execute(statement).one_or_none()
    if row is None:
        raise NotFound
    return ImportView(*row)


def list_imports(
    session: so.Session, user_id: int, *, page: Page
) -> tuple[Sequence[ImportView], bool]:
    """A page of a user's imports, the newest first, and whether more follow."""
    statement = _VIEW.where(ImportUpload.user_id == user_id)
    rows = session.execute(page.of(statement, ImportUpload.created_at, ImportUpload.id))
    return page.cut([ImportView(*row) for row in rows])


def is_waiting(upload: ImportUpload, *, now: datetime) -> bool:
    """Whether the import can still be started."""
    return upload.task_id is None and upload.upload_gone_at is None and upload.expires_at > now


def note_content(session: so.Session, upload: ImportUpload, *, size_bytes: int, etag: str) -> None:
    """Write down what was found in the bucket, so that this and nothing else is imported."""
    statement = (
        sa.update(ImportUpload)
        .where(ImportUpload.number == upload.number, ImportUpload.task_id.is_(None))
        .values(size_bytes=size_bytes, etag=etag)
    )
    session.execute(statement)


def retire_older(session: so.Session, user_id: int, *, now: datetime, lease_s: int) -> None:
    """Give up the oldest files of a user that wait to be started, beyond `MOST_WAITING`."""
    older = (
        sa.select(ImportUpload)
        .where(UPLOADS_TO_EXPIRE, ImportUpload.user_id == user_id, ImportUpload.task_id.is_(None))
        .order_by(ImportUpload.number.desc())
        .offset(MOST_WAITING)
    )
    for upload in session.scalars(older):
        end(session, upload, now=now, lease_s=lease_s)


def start(session: so.Session, task: Task, import_id: str, *, now: datetime) -> None:
    """Tie an uploaded file to the task that imports it, in the commit that creates the task.

    Raises:
        NotFound: The user has no such import.
        TaskInProgress: Another task is importing it.
        ImportGone: It expired, or was imported already.
        NothingUploaded: Nobody has seen a file in the bucket.
    """
    statement = (
        sa.select(ImportUpload)
        .where(ImportUpload.id == import_id, ImportUpload.user_id == task.user_id)
        .with_for_update()
    )
    upload = session.scalar(statement)
    if upload is None:
        raise NotFound
    if not is_waiting(upload, now=now):
        if upload.task_id is not None and upload.upload_gone_at is None:
            raise TaskInProgress(upload.task_id)
        raise ImportGone
    if upload.size_bytes is None:
        raise NothingUploaded
    upload.task_id = task.id
    session.flush()


def of_task(session: so.Session, task_id: str) -> ImportUpload | None:
    """The import that a task is about; None when its account is gone."""
    return session.scalar(sa.select(ImportUpload).where(ImportUpload.task_id == task_id))


def end(session: so.Session, upload: ImportUpload, *, now: datetime, lease_s: int) -> None:
    """The file is of no more use: have it removed, and its staged rows deleted.

    Also once more when no signed URL can begin an upload any longer.
    """
    upload.upload_gone_at = now
    last = upload.created_at + timedelta(seconds=URL_TTL_S + 2 * lease_s)
    for due_at in (now, max(last, now + timedelta(seconds=2 * lease_s))):
        removals.request_import_removal(session, upload.user_id, upload.id, due_at=due_at)


def require_report(view: ImportView, *, now: datetime) -> str:
    """The key of an import's report.

    Raises:
        ReportNotReady: The import is not over, or did not succeed.
        ReportGone: The report has expired.
    """
    upload = view.upload
    if upload.report_key is None:
        raise ReportNotReady
    if upload.report_gone_at is not None or (upload.report_expires_at or now) <= now:
        raise ReportGone
    return upload.report_key


def expire(session: so.Session, *, now: datetime, lease_s: int, most: int) -> int:
    """Give up files that were never started, and reports that were kept long enough.

    Returns:
        How many they were.
    """
    forgotten = (
        sa.select(ImportUpload)
        .where(UPLOADS_TO_EXPIRE, ImportUpload.expires_at <= now, ImportUpload.task_id.is_(None))
        .order_by(ImportUpload.expires_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    uploads = session.scalars(forgotten).all()
    for upload in uploads:
        end(session, upload, now=now, lease_s=lease_s)
    return len(uploads) + _expire_reports(session, now=now, lease_s=lease_s, most=most)


def _expire_reports(session: so.Session, *, now: datetime, lease_s: int, most: int) -> int:
    due = (
        sa.select(ImportUpload)
        .where(REPORTS_TO_EXPIRE, ImportUpload.report_expires_at <= now)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    uploads = session.scalars(due).all()
    for upload in uploads:
        upload.report_gone_at = now
        removals.request_removal(session, upload.user_id, upload.task_id, now=now, lease_s=lease_s)
    return len(uploads)
