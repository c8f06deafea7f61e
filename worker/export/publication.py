"""Puts a file into S3 that may be large, and takes it up again where a dead attempt left it.

`publish` is the one place that chooses a file's key, cuts it into parts, notes checkpoints, resumes
and computes the digest. What the file holds is the caller's: a head, pieces, and a tail.
"""

import hashlib
import logging
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Protocol

from chalicelib.adapters.object_store import UploadGoneError
from chalicelib.exports.removals import attempt_key
from chalicelib.tasks.leases import File
from worker.attempts import Attempt
from worker.export.upload import Upload, digest_of

log = logging.getLogger(__name__)

Rows = Mapping[str, int]
"""By dataset, how many rows are in a file."""


@dataclass(frozen=True)
class Piece:
    """A part of a file's content after which it can go on in another attempt.

    Attributes:
        data: Its bytes, in their order.
        dataset: Of which dataset its rows are.
        rows: How many they are.
        cursor: JSON from which the pieces after this one can be made again, byte for byte; None
            when nothing follows.
    """

    data: tuple[bytes, ...]
    dataset: str
    rows: int
    cursor: Any


class Content(Protocol):
    """What a file holds."""

    def head(self) -> bytes:
        """What stands before the pieces."""

    def pieces(self, cursor: Any, rows: Rows, /) -> Generator[Piece]:
        """The pieces after a cursor, when so many rows are written; after None, all.

        The generator is closed when no more are wanted.
        """

    def tail(self, rows: Rows, /) -> bytes:
        """What stands after the pieces, which held so many rows."""

    def count(self) -> int:
        """How many rows there will be, for progress; asked about large files only."""


@dataclass
class _Draft:
    """A file on its way: what is in S3, where to go on, and what was written since.

    Attributes:
        upload: The parts so far.
        cursor: That of the last piece in them; None at the beginning.
        rows: How many rows were written, by dataset.
        pending: What is not in S3 yet.
        size_bytes: How much this attempt has written.
        digest: The SHA-256 of that.
    """

    upload: Upload
    cursor: Any = None
    rows: dict[str, int] = field(default_factory=dict)
    pending: bytearray = field(default_factory=bytearray)
    size_bytes: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def add(self, *data: bytes) -> None:
        """Write on."""
        for one in data:
            self.pending += one
            self.digest.update(one)
            self.size_bytes += len(one)

    def add_piece(self, piece: Piece) -> None:
        """Write a piece."""
        self.add(*piece.data)
        self.rows[piece.dataset] = self.rows.get(piece.dataset, 0) + piece.rows

    def to_json(self) -> dict[str, Any]:
        """As a checkpoint."""
        return {**self.upload.to_json(), "cursor": self.cursor, "rows": self.rows}


def publish(attempt: Attempt, content: Content) -> File:
    """Write a file, from its beginning or from the checkpoint of an earlier attempt.

    Whatever was killed on the way, the bytes are those of an undisturbed run, if the pieces are.

    Returns:
        The file, for the task's function to return.
    """
    draft = _resumed(attempt) or _begun(attempt)
    try:
        return _write(attempt, draft, content)
    except UploadGoneError:
        # Aborted by a lifecycle rule, or lost with an emulator: all that can be done is again. Or
        # another attempt has completed it, and this one must not write to its key any more.
        attempt.confirm()
        log.warning("upload is gone", extra={"action": "export", "task_id": attempt.task.id})
        return _write(attempt, _begun(attempt), content)


def _begun(attempt: Attempt) -> _Draft:
    """A new object of this claim's own."""
    key = attempt_key(attempt.task.user_id, attempt.task.id, attempt.holder.claim)
    return _Draft(Upload(attempt.wiring.storage, key))


def _resumed(attempt: Attempt) -> _Draft | None:
    note = attempt.task.checkpoint
    if note is None:
        return None
    upload = Upload.from_json(attempt.wiring.storage, note)
    return _Draft(upload, note["cursor"], dict(note["rows"]))


def _write(attempt: Attempt, draft: _Draft, content: Content) -> File:
    resumed = draft.cursor is not None
    if not resumed:
        draft.add(content.head())
    _write_pieces(attempt, draft, content)
    draft.add(content.tail(draft.rows))
    attempt.check()
    draft.upload.finish(draft.pending)
    if draft.upload.upload_id is None:
        attempt.content = bytes(draft.pending)
    key, rows = draft.upload.key, sum(draft.rows.values())
    if resumed:
        sha256, size_bytes = digest_of(attempt.wiring.storage, key, check=attempt.check)
        return File(key, rows, size_bytes, sha256)
    return File(key, rows, draft.size_bytes, draft.digest.hexdigest())


def _write_pieces(attempt: Attempt, draft: _Draft, content: Content) -> None:
    """Write all pieces, and upload all but what the last part will hold."""
    total = 0
    with closing(content.pieces(draft.cursor, draft.rows)) as pieces:
        for piece in pieces:
            draft.add_piece(piece)
            # Nothing can go on after the last piece: what is left is the last part, which is at
            # most a piece larger than others.
            if len(draft.pending) >= draft.upload.part_bytes and piece.cursor is not None:
                # What fits one part is not counted before: it is over before anybody looks.
                total = total or content.count()
                _upload_part(attempt, draft, piece.cursor)
                attempt.checkpoint(
                    sum(draft.rows.values()), total, draft.to_json(), key=draft.upload.key
                )
            if total:
                attempt.progress(sum(draft.rows.values()), total)
            attempt.check()


def _upload_part(attempt: Attempt, draft: _Draft, cursor: Any) -> None:
    attempt.check()
    draft.upload.add(draft.pending)
    draft.pending.clear()
    draft.cursor = cursor
