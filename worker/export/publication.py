"""Puts a file into S3 that may be large, and resumes it where a dead attempt left it.

Nothing but `publish` chooses a file's key, cuts it into parts, notes checkpoints, resumes, or
computes the digest. A writer provides the content: a head, pieces, and a tail.
"""

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Protocol

from chalicelib.adapters import tracing
from chalicelib.adapters.object_store import Content, UploadGoneError
from chalicelib.errors import ClaimLost
from chalicelib.exports.kinds import Export
from chalicelib.exports.publication import File
from chalicelib.exports.removals import attempt_prefix
from worker.attempts import Attempt
from worker.export.digest import Digest, sha256, taken_up
from worker.export.upload import Upload, digest_of

log = logging.getLogger(__name__)

COUNT_AFTER_S = 1.0
"""After this time progress is told even of a file of one part: an archive that compresses well may
have taken long by then."""

Rows = Mapping[str, int]
"""By dataset, how many rows are in a file."""


def add(rows: dict[str, int], more: Rows) -> None:
    """Count more rows."""
    for dataset, number in more.items():
        rows[dataset] += number


@dataclass(frozen=True)
class Piece:
    """A part of a file's content after which it can go on in another attempt.

    Attributes:
        data: Its bytes, in their order.
        rows: By dataset, how many rows they are.
        cursor: Makes the JSON from which the pieces after this one can be made again, byte for
            byte; called before the next piece is asked for, if at all. None when they cannot be
            made again, or nothing follows.
    """

    data: tuple[bytes, ...]
    rows: Rows
    cursor: Callable[[], Any] | None


class Writer(Protocol):
    """Writes what a file holds."""

    @property
    def datasets(self) -> Sequence[str]:
        """The names of those whose rows it holds."""

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

    def done(self, rows: Rows, /) -> int:
        """How far the file is, of what `count` says, when it holds so many rows."""


@dataclass
class _Draft:
    """A file on its way: what is in S3, where to go on, and what was written since.

    Attributes:
        upload: The parts so far.
        rows: How many rows were written, by dataset.
        cursor: That of the last piece in them; None at the beginning.
        pending: What is not in S3 yet.
        size_bytes: How much was written in all.
        digest: The SHA-256 of that; None when nobody knows where an earlier attempt was.
    """

    upload: Upload
    rows: dict[str, int]
    cursor: Any = None
    pending: bytearray = field(default_factory=bytearray)
    size_bytes: int = 0
    digest: Digest | None = field(default_factory=sha256)

    def add(self, *data: bytes) -> None:
        """Write on."""
        for one in data:
            self.pending += one
            if self.digest:
                self.digest.update(one)
            self.size_bytes += len(one)

    def add_piece(self, piece: Piece) -> None:
        """Write a piece."""
        self.add(*piece.data)
        add(self.rows, piece.rows)

    def to_json(self) -> dict[str, Any]:
        """As a checkpoint."""
        state = self.digest.state() if self.digest else None
        rest = {"cursor": self.cursor, "rows": dict(self.rows), "sha256": state}
        return {**self.upload.to_json(), **rest}


def publish(attempt: Attempt, writer: Writer) -> File:
    """Write a file, from its beginning or from the checkpoint of an earlier attempt.

    Wherever attempts were killed, the file has the bytes of an undisturbed run.

    Args:
        attempt: The attempt at the task whose file it is.
        writer: Makes its content, the same bytes in every attempt.

    Returns:
        The file, for the task's function to return.
    """
    draft = _resumed(attempt) or _begun(attempt, writer)
    try:
        return _write(attempt, draft, writer)
    except UploadGoneError:
        # Aborted by a lifecycle rule, or lost with an emulator: all that can be done is again. Or
        # another attempt has completed it, and this one must not write to its key any more.
        attempt.confirm()
        log.warning("upload is gone", extra={"action": "export", "task_id": attempt.task.id})
        return _write(attempt, _begun(attempt, writer), writer)


