"""What must be removed from S3, requested in the transaction that makes it worthless."""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.engine import Database
from chalicelib.db.models import ACTIVE, ExportFile, ImportUpload, Removal, Task

KEPT = (*ACTIVE, "succeeded")
"""Tasks in these states may still need the object that they name."""


class Bucket(Protocol):
    """What a removal needs of the object store."""

    def clear(self, prefix: str, *, needed: Callable[[], Callable[[str], bool]]) -> None:
        """Delete all objects and unfinished uploads under a prefix, but for those still needed.

        Args:
            prefix: Where to look.
            needed: Called after each look, never before; says of each key whether to keep it.
        """


def prefix(user_id: int, task_id: str | None = None) -> str:
    """Where all files of a user are, or of one task, whichever attempt wrote them."""
    return f"exports/{user_id}/" + (f"{task_id}/" if task_id else "")


def import_prefix(user_id: int, import_id: str | None = None) -> str:
    """Where all uploads of a user are, or that of one import."""
    return f"imports/{user_id}/" + (f"{import_id}/" if import_id else "")


def attempt_prefix(user_id: int, task_id: str, claim: int) -> str:
    """Where a claim's attempt writes what it begins; no other attempt ever writes there."""
    return f"{prefix(user_id, task_id)}{claim}/"


def request_removal(
    session: so.Session, user_id: int, task_id: str | None = None, *, now: datetime, lease_s: int
) -> None:
    """Have the files of a user or a task removed at once, and again when the last lease is over.

    The second time catches what a worker wrote that did not know yet that it had lost its task.
    """
    for due_at in (now, now + timedelta(seconds=2 * lease_s)):
        session.add(Removal(user_id=user_id, task_id=task_id, due_at=due_at))


def request_import_removal(
    session: so.Session, user_id: int, import_id: str, *, due_at: datetime
) -> None:
    """Have what was uploaded for an import removed."""
    session.add(Removal(user_id=user_id, import_id=import_id, due_at=due_at))


def execute(database: Database, bucket: Bucket, user_id: int, task_id: str | None = None) -> None:
    """Remove a user's or a task's files, but for those that are still needed.

    With no task, what the user has uploaded goes as well.
    """
    _remove_published(database, bucket, user_id, task_id)
    if task_id is None:
        execute_import(database, bucket, user_id)


def execute_import(
    database: Database, bucket: Bucket, user_id: int, import_id: str | None = None
) -> None:
    """Remove what a user has uploaded, or for one import, unless it is waiting or being read."""
    waiting = sa.select(ImportUpload.id).where(
        ImportUpload.user_id == user_id, ImportUpload.upload_gone_at.is_(None)
    )

    def needed() -> Callable[[str], bool]:
        with database.read() as session:
            kept = tuple(import_prefix(user_id, one) for one in session.scalars(waiting))
        return lambda key: key.startswith(kept)

    bucket.clear(import_prefix(user_id, import_id), needed=needed)


def _remove_published(
    database: Database, bucket: Bucket, user_id: int, task_id: str | None
) -> None:
    """Remove what tasks have written, but for what a task in the ledger needs.

    The claim, and with it the prefix, is in the ledger before anything is in S3, and one that was
    dropped never comes back. So what was seen in S3 first and is not in the ledger then is
    worthless for good, however slow this process is.
    """
    kept = (
        sa.select(
            Task.id,
            Task.claim,
            Task.status,
            Task.checkpoint,
            ExportFile.object_key,
            ImportUpload.report_key,
        )
        .outerjoin(ExportFile, ExportFile.task_id == Task.id)
        .outerjoin(ImportUpload, ImportUpload.task_id == Task.id)
        .where(
            Task.user_id == user_id,
            Task.status.in_(KEPT),
            ExportFile.gone_at.is_(None),
            ImportUpload.report_gone_at.is_(None),
        )
    )

    def needed() -> Callable[[str], bool]:
        with database.read() as session:
            tasks = session.execute(kept).all()
        ended = [task for task in tasks if task.status == "succeeded"]
        published = {key for task in ended for key in (task.object_key, task.report_key)}
        active = [task for task in tasks if task.status in ACTIVE]
        resumed = {(task.checkpoint or {}).get("key") for task in active}
        begun = tuple(attempt_prefix(user_id, task.id, task.claim) for task in active)
        return lambda key: key in published | resumed or key.startswith(begun)

    bucket.clear(prefix(user_id, task_id), needed=needed)


def execute_due(
    database: Database, bucket: Callable[[], Bucket], *, now: datetime, most: int = 100
) -> int:
    """Execute the removals that are due, the oldest first.

    Args:
        database: The ledger.
        bucket: Makes the client of the object store; called only when something is due.
        now: The time.
        most: How many to execute.

    Returns:
        How many were executed; each is forgotten only after it was.

    Raises:
        Exception: What the first one that failed raised; the others were executed.
    """
    due = sa.select(Removal).where(Removal.due_at <= now).order_by(Removal.due_at).limit(most)
    with database.read() as session:
        removals = session.scalars(due).all()
    ids: dict[_Whose, list[int]] = {}
    for removal in removals:
        whose = (removal.user_id, removal.task_id, removal.import_id)
        ids.setdefault(whose, []).append(removal.id)
    errors = [_try(database, bucket(), whose, ids[whose]) for whose in ids]
    for error in errors:
        if error is not None:
            raise error
    return len(removals)


_Whose = tuple[int, str | None, str | None]
"""A user, and a task or an import of theirs."""


def _try(
    database: Database, bucket: Bucket, whose: _Whose, ids: Collection[int]
) -> Exception | None:
    """Execute one removal and forget it; one that fails must not keep the others waiting."""
    user_id, task_id, import_id = whose
    try:
        if import_id is None:
            execute(database, bucket, user_id, task_id)
        else:
            execute_import(database, bucket, user_id, import_id)
    except Exception as error:  # noqa: BLE001 - handed to the caller
        return error
    with database.write() as session:
        session.execute(sa.delete(Removal).where(Removal.id.in_(ids)))
    return None
