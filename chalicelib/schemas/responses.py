"""What answers hold: one definition for the code that makes them and for the OpenAPI document."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypedDict

from msgspec import Meta

from chalicelib.values.fields import Language, Status

_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6})?Z$"
_ID = "0b9e8e6c-6f0e-4d3e-9d3f-1a2b3c4d5e6f"

Time = Annotated[
    str,
    Meta(
        pattern=_TIME,
        examples=["2026-01-02T03:04:05Z"],
        extra_json_schema={"format": "date-time"},
    ),
]
TaskId = Annotated[str, Meta(examples=[_ID], extra_json_schema={"format": "uuid"})]
Count = Annotated[int, Meta(ge=0, examples=[3])]
Path = Annotated[
    str, Meta(examples=[f"/v1/tasks/{_ID}"], extra_json_schema={"format": "uri-reference"})
]
MailState = Literal["none", "pending", "sending", "sent", "unknown", "failed"]


class UserLinks(TypedDict):
    """Where to go from an account."""

    self: Path
    posts: Path
    tasks: Path


class User(TypedDict):
    """An account, as its owner sees it."""

    id: int
    username: Annotated[str, Meta(examples=["susan"])]
    email: Annotated[str, Meta(examples=["susan@example.com"])]
    email_confirmed: bool
    language: Language
    post_count: Count
    links: UserLinks


class Token(TypedDict):
    """A bearer token; it is shown this once."""

    token: Annotated[str, Meta(examples=["9hXo4d1mPpN2v8t0cQZ0e7s3yKqU5rWbL6jAfGiT_Vk"])]
    expires_at: Time


class Post(TypedDict):
    """A post."""

    id: int
    body: Annotated[str, Meta(examples=["Hello!"])]
    timestamp: Time


class PostList(TypedDict):
    """A page of posts, the newest first."""

    items: list[Post]
    next: str | None


class Progress(TypedDict):
    """How far a task is; `percent` never falls, and is 100 only when the task succeeded."""

    percent: Annotated[int, Meta(ge=0, le=100)]
    done: Count
    total: Count


class Failure(TypedDict):
    """Why a task failed."""

    code: Annotated[str, Meta(examples=["timeout"])]
    detail: str | None


class Mail(TypedDict):
    """What became of an export's mail; `pending` also while the address has to be confirmed."""

    state: MailState
    message_id: str | None
    sent_at: Time | None


class ExportResult(TypedDict):
    """The result of an export: the file and its email.

    Beside `rows`, each dataset's count stands under its own name: `posts` is `rows.posts`.
    """

    rows: dict[str, int]
    bytes: Count | None
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None
    expires_at: Time | None
    available: bool
    mail: Mail


class TaskLinks(TypedDict):
    """Where to go from a task; what cannot be done now is null."""

    self: Path
    cancel: Path | None
    retry: Path | None
    download: Path | None


class Task(TypedDict):
    """A task. The `result` of an export is an `ExportResult`."""

    id: TaskId
    name: Annotated[str, Meta(examples=["export_posts"])]
    description: Annotated[str, Meta(examples=["Exporting your posts"])]
    status: Status
    progress: Progress
    attempt: Count
    max_attempts: Annotated[int, Meta(ge=1, examples=[5])]
    waiting_for: Literal["queue", "worker", "retry", "time", "paused"] | None
    queue_position: Annotated[int, Meta(ge=1)] | None
    last_seen_at: Time | None
    created_at: Time
    started_at: Time | None
    finished_at: Time | None
    error: Failure | None
    result: Annotated[
        Mapping[str, Any] | None,
        Meta(extra_json_schema={"examples": [None]}),
    ]
    links: TaskLinks


class TaskList(TypedDict):
    """A page of tasks, the newest first."""

    items: list[Task]
    next: str | None


class Notification(TypedDict):
    """The newest news about one subject."""

    seq: Count
    name: Annotated[str, Meta(examples=["task_progress"])]
    timestamp: Time
    data: dict[str, Any]


class News(TypedDict):
    """What is new, and the number to go on from."""

    items: list[Notification]
    last_seq: Count


class Queue(TypedDict):
    """The queue; `depth` is null while Redis does not answer.

    `paused` names the kinds of task that no worker begins; `*` is all of them.
    """

    name: str
    depth: Count | None
    tasks: dict[str, int]
    paused: list[str]
    oldest_queued_age_s: float | None


class Worker(TypedDict):
    """A worker that is alive."""

    name: str
    hostname: str
    pid: int
    state: str
    task_id: str | None
    started_at: Time | None
    last_seen_at: Time | None


class WorkerList(TypedDict):
    """The workers; null while Redis does not answer."""

    items: list[Worker] | None
    next: str | None


class Liveness(TypedDict):
    """The API answers."""

    status: Literal["ok"]


class Readiness(TypedDict):
    """What the API stands on, each with `ok` and what else is known of it."""

    status: Literal["ok", "failing"]
    checks: dict[str, dict[str, Any]]


class Fault(TypedDict):
    """One thing that is wrong with a request."""

    pointer: Annotated[str, Meta(examples=["/body"])]
    detail: Annotated[str, Meta(examples=["is required"])]
