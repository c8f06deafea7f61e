"""Writes all of a user's posts into one file in S3."""

import hashlib
import logging
from dataclasses import dataclass
from typing import Any

from chalicelib.claims import File
from chalicelib.errors import ClaimLost
from chalicelib.models import User
from chalicelib.removals import task_prefix
from chalicelib.storage import FILENAME, UploadGoneError
from worker.attempts import Attempt, task
from worker.export import document
from worker.export.rows import Cursor, Source
from worker.export.upload import Upload, digest_of

log = logging.getLogger(__name__)


@dataclass
class State:
    """How far an export is: what is in S3, and where to go on.

    Attributes:
        upload: The parts so far.
        cursor: The place after the last post in them; None at the beginning.
        posts: How many posts are in them.
    """

    upload: Upload
    cursor: Cursor | None = None
    posts: int = 0

    def to_json(self) -> dict[str, Any]:
        """As a checkpoint."""
        cursor = self.cursor.to_json() if self.cursor else None
        return {**self.upload.to_json(), "cursor": cursor, "posts": self.posts}


@task
def export_posts(attempt: Attempt) -> File:
    """Export the posts there were when the first attempt began."""
    state = _resume(attempt) or _begin(attempt)
    try:
        return _export(attempt, state)
    except UploadGoneError:
        # Aborted by a lifecycle rule, or lost with an emulator: all that can be done is again.
        log.warning("upload is gone", extra={"action": "export", "task_id": attempt.task.id})
        return _export(attempt, _begin(attempt))


def _begin(attempt: Attempt) -> State:
    """A new object of this claim's own: no other attempt ever writes there."""
    prefix = task_prefix(attempt.task.user_id, attempt.task.id)
    key = f"{prefix}{attempt.holder.claim}/{FILENAME}"
    return State(Upload(attempt.wiring.storage, key))


def _resume(attempt: Attempt) -> State | None:
    note = attempt.task.checkpoint
    if note is None or note["upload_id"] is None:
        return None
    cursor = Cursor.from_json(note["cursor"])
    return State(Upload.from_json(attempt.wiring.storage, note), cursor, note["posts"])


def _export(attempt: Attempt, state: State) -> File:
    task = attempt.task
    source = Source(attempt.wiring.database, task.user_id, task.cutoff or 0)
    total = source.count()
    # The key is in the ledger before anything is in S3, so nothing there is ever unknown.
    attempt.checkpoint(state.posts, total, state.to_json(), key=state.upload.key)
    resumed = state.cursor is not None
    digest, size_bytes = hashlib.sha256(), 0
    buffer = bytearray() if resumed else bytearray(_head(attempt))
    for page in source.pages(state.cursor):
        buffer += document.lines(page.posts, first=state.posts == 0)
        state.posts += len(page.posts)
        state.cursor = page.cursor
        if len(buffer) >= state.upload.part_bytes:
            digest.update(buffer)
            size_bytes += len(buffer)
            state.upload.add(buffer)
            buffer.clear()
            attempt.checkpoint(state.posts, total, state.to_json(), key=state.upload.key)
        attempt.progress(state.posts, total)
    buffer += document.tail(state.posts)
    digest.update(buffer)
    attempt.check()
    state.upload.finish(buffer)
    if resumed:
        sha256, size_bytes = digest_of(
            attempt.wiring.storage, state.upload.key, check=attempt.check
        )
        return File(state.posts, size_bytes, sha256)
    return File(state.posts, size_bytes + len(buffer), digest.hexdigest())


def _head(attempt: Attempt) -> bytes:
    with attempt.wiring.database.read() as session:
        user = session.get(User, attempt.task.user_id)
    if user is None or attempt.task.started_at is None:
        raise ClaimLost
    return document.head(user.username, attempt.task.started_at)
