"""Writes one user's rows of the datasets of an export into a file in S3 (interim)."""

import logging
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from chalicelib.adapters.object_store import Content, UploadGoneError
from chalicelib.errors import ClaimLost
from chalicelib.exports.kinds import Export
from chalicelib.exports.publication import File
from chalicelib.exports.removals import attempt_prefix
from worker.attempts import Attempt
from worker.export import document
from worker.export.pages import Cursor, Source
from worker.export.upload import Upload, digest_of

log = logging.getLogger(__name__)


@dataclass
class State:
    """How far an export is: what is in S3, and where to go on."""

    upload: Upload
    cursor: Cursor | None = None
    posts: int = 0

    def to_json(self) -> dict[str, Any]:
        """As a checkpoint."""
        cursor = self.cursor.to_json() if self.cursor else None
        return {**self.upload.to_json(), "cursor": cursor, "posts": self.posts}


def export(attempt: Attempt) -> File:
    """Export the rows there were when the first attempt began."""
    state = _resume(attempt) or _begin(attempt)
    try:
        return _export(attempt, state)
    except UploadGoneError:
        # Aborted by a lifecycle rule, or lost with an emulator: all that can be done is again. Or
        # another attempt has completed it, and this one must not write to its key any more.
        attempt.confirm()
        log.warning("upload is gone", extra={"action": "export", "task_id": attempt.task.id})
        return _export(attempt, _begin(attempt))


def _kind(attempt: Attempt) -> Export:
    if not isinstance(attempt.kind, Export):
        raise TypeError(attempt.kind.name)
    return attempt.kind


def _content(attempt: Attempt) -> Content:
    kind = _kind(attempt)
    return Content(kind.filename, kind.content_type)


def _begin(attempt: Attempt) -> State:
    """A new object of this claim's own."""
    folder = attempt_prefix(attempt.task.user_id, attempt.task.id, attempt.lease.claim)
    key = folder + _kind(attempt).filename
    return State(Upload(attempt.wiring.object_store, key, _content(attempt)))


def _resume(attempt: Attempt) -> State | None:
    note = attempt.task.checkpoint
    if note is None or note["cursor"] is None:  # written before the first part, by older code
        return None
    cursor = Cursor.from_json(note["cursor"])
    upload = Upload.from_json(attempt.wiring.object_store, note, _content(attempt))
    return State(upload, cursor, note["posts"])


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
    attempt.total = draft.posts
    key, rows = state.upload.key, {"posts": draft.posts}
    ttl_s = attempt.wiring.settings.export_ttl_s
    if resumed:
        sha256, size = digest_of(attempt.wiring.object_store, key, check=attempt.check)
        return File(key, rows, size, sha256, ttl_s)
    return File(key, rows, draft.size_bytes, draft.digest.hexdigest(), ttl_s)


def _write(attempt: Attempt, state: State, draft: document.Draft) -> None:
    """Write the document and upload all but its last part."""
    snapshot = attempt.facts.snapshot["posts"] or 0
    source = Source(attempt.wiring.database, attempt.task.user_id, snapshot)
    total = 0
    with closing(source.pages(state.cursor)) as pages:
        for page in pages:
            draft.add_lines(page.lines, page.posts)
            if len(draft.pending) >= state.upload.part_bytes:
                # What fits one part is not counted before: it is over before anybody looks.
                total = total or source.count()
                _upload_part(attempt, state, draft, page.cursor)
                attempt.checkpoint(state.posts, total, state.to_json())
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
    if attempt.task.started_at is None:
        raise ClaimLost
    return document.head(attempt.facts.username, attempt.task.started_at)
