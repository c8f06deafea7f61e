"""Opens an uploaded file, whatever it is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from worker.importing.entries import Entries
from worker.importing.formats import format_of, head_of
from worker.importing.plain_file import PlainFile, size_of
from worker.importing.reading import (
    Batch,
    Content,
    Found,
    Limits,
    Other,
    Progress,
    Reason,
    Rejected,
    Row,
    refused,
)


@dataclass(frozen=True)
class Part:
    """A text with entries: the file itself, or a member of an archive.

    Attributes:
        content: Its bytes.
        entries: What is in it.
    """

    content: Content
    entries: Entries


class Reader:
    """Reads the posts of a file, batch by batch; opened by `open_import`.

    Attributes:
        format: What the file is: a stable name.
    """

    def __init__(
        self, format_name: str, parts: Sequence[Part], size: int, limits: Limits, cursor: Any
    ) -> None:
        self.format = format_name
        self._parts = parts
        self._size = size
        self._limits = limits
        self._part: int = cursor["part"] if cursor else 0
        self._at = cursor["at"] if cursor else None
        self._position: int = cursor["position"] if cursor else 0
        self._rejected: int = cursor["rejected"] if cursor else 0

    @property
    def progress(self) -> Progress:
        """How far one is in the uploaded file; it never falls while parts follow each other."""
        if self._part == len(self._parts):
            return Progress(self._size, self._size)
        return Progress(self._parts[self._part].content.packed_offset, self._size)

    def __iter__(self) -> Iterator[Batch]:
        """The file's entries, from where the cursor was.

        Raises:
            ImportRefused: The file cannot be taken in; what was read of it is not to be kept.
        """
        while self._part < len(self._parts):
            part = self._parts[self._part]
            for chunk in part.entries.chunks(part.content, self._at):
                self._at = chunk.at
                yield self._batch(chunk.found)
            self._part, self._at = self._part + 1, None

    def _batch(self, found: list[Found]) -> Batch:
        rows: list[Row] = []
        rejected: list[Rejected] = []
        skipped = 0
        for position, one in enumerate(found, self._position + 1):
            if isinstance(one, tuple):
                rows.append(Row(position, *one))
            elif isinstance(one, Reason):
                rejected.append(Rejected(position, one.value))
            elif one is Other.SKIPPED:
                skipped += 1
        self._position += len(found)
        self._rejected += len(rejected)
        if self._rejected > self._limits.rejected:
            raise refused("too_many_rejected")
        return Batch(rows, rejected, skipped, self._cursor())

    def _cursor(self) -> Any:
        return {
            "format": self.format,
            "part": self._part,
            "at": self._at,
            "position": self._position,
            "rejected": self._rejected,
        }


def open_import(file: BinaryIO, limits: Limits, cursor: Any = None) -> Reader:
    """Find out what a file is, from its content.

    Args:
        file: Seekable, in binary mode, and of one length; what it raises passes through.
        limits: How large it may be.
        cursor: Of the last batch that an earlier attempt at the same file has kept, or None.

    Raises:
        ImportRefused: Nobody knows the format, or the file is too large or dangerous.
    """
    size = size_of(file)
    if size > limits.packed_bytes:
        raise refused("too_large")
    content = PlainFile(file, size)
    found = format_of(head_of(content))
    if found is None:
        raise refused("unknown_format")
    return Reader(found.name, [Part(content, found.entries)], size, limits, cursor)
