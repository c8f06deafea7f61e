"""Stand-ins for S3 and Redis; the contract tests hold them to what the real ones do."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import md5
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from botocore.exceptions import ClientError

from chalicelib.adapters.email_service import EmailService
from chalicelib.adapters.job_queue import JobQueue, QueueError, WorkerInfo, Workers
from chalicelib.adapters.object_store import (
    SIGNED_TTL_S,
    Content,
    ObjectStore,
    Part,
    UploadGoneError,
)
from chalicelib.adapters.wake_up import WakeUp
from chalicelib.db.engine import Database
from chalicelib.settings import Settings
from chalicelib.wiring import Wiring

MIN_PART_BYTES = 5 * 1024 * 1024
"""S3's own: of every part but the last."""


@dataclass
class Unfinished:
    """A multipart upload that was neither completed nor aborted."""

    key: str
    parts: dict[int, tuple[str, bytes]] = field(default_factory=dict)


class FakeObjectStore(ObjectStore):
    """A bucket in memory, with S3's rules for multipart uploads.

    Attributes:
        objects: What is stored, by key.
        uploads: What is being uploaded, by upload id.
        before: Called with the name of each operation before it is done; may raise.
        after: Called with the name of each writing operation after it was done; may raise.
    """

    def __init__(self) -> None:
        super().__init__("fake", endpoint_url=None)
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, Unfinished] = {}
        self.before: Callable[[str], None] = lambda _operation: None
        self.after: Callable[[str], None] = lambda _operation: None

    def warm_up(self) -> None:
        """There is nothing to warm up."""

    def put(self, key: str, data: bytes | bytearray, content: Content) -> None:
        del content
        self.before("put")
        self.objects[key] = bytes(data)
        self.after("put")

    def begin(self, key: str, content: Content) -> str:
        del content
        self.before("begin")
        upload_id = uuid4().hex
        self.uploads[upload_id] = Unfinished(key)
        self.after("begin")
        return upload_id

    def upload(self, key: str, upload_id: str, number: int, data: bytes | bytearray) -> Part:
        """Keep a part; the same number again replaces it."""
        self.before("upload")
        etag = f'"{md5(data).hexdigest()}"'
        self._known(key, upload_id).parts[number] = etag, bytes(data)
        self.after("upload")
        return Part(number, etag, len(data))

    def complete(self, key: str, upload_id: str, parts: list[Part]) -> None:
        """Join the parts, which must be those that were uploaded."""
        self.before("complete")
        kept = self._known(key, upload_id).parts
        if any(kept.get(part.number, ("", b""))[0] != part.etag for part in parts):
            raise UploadGoneError
        if any(len(kept[part.number][1]) < MIN_PART_BYTES for part in parts[:-1]):
            raise _refusal("EntityTooSmall")
        self.objects[key] = b"".join(kept[part.number][1] for part in parts)
        del self.uploads[upload_id]
        self.after("complete")

    def size(self, key: str) -> int | None:
        self.before("size")
        return len(self.objects[key]) if key in self.objects else None

    def read(self, key: str) -> Iterator[bytes]:
        self.before("read")
        if key not in self.objects:
            raise _refusal("NoSuchKey", status=404)
        yield self.objects[key]

    def sign(self, key: str, content: Content) -> str:
        """A URL that looks like a signed one and leads nowhere."""
        query = {
            "X-Amz-Expires": SIGNED_TTL_S,
            "response-content-disposition": content.disposition,
            "response-content-type": content.content_type,
        }
        return f"https://{self.bucket}.example.com/{key}?{urlencode(query)}"

    def clear(self, prefix: str, *, needed: Callable[[], Callable[[str], bool]]) -> None:
        self.before("clear")
        objects = [key for key in self.objects if key.startswith(prefix)]
        uploads = [one for one in self.uploads.items() if one[1].key.startswith(prefix)]
        is_needed = needed()
        for key in objects:
            if not is_needed(key):
                del self.objects[key]
        for upload_id, upload in uploads:
            if not is_needed(upload.key):
                del self.uploads[upload_id]

    def _known(self, key: str, upload_id: str) -> Unfinished:
        upload = self.uploads.get(upload_id)
        if upload is None or upload.key != key:
            raise UploadGoneError
        return upload


def _refusal(code: str, *, status: int = 400) -> ClientError:
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "Fake")


class FakeQueue(JobQueue):
    """A queue in memory.

    Attributes:
        enqueued: The ids of the tasks that have a job, in order.
        shown: The percentages that were shown, by task id.
        down: Whether nobody answers.
        contended: Whether others wait and no worker is idle.
    """

    def __init__(self) -> None:
        self.enqueued: list[str] = []
        self.shown: dict[str, int] = {}
        self.down = False
        self.contended = False

    def enqueue(self, tasks: Iterable[tuple[str, str]]) -> Workers:
        self._answer()
        self.enqueued += list(dict(tasks))
        return Workers(0)

    def enqueue_again(self, tasks: Iterable[tuple[str, str]]) -> int:
        """Nothing is on its way to a worker."""
        before = len(self.enqueued)
        self.enqueue(tasks)
        return len(self.enqueued) - before

    def waiting_ids(self) -> set[str]:
        self._answer()
        return set(self.enqueued)

    def depth(self) -> int:
        self._answer()
        return len(self.enqueued)

    def workers(self) -> list[WorkerInfo]:
        """None: nobody works here."""
        self._answer()
        return []

    def workers_alive(self) -> Workers:
        return Workers(len(self.workers()))

    def is_contended(self) -> bool:
        """As the test says."""
        self._answer()
        return self.contended

    def save_progress(self, task_id: str, percent: int) -> None:
        """Note a percentage where there is a job."""
        self._answer()
        if task_id in self.enqueued:
            self.shown[task_id] = percent

    def _answer(self) -> None:
        if self.down:
            raise QueueError("nobody answers")


class FakeWakeUp(WakeUp):
    """A hint that nobody waits for.

    Attributes:
        hints: How many were sent.
    """

    def __init__(self) -> None:
        self.hints = 0

    def send(self) -> None:
        self.hints += 1


class FakeSes:
    """SES, which takes every email or fails as told.

    Attributes:
        sent: The requests that it got.
        error: What it raises, if anything.
    """

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.error: Exception | None = None

    def send_email(self, **request: Any) -> dict[str, str]:
        self.sent.append(request)
        if self.error is not None:
            raise self.error
        return {"MessageId": "0102"}


class FakeEmailService(EmailService):
    """The real one on a fake SES.

    Attributes:
        ses: What it asks.
    """

    def __init__(self) -> None:
        super().__init__("carryout@example.com", endpoint_url=None)
        self.ses = FakeSes()
        vars(self)["_ses"] = self.ses


def fake_wiring(database: Database, *, lease_s: int = 30) -> Wiring:
    """Wiring with a real ledger and nothing else that is real; SES is where nobody listens."""
    environment = {
        "DATABASE_URL": "sqlite:///nowhere",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "EXPORT_BUCKET": "fake",
        "MAIL_SENDER": "carryout@example.com",
        "PUBLIC_URL": "https://carryout.example.com",
        "LEASE_S": str(lease_s),
    }
    wiring = Wiring(Settings.from_mapping(environment))
    vars(wiring).update(database=database, queue=FakeQueue(), object_store=FakeObjectStore())
    vars(wiring).update(outbox_hint=FakeWakeUp(), email_service=FakeEmailService())
    return wiring
