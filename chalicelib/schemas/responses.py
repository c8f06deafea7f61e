"""What answers hold: one definition for the code that makes them and for the OpenAPI document."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, TypedDict

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
Path = Annotated[str, Meta(extra_json_schema={"format": "uri-reference"})]
MailState = Literal["none", "pending", "sending", "sent", "unknown", "failed"]


class UserLinks(TypedDict):
    """Where to go from an account.

    Attributes:
        self: The account.
        posts: The account's posts.
        tasks: The account's tasks.
    """

    self: Path
    posts: Path
    tasks: Path


class User(TypedDict):
    """An account, as its owner sees it.

    Attributes:
        id: A number that never changes.
        username: The name that the account signs in with.
        email: Where emails go.
        email_confirmed: Whether the address has been confirmed by a link sent to it.
        language: The language of pages and emails.
        post_count: How many posts the account has.
        links: Where to go from here.
    """

    id: int
    username: Annotated[str, Meta(examples=["susan"])]
    email: Annotated[str, Meta(examples=["susan@example.com"])]
    email_confirmed: bool
    language: Language
    post_count: Count
    links: UserLinks


class Token(TypedDict):
    """A bearer token; it is shown this once.

    Attributes:
        token: What to send as `Authorization: Bearer TOKEN`; it cannot be shown again.
        expires_at: Until when it is valid.
    """

    token: Annotated[str, Meta(examples=["9hXo4d1mPpN2v8t0cQZ0e7s3yKqU5rWbL6jAfGiT_Vk"])]
    expires_at: Time


class Post(TypedDict):
    """A post.

    Attributes:
        id: Its number; a later post has a higher one.
        body: The text, code point for code point as it was written.
        timestamp: When it was written.
    """

    id: int
    body: Annotated[str, Meta(examples=["Hello!"])]
    timestamp: Time


class PostList(TypedDict):
    """A page of posts, the newest first.

    Attributes:
        items: The posts of this page.
        next: The `cursor` of the next page; null on the last one.
    """

    items: list[Post]
    next: str | None


class Progress(TypedDict):
    """How far a task is; `percent` never falls, and is 100 only when the task succeeded.

    Attributes:
        percent: A whole number from 0 to 100.
        done: How many steps are done: rows of an export, bytes or rows of an import.
        total: How many steps there are; 0 until that is known.
    """

    percent: Annotated[int, Meta(ge=0, le=100)]
    done: Count
    total: Count


class Failure(TypedDict):
    """Why a task failed.

    Attributes:
        code: A stable code, such as `timeout`, `worker_lost` or `task_failed`.
        detail: A sentence for people, in English; null if the code says it all.
    """

    code: Annotated[str, Meta(examples=["timeout"])]
    detail: str | None


class Mail(TypedDict):
    """What became of an export's mail; `pending` also while the address has to be confirmed.

    Attributes:
        state: `pending` until it is sent, `sending` meanwhile, then `sent`, `failed`, or `unknown`
            if nobody can tell whether it was sent; `none` if there is none.
        message_id: What the email service called it; null until it is sent.
        sent_at: When it was sent; null until then.
    """

    state: MailState
    message_id: str | None
    sent_at: Time | None


class ExportResult(TypedDict):
    """The result of an export: the file and its email.

    Beside `rows`, each dataset's count stands under its own name: `posts` is `rows.posts`.

    Attributes:
        rows: How many rows of each dataset are in the file.
        bytes: The file's size.
        sha256: The file's SHA-256, in hexadecimal.
        expires_at: Until when the file is kept.
        available: Whether the file can still be downloaded.
        mail: What became of the email about it.
    """

    rows: dict[str, int]
    bytes: Count | None
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None
    expires_at: Time | None
    available: bool
    mail: Mail


class TaskLinks(TypedDict):
    """Where to go from a task; what cannot be done now is null.

    Attributes:
        self: The task.
        cancel: Cancels it with a POST; null once it has ended.
        retry: Queues it again with a POST; null unless it failed or was cancelled.
        download: Redirects to its file; null while there is none.
    """

    self: Path
    cancel: Path | None
    retry: Path | None
    download: Path | None


class Task(TypedDict):
    """A task. The `result` of an export is an `ExportResult`.

    Attributes:
        id: Its UUID, which is also the job's in the queue.
        name: The kind of task.
        description: What it does, for people.
        status: Where it stands; the last three of `queued`, `running`, `cancelling`, `succeeded`,
            `failed` and `cancelled` are final.
        progress: How far it is.
        attempt: How many attempts have begun.
        max_attempts: How many there may be after crashes and transient errors.
        waiting_for: What a queued task waits for: its turn in the `queue`, a `worker` (none is
            alive), its next `retry`, its `time`, or that somebody resumes what is `paused`; else
            null.
        queue_position: Its position in the queue, 1 being next; null unless it waits there.
        last_seen_at: When a worker last said that it is working on it.
        created_at: When it was requested.
        started_at: When its first attempt began.
        finished_at: When it ended; null while it is active.
        error: Why it failed; null unless it did.
        result: What it made: an `ExportResult`, an `ImportResult`, or whatever object another kind
            of task returns; null until it has succeeded.
        links: What can be done with it now.
    """

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
    """A page of tasks, the newest first.

    Attributes:
        items: The tasks of this page.
        next: The `cursor` of the next page; null on the last one.
    """

    items: list[Task]
    next: str | None


class TaskNews(TypedDict):
    """How a task stood when a notification about it was written.

    Attributes:
        task_id: The task.
        name: The kind of task.
        status: Where it stood.
        progress: How far it was.
        error: The code of its failure; null unless it failed.
    """

    task_id: TaskId
    name: Annotated[str, Meta(examples=["export_posts"])]
    status: Status
    progress: Progress
    error: NotRequired[str | None]


class Notification(TypedDict):
    """The newest news about one subject.

    Attributes:
        seq: Its number; of two, the higher one is newer.
        name: The kind of notification: `task_progress`.
        timestamp: When it was written.
        data: What it is about.
    """

    seq: Count
    name: Annotated[str, Meta(examples=["task_progress"])]
    timestamp: Time
    data: TaskNews


class News(TypedDict):
    """What is new, and the number to go on from.

    Attributes:
        items: The notifications, the oldest first, at most 100.
        last_seq: What to send as `after` next time.
    """

    items: list[Notification]
    last_seq: Count


class Queue(TypedDict):
    """The queue; `depth` is null while Redis does not answer.

    `paused` names the kinds of task that no worker begins; `*` is all of them.

    Attributes:
        name: The queue's name in Redis.
        depth: How many jobs wait in Redis.
        tasks: How many tasks there are, by status.
        paused: The kinds of task that no worker begins.
        oldest_queued_age_s: How long the oldest queued task has waited, in seconds; null if the
            database does not respond.
    """

    name: str
    depth: Count | None
    tasks: dict[str, int]
    paused: list[str]
    oldest_queued_age_s: float | None


class Worker(TypedDict):
    """A worker that is alive.

    Attributes:
        name: What RQ calls it.
        hostname: The machine it runs on.
        pid: Its process id there.
        state: `idle`, `busy` or `suspended`, as RQ has it.
        task_id: The task that it works on.
        started_at: When it started.
        last_seen_at: When it last said that it is alive.
    """

    name: str
    hostname: str
    pid: int
    state: str
    task_id: str | None
    started_at: Time | None
    last_seen_at: Time | None


class WorkerList(TypedDict):
    """The workers; null while Redis does not answer.

    Attributes:
        items: The workers.
        next: Always null: there is one page.
    """

    items: list[Worker] | None
    next: str | None


class Liveness(TypedDict):
    """The API answers.

    Attributes:
        status: Always `ok`.
    """

    status: Literal["ok"]


class Check(TypedDict):
    """What is known of one thing that the API depends on.

    Attributes:
        ok: Whether it is available.
        writable: Only of a database that can be read and not written: false.
        oldest_queued_age_s: Only of a database: how long the oldest queued task has waited, in
            seconds.
        alive: Only of the workers: how many are alive; null if Redis does not respond.
    """

    ok: bool
    writable: NotRequired[bool]
    oldest_queued_age_s: NotRequired[float]
    alive: NotRequired[Count | None]


class Readiness(TypedDict):
    """What the API depends on.

    Attributes:
        status: `failing` if any check is not `ok`.
        checks: `database`, `redis` and `workers`.
    """

    status: Literal["ok", "failing"]
    checks: dict[str, Check]


class Fault(TypedDict):
    """One thing that is wrong with a request.

    Attributes:
        pointer: Where, as a JSON pointer into the body, or `?name` for a query parameter.
        detail: What, as it follows the field's name: "is required".
    """

    pointer: Annotated[str, Meta(examples=["/body"])]
    detail: Annotated[str, Meta(examples=["is required"])]
