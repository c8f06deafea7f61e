"""Writes all of a user's posts into one file in S3."""

import logging
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from chalicelib.adapters.object_store import UploadGoneError
from chalicelib.db.models import User
from chalicelib.errors import ClaimLost
from chalicelib.exports.removals import attempt_key
from chalicelib.tasks.leases import File
from worker.attempts import Attempt, task
from worker.export import document
from worker.export.pages import Cursor, Source
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
        # Aborted by a lifecycle rule, or lost with an emulator: all that can be done is again. Or
        # another attempt has completed it, and this one must not write to its key any more.
        attempt.confirm()
        log.warning("upload is gone", extra={"action": "export", "task_id": attempt.task.id})
        return _export(attempt, _begin(attempt))


def _begin(attempt: Attempt) -> State:
    """A new object of this claim's own."""
    key = attempt_key(attempt.task.user_id, attempt.task.id, attempt.holder.claim)
    return State(Upload(attempt.wiring.storage, key))


def _resume(attempt: Attempt) -> State | None:
    note = attempt.task.checkpoint
    if note is None or note["cursor"] is None:  # written before the first part, by older code
        return None
    cursor = Cursor.from_json(note["cursor"])
    return State(Upload.from_json(attempt.wiring.storage, note), cursor, note["posts"])


def _export(attempt: Attempt, state: State) -> File:
    resumed = state.cursor is not None
    draft = document.Draft(state.posts)
    if not resumed:
        draft.add(_head(attempt))
    _write(attempt, state, draft)
    attempt.check()
    state.upload.finish(draft.pending)
    if state.upload.upload_id is None:
        attempt.content = bytes(draft.pending)
    if resumed:
        read_back = digest_of(attempt.wiring.storage, state.upload.key, check=attempt.check)
        return File(state.upload.key, draft.posts, read_back[1], read_back[0])
    return File(state.upload.key, draft.posts, draft.size_bytes, draft.digest.hexdigest())


def _write(attempt: Attempt, state: State, draft: document.Draft) -> None:
    """Write the document and upload all but its last part."""
    source = Source(attempt.wiring.database, attempt.task.user_id, attempt.task.cutoff or 0)
    total = 0
    with closing(source.pages(state.cursor)) as pages:
        for page in pages:
            draft.add_lines(page.lines, page.posts)
            if len(draft.pending) >= state.upload.part_bytes:
                # What fits one part is not counted before: it is over before anybody looks.
                total = total or source.count()
                _upload_part(attempt, state, draft, page.cursor)
                attempt.checkpoint(state.posts, total, state.to_json(), key=state.upload.key)
            if total:
                attempt.progress(draft.posts, total)
            attempt.check()
    draft.add(document.tail(draft.posts))


def _upload_part(attempt: Attempt, state: State, draft: document.Draft, cursor: Cursor) -> None:
    attempt.check()
    state.upload.add(draft.pending)
    draft.pending.clear()
    state.posts, state.cursor = draft.posts, cursor


def _head(attempt: Attempt) -> bytes:
    with attempt.wiring.database.read() as session:
        username = session.scalar(_USERNAME, {"of": attempt.task.user_id})
    if username is None or attempt.task.started_at is None:
        raise ClaimLost
    return document.head(username, attempt.task.started_at)


_USERNAME = sa.select(User.username).where(User.id == sa.bindparam("of"))