def _begun(attempt: Attempt, writer: Writer) -> _Draft:
    """A new object of this claim's own."""
    folder = attempt_prefix(attempt.task.user_id, attempt.task.id, attempt.lease.claim)
    key = folder + _kind(attempt).filename
    upload = Upload(attempt.wiring.object_store, key, _content(attempt))
    return _Draft(upload, dict.fromkeys(writer.datasets, 0))


def _resumed(attempt: Attempt) -> _Draft | None:
    note = attempt.task.checkpoint
    if note is None:
        return None
    upload = Upload.from_json(attempt.wiring.object_store, note, _content(attempt))
    digest = taken_up(note.get("sha256"))
    return _Draft(
        upload,
        dict(note["rows"]),
        note["cursor"],
        size_bytes=upload.size_bytes,
        digest=digest,
    )


def _content(attempt: Attempt) -> Content:
    """What the file is, for those who download it.

    Raises:
        ClaimLost: The task has not begun, so this attempt has no right to it.
    """
    if attempt.task.started_at is None:
        raise ClaimLost
    return _kind(attempt).content(attempt.facts.username, attempt.task.started_at)


def _kind(attempt: Attempt) -> Export:
    """The kind of task that the file belongs to.

    Raises:
        TypeError: It is no export: nobody would ever find the file.
    """
    if not isinstance(attempt.kind, Export):
        raise TypeError(f"{attempt.kind.name} is no Export, so it has no file to publish")
    return attempt.kind


def _write(attempt: Attempt, draft: _Draft, writer: Writer) -> File:
    if draft.cursor is None:
        draft.add(writer.head())
    _write_pieces(attempt, draft, writer)
    draft.add(writer.tail(draft.rows))
    attempt.check()
    is_ours = draft.upload.finish(draft.pending)
    if draft.upload.upload_id is None:
        attempt.content = bytes(draft.pending)
    attempt.total = sum(draft.rows.values())
    key, settings = draft.upload.key, attempt.wiring.settings
    if draft.digest and is_ours:
        digest, size_bytes = draft.digest.hexdigest(), draft.size_bytes
    else:
        store = attempt.wiring.object_store
        digest, size_bytes = digest_of(store, key, check=attempt.check)
    return File(key, draft.rows, size_bytes, digest, settings.export_ttl_s, _kept(attempt))


def _kept(attempt: Attempt) -> int | None:
    """How many files the user keeps; None where there was room for another at the claim.

    Nobody publishes one of the same kind meanwhile, unless there can be two in progress.
    """
    kept = attempt.wiring.settings.exports_kept
    has_room = attempt.facts.files < kept and not attempt.kind.unique_by
    return None if has_room else kept


def _write_pieces(attempt: Attempt, draft: _Draft, writer: Writer) -> None:
    """Write all pieces, and upload all but what the last part will hold."""
    total, began = 0, time.monotonic()
    with closing(writer.pieces(draft.cursor, draft.rows)) as pieces:
        for piece in _traced(pieces):
            draft.add_piece(piece)
            # Where nothing follows, there is no checkpoint: what is pending becomes the last part,
            # which is at most one piece larger than the others.
            cursor = piece.cursor if len(draft.pending) >= draft.upload.part_bytes else None
            # Most files of one part need no count: they are finished before anybody looks.
            if not total and (cursor or time.monotonic() - began > COUNT_AFTER_S):
                total = attempt.task.total or writer.count()
            if cursor is not None:
                _upload_part(attempt, draft, cursor())
                attempt.checkpoint(writer.done(draft.rows), total, draft.to_json())
            if total:
                attempt.progress(writer.done(draft.rows), total)
            attempt.check()


def _traced(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Note for how long each piece, a page of rows, was waited for."""
    asked = time.monotonic()
    for piece in pieces:
        size, rows = sum(map(len, piece.data)), sum(piece.rows.values())
        took_s = time.monotonic() - asked
        tracing.record("read page", took_s=took_s, carryout__rows=rows, carryout__size=size)
        yield piece
        asked = time.monotonic()


def _upload_part(attempt: Attempt, draft: _Draft, cursor: Any) -> None:
    attempt.check()
    draft.upload.add(draft.pending)
    draft.pending.clear()
    draft.cursor = cursor
