"""Writes the archive, and knows at any moment what is needed to go on.

What a checkpoint holds of an archive: of each finished member the line of the directory and its
entry in the manifest; of the one that is being written, the running numbers; and the cursor of its
section. Everything else follows. So the file is byte for byte the same wherever it was killed.
"""

import hashlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from typing import Any

import orjson

from chalicelib.values.fields import format_time
from worker.export.archive.container import (
    Entry,
    crc32,
    deflated,
    descriptor,
    directory,
    local_header,
)
from worker.export.archive.members import Block, Member, Section
from worker.export.archive.packing import packed
from worker.export.publication import Piece, Rows

VERSION = 1
MANIFEST = Member("manifest.json", "application/json")

MAX_PIECE_BLOCKS = 16
"""The most blocks between two places where an archive can go on: about 10 MiB of text."""

PIECES_PER_SIZE = 64
"""After so many pieces of a member the next ones hold twice as many blocks, so that the manifest
and the checkpoints stay small."""


@dataclass
class _Written:
    """A member as far as it is written.

    Attributes:
        member: Which.
        offset: Where its local header begins.
        crc: CRC-32 of what is written.
        size: How many bytes that is.
        packed: How many they are compressed.
        rows: How many rows they hold.
        streamed: Whether it has more than one block.
        pieces: The size and the SHA-256 of consecutive runs of its bytes.
    """

    member: Member
    offset: int
    crc: int = 0
    size: int = 0
    packed: int = 0
    rows: int = 0
    streamed: bool = True
    pieces: list[tuple[int, str]] = field(default_factory=list)

    def to_json(self) -> list[Any]:
        """As a checkpoint holds it."""
        about = [self.member.path, self.member.media_type, self.member.dataset]
        numbers = [self.offset, self.crc, self.size, self.packed, self.rows, self.streamed]
        return [about, numbers, [list(piece) for piece in self.pieces]]

    @classmethod
    def from_json(cls, value: Any) -> "_Written":
        """From a checkpoint."""
        about, numbers, pieces = value
        one = cls(Member(*about), *numbers)
        one.pieces = [(size, digest) for size, digest in pieces]
        return one

    @property
    def entry(self) -> Entry:
        """Its line of the directory."""
        path = self.member.path
        return Entry(path, self.offset, self.crc, self.size, self.packed, self.streamed)

    def shown(self) -> dict[str, Any]:
        """As the manifest lists it."""
        return {
            "path": self.member.path,
            "media_type": self.member.media_type,
            "dataset": self.member.dataset,
            "rows": None if self.member.dataset is None else self.rows,
            "bytes": self.size,
            "pieces": self.pieces,
        }


