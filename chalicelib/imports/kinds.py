"""Imports as kinds of task: what is written when one is launched, claimed, succeeds or ends."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta
from sqlalchemy import orm as so

from chalicelib.db.models import ImportUpload, Task
from chalicelib.errors import ClaimLost, ImportGone, TaskError
from chalicelib.exports import removals
from chalicelib.imports import publication, uploads
from chalicelib.imports.publication import Outcome, Target
from chalicelib.tasks.registry import TASKS, TaskKind
from chalicelib.values.fields import format_time
from chalicelib.values.languages import N_

ImportId = Annotated[
    str,
    Meta(
        pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$(?!\n)",
        examples=["0b9e8e6c-6f0e-4d3e-9d3f-1a2b3c4d5e6f"],
        extra_json_schema={"format": "uuid"},
        description="The import whose file has been uploaded",
    ),
]


OVER_QUOTA = N_("With this import your posts would take more space than you have.")

MANY = 10_000
"""From so many rows on the database's statistics are brought up to date."""


@dataclass(frozen=True)
class ImportFacts:
    """What all attempts at an import agree on.

    Attributes:
        number: What staged rows are filed under.
        key: Where the file is in the bucket.
        size_bytes: Its size.
        etag: Its content, as the bucket calls it.
    """

    number: int
    key: str
    size_bytes: int
    etag: str


@dataclass(frozen=True, kw_only=True)
class Import(TaskKind):
    """A kind of task that adds the rows of an uploaded file to a table, all or nothing.

    Attributes:
        target: The table.
    """

    target: Target
    params: dict[str, Any] = field(default_factory=lambda: {"import_id": ImportId})
    unique_by: tuple[str, ...] = ("import_id",)
    resumable: bool = True
    repeatable: bool = False
    function: str = "worker.tasks.import_file.import_file"
    follow_up: str = "worker.importing.follow_up.follow_up"

    def on_launch(self, session: so.Session, task: Task, *, now: datetime) -> None:
        """Tie the uploaded file to the task."""
        uploads.start(session, task, task.params["import_id"], now=now)

    def on_claim(self, session: so.Session, task: Task, *, now: datetime) -> ImportFacts:
        """Tell the attempt where the file is."""
        del now
        upload = _upload_of(session, task)
        key = uploads.upload_key(upload)
        return ImportFacts(upload.number, key, upload.size_bytes or 0, upload.etag or "")

    def before_success(
        self, session: so.Session, task: Task, outcome: Any, *, now: datetime
    ) -> dict[str, Any]:
        """Publish the rows; the counts become the task's result."""
        del now
        if not isinstance(outcome, Outcome):
            raise TypeError(f"{self.name} returned a {type(outcome).__name__}, not an Outcome")
        return publish(session, self.target, outcome, user_id=task.user_id)

    def on_success(
        self, session: so.Session, task: Task, outcome: Any, *, lease_s: int, now: datetime
    ) -> None:
        """Have the file removed, and what earlier attempts may have left of a report."""
        super().on_success(session, task, outcome, lease_s=lease_s, now=now)
        uploads.end(session, _upload_of(session, task), now=now, lease_s=lease_s)
        if task.claim > 1:
            removals.request_removal(session, task.user_id, task.id, now=now, lease_s=lease_s)

    def on_end(self, session: so.Session, task: Task, *, lease_s: int, now: datetime) -> None:
        """Keep nothing."""
        uploads.end(session, _upload_of(session, task), now=now, lease_s=lease_s)
        if task.claim:
            removals.request_removal(session, task.user_id, task.id, now=now, lease_s=lease_s)

    def on_retry(self, session: so.Session, task: Task, *, now: datetime) -> None:
        """Refuse: the file is gone.

        Raises:
            ImportGone: Always.
        """
        del session, task, now
        raise ImportGone


def publish(
    session: so.Session, target: Target, outcome: Outcome, *, user_id: int
) -> dict[str, Any]:
    """Make the staged rows of an import visible, and write down what became of it.

    Returns:
        The result as people see it.

    Raises:
        TaskError: The user's text would be more than there may be.
    """
    imported = publication.publish(session, target, user_id=user_id, number=outcome.number)
    if outcome.quota_bytes and imported:
        held = publication.bytes_of(session, target, user_id=user_id)
        if held > outcome.quota_bytes:
            raise TaskError(OVER_QUOTA, code="quota_exceeded")
    if imported >= MANY:
        publication.analyze(session, target)
    upload = session.get_one(ImportUpload, outcome.number)
    upload.format = outcome.format
    upload.read, upload.rejected = outcome.read, outcome.rejected
    upload.imported = imported
    upload.skipped = outcome.read - outcome.rejected - imported
    upload.report_key = outcome.report_key
    upload.report_expires_at = outcome.expires_at if outcome.report_key else None
    session.flush()
    return {
        "format": upload.format,
        "read": upload.read,
        "imported": upload.imported,
        "skipped": upload.skipped,
        "rejected": upload.rejected,
        "report": report_path(outcome.import_id),
        "expires_at": format_time(outcome.expires_at),
    }


def report_path(import_id: str) -> str:
    """Where the report of an import is asked for, without the API's prefix."""
    return f"/v1/imports/{import_id}/report"


def _upload_of(session: so.Session, task: Task) -> ImportUpload:
    upload = uploads.of_task(session, task.id)
    if upload is None:
        raise ClaimLost
    return upload


def import_kinds() -> list[Import]:
    """Every registered import."""
    return [kind for kind in TASKS.values() if isinstance(kind, Import)]


def import_of(task: Task) -> Import | None:
    """The import that a task is of, or None when it is something else."""
    kind = TASKS.get(task.name)
    return kind if isinstance(kind, Import) else None
