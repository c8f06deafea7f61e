"""What goes in and out about imports."""

from datetime import datetime
from typing import Annotated, Literal, TypedDict, cast

import msgspec
from msgspec import Meta

from chalicelib.db.models import ACTIVE
from chalicelib.imports.uploads import ImportView, is_waiting
from chalicelib.schemas.requests import ListQuery
from chalicelib.schemas.responses import Count, Path, TaskId, Time
from chalicelib.schemas.serializers import show_time

Filename = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=255,
        examples=["archive-20260102.zip"],
        description="What you call the file; shown to you and used for nothing else",
        extra_json_schema={"pattern": r"^[^\x00]*$"},
    ),
]
Size = Annotated[
    int,
    Meta(
        ge=1,
        le=2**63 - 1,
        examples=[3_400_000],
        description="The file's size in bytes; the upload must then be exactly as large",
    ),
]


class NewImport(msgspec.Struct):
    """A file that is going to be uploaded."""

    filename: Filename | msgspec.UnsetType = msgspec.UNSET
    size: Size | msgspec.UnsetType = msgspec.UNSET


class ImportListQuery(ListQuery):
    """A page of imports."""


class Upload(TypedDict):
    """How to upload the file: send it as the body of this request, with these headers.

    Attributes:
        method: The method of the request.
        url: Where to send the file; it goes straight to the object store, without your token.
        headers: The headers that the request must have.
        max_bytes: How large the file may be.
    """

    method: Literal["PUT"]
    url: Annotated[
        str,
        Meta(
            examples=[
                "https://bucket.s3.eu-central-1.amazonaws.com/imports/1/x/upload?X-Amz-Expires=3600"
            ],
            extra_json_schema={"format": "uri"},
        ),
    ]
    headers: Annotated[
        dict[str, str], Meta(examples=[{"Content-Type": "application/octet-stream"}])
    ]
    expires_at: Annotated[Time, Meta(description="Until when the upload can begin")]
    max_bytes: Annotated[int, Meta(ge=1, examples=[2_147_483_648])]


class ImportLinks(TypedDict):
    """Where to go from an import; what cannot be done now is null.

    Attributes:
        self: The import.
        start: Starts it with a POST; null once it has started or expired.
        task: The task that imports the file.
        report: What was left out; null until the import has ended.
    """

    self: Path
    start: Path | None
    task: Path | None
    report: Path | None


State = Literal[
    "waiting", "expired", "queued", "running", "cancelling", "succeeded", "failed", "cancelled"
]


class Import(TypedDict):
    """A file to import. Its `status` is its task's once it has been started.

    Attributes:
        id: Its id.
        filename: What you call the file.
        status: `waiting` until it is started, `expired` if it never was; then its task's status.
        created_at: When it was created.
        links: What can be done with it now.
    """

    id: TaskId
    filename: str | None
    status: State
    created_at: Time
    expires_at: Annotated[Time, Meta(description="Until when it can be started")]
    upload: Annotated[Upload | None, Meta(description="Only in the response that creates it")]
    links: ImportLinks


class ImportList(TypedDict):
    """A page of imports, the newest first.

    Attributes:
        items: The imports of this page.
        next: The `cursor` of the next page; null on the last one.
    """

    items: list[Import]
    next: str | None


class ImportResult(TypedDict):
    """The result of an import."""

    format: Annotated[
        str, Meta(examples=["mastodon_outbox"], description="What the file was found to be")
    ]
    read: Annotated[Count, Meta(description="How many entries the file has")]
    imported: Annotated[Count, Meta(description="How many posts were added")]
    skipped: Annotated[
        Count,
        Meta(description="Entries that are no public posts of yours, and posts you had already"),
    ]
    rejected: Annotated[Count, Meta(description="Posts that were left out; the report has each")]
    report: Annotated[Path, Meta(description="NDJSON of `{position, reason}`")]
    expires_at: Annotated[Time, Meta(description="Until when there is a report")]


def state_of(view: ImportView, *, now: datetime) -> State:
    """Where an import stands."""
    if view.task is not None:
        return cast("State", view.task.status)
    if view.upload.imported is not None:  # by the command line, which needs no task
        return "succeeded"
    return "waiting" if is_waiting(view.upload, now=now) else "expired"


def show_import(
    view: ImportView, *, now: datetime, prefix: str, upload: Upload | None = None
) -> Import:
    """An import, to its owner."""
    one, task = view.upload, view.task
    own = f"{prefix}/v1/imports/{one.id}"
    has_report = one.report_key is not None and one.report_gone_at is None
    is_over = task is not None and task.status not in ACTIVE
    return {
        "id": one.id,
        "filename": one.filename,
        "status": state_of(view, now=now),
        "created_at": show_time(one.created_at),
        "expires_at": show_time(one.expires_at),
        "upload": upload,
        "links": {
            "self": own,
            "start": f"{own}/start" if is_waiting(one, now=now) else None,
            "task": None if task is None else f"{prefix}/v1/tasks/{task.id}",
            "report": f"{own}/report" if has_report and is_over else None,
        },
    }