@dataclass(frozen=True)
class About:
    """What the manifest says of an archive.

    Attributes:
        username: Whose data it is.
        exported_at: When it was taken.
        task_id: The task that writes it; None for none.
        since: Only rows of this time or later; None for no bound.
        until: Only rows before this time; None for no bound.
    """

    username: str
    exported_at: datetime
    task_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class ArchiveWriter:
    """Writes an archive; what `publish` and the command line take as a writer.

    Args:
        about: What the manifest says.
        datasets: The names of the datasets that were asked for.
        sections: What the archive is made of, in order; the manifest follows.
        note: JSON that a checkpoint keeps for whoever makes the sections; see `noted`.
    """

    def __init__(
        self,
        about: About,
        datasets: Sequence[str],
        sections: Sequence[Section],
        *,
        note: Any = None,
    ) -> None:
        self.datasets = datasets
        self._about = about
        self._sections = sections
        self._note = note
        self._finished: list[_Written] = []
        self._open: _Written | None = None
        self._offset = 0
        self._work = 0

    def head(self) -> bytes:
        """Nothing stands before the first member."""
        return b""

    def pieces(self, cursor: Any, _rows: Rows) -> Generator[Piece]:
        """All members but the manifest, from a cursor on.

        Must be closed.

        Yields:
            A piece for each block; those between which the archive can go on have cursors.
        """
        section, at = self._resume(cursor)
        digest, pending, blocks = hashlib.sha256(), 0, 0
        with closing(self._blocks(section, at)) as found, closing(packed(found)) as stream:
            for number, block, data in stream:
                if self._open is None:
                    self._open = _Written(block.member, self._offset, streamed=not block.last)
                one, began = self._open, self._open.packed == 0
                written = self._add(one, block, data, began=began)
                digest.update(block.data)
                pending, blocks = pending + len(block.data), blocks + 1
                is_end = block.last or (block.cursor is not None and blocks >= _blocks_of(one))
                if is_end:
                    one.pieces.append((pending, digest.hexdigest()))
                    digest, pending, blocks = hashlib.sha256(), 0, 0
                if block.last:
                    self._finished.append(one)
                    self._open = None
                rows = self._counted(number, block)
                # Made only when it is written down: it grows with the number of members.
                cursor = partial(self._cursor, number, block) if is_end else None
                yield Piece(written, rows, cursor)

    def tail(self, rows: Rows) -> bytes:
        """The manifest and the directory."""
        manifest = self._manifest(rows)
        data, crc = deflated(manifest, last=True), crc32(manifest)
        entry = Entry(MANIFEST.path, self._offset, crc, len(manifest), len(data), streamed=False)
        member = local_header(entry.path, self._about.exported_at, entry) + data
        entries = [*(one.entry for one in self._finished), entry]
        end = directory(entries, self._about.exported_at, self._offset + len(member))
        return member + end

    def count(self) -> int:
        """How many rows there are, of all datasets."""
        return sum(self._counts.values())

    def done(self, _rows: Rows) -> int:
        """How far it is: a row is done when all members that have it are written."""
        names = [one.dataset.name for section in self._sections for one in section.sources]
        work = sum(self._counts[name] for name in names)
        return self._work * self.count() // work if work else 0

    @cached_property
    def _counts(self) -> Mapping[str, int]:
        """By dataset, how many rows there are."""
        sources = {one.dataset.name: one for part in self._sections for one in part.sources}
        return {name: source.count() for name, source in sources.items()}

    @cached_property
    def _first(self) -> Mapping[str, int]:
        """By dataset, the section whose rows count: the first that has them."""
        first: dict[str, int] = {}
        for number, section in enumerate(self._sections):
            for source in section.sources:
                first.setdefault(source.dataset.name, number)
        return first

    def _counted(self, number: int, block: Block) -> Rows:
        name = block.member.dataset
        if name is None or self._first.get(name) != number:
            return {}
        return {name: block.rows}

    def _blocks(self, first: int, at: Any) -> Generator[tuple[int, Block]]:
        for number in range(first, len(self._sections)):
            with closing(self._sections[number].blocks(at)) as blocks:
                for block in blocks:
                    yield number, block
            at = None

    def _add(self, one: _Written, block: Block, data: bytes, *, began: bool) -> tuple[bytes, ...]:
        """Count a block, and put what the container has before and after it around it."""
        one.crc = crc32(block.data, one.crc)
        one.size += len(block.data)
        one.packed += len(data)
        one.rows += block.rows
        self._work += block.rows
        at, parts = self._about.exported_at, [data]
        if began:
            known = None if one.streamed else one.entry
            parts.insert(0, local_header(one.member.path, at, known))
        if block.last and one.streamed:
            parts.append(descriptor(one.entry))
        self._offset += sum(map(len, parts))
        return tuple(parts)

    def _cursor(self, number: int, block: Block) -> dict[str, Any]:
        """Where to go on after a block."""
        is_over = block.last and block.cursor is None
        return {
            "section": number + 1 if is_over else number,
            "at": None if is_over else block.cursor,
            "finished": [one.to_json() for one in self._finished],
            "open": self._open and self._open.to_json(),
            "offset": self._offset,
            "work": self._work,
            "note": self._note,
        }

    def _resume(self, cursor: Any) -> tuple[int, Any]:
        """Be where a cursor was taken; None is the beginning."""
        given = cursor or {"finished": [], "open": None, "offset": 0, "work": 0}
        self._finished = [_Written.from_json(one) for one in given["finished"]]
        self._open = _Written.from_json(given["open"]) if given["open"] else None
        self._offset, self._work = given["offset"], given["work"]
        return (cursor["section"], cursor["at"]) if cursor else (0, None)

    def _manifest(self, rows: Rows) -> bytes:
        about = self._about
        bounds = {"from": about.since, "to": about.until}
        shown = {
            "version": VERSION,
            "user": about.username,
            "task_id": about.task_id,
            "exported_at": format_time(about.exported_at),
            **{name: time and format_time(time) for name, time in bounds.items()},
            "datasets": [{"name": name, "rows": rows[name]} for name in self.datasets],
            "members": [one.shown() for one in self._finished],
        }
        return orjson.dumps(shown, option=orjson.OPT_APPEND_NEWLINE)


def noted(cursor: Any) -> Any:
    """What the note of a checkpoint's archive is."""
    return cursor["note"]


def _blocks_of(one: _Written) -> int:
    """How many blocks the next piece of a member has."""
    return min(MAX_PIECE_BLOCKS, 1 << (len(one.pieces) // PIECES_PER_SIZE))
