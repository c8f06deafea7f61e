"""Opens an uploaded file, whatever it is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from chalicelib.imports.reasons import Reason
from worker.importing import tar_archive, zip_archive
from worker.importing.entries import Entries, Lines
from worker.importing.formats import Format, format_of, head_of
from worker.importing.long_posts import LongPosts
from worker.importing.members import (
    TWITTER,
    Member,
    Place,
    find_posts,
    is_json_lines,
    long_posts,
)
from worker.importing.plain_file import PlainFile, size_of
from worker.importing.reading import (
    Batch,
    Content,
    Found,
    Limits,
    Other,
    Progress,
    Rejected,
    Row,
    refused,
)
from worker.importing.tar_archive import BLOCK_BYTES, is_tar
from worker.importing.unpacking import Budget, Gzip

GZIP = b"\x1f\x8b"
"""With what a gzip file begins (RFC 1952)."""

BOMB_BYTES = 64 * 1024 * 1024
"""So much of what nobody knows is unpacked to say whether it is a bomb."""

LOOK_BYTES = 64 * 1024
"""So much of a file in an archive must show what it is, for there may be many."""


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

    Args:
        format_name: What the file is.
        parts: Where its entries are, in their order.
        limits: How many may be bad.
        cursor: Where to begin; None at the beginning.
        places: Where the parts are in a tar file, which takes long to find out.

    Attributes:
        format: What the file is: a stable name.
    """

    def __init__(
        self,
        format_name: str,
        parts: Sequence[Part],
        limits: Limits,
        cursor: Any,
        places: list[Place] | None = None,
    ) -> None:
        self.format = format_name
        self._parts = parts
        self._limits = limits
        self._places = places
        self._part: int = cursor["part"] if cursor else 0
        self._at: int | None = cursor["at"] if cursor else None
        self._position: int = cursor["position"] if cursor else 0
        self._rejected: int = cursor["rejected"] if cursor else 0
        self._near = cursor["near"] if cursor else None

    @property
    def progress(self) -> Progress:
        """How far one is in what holds posts, in bytes of the uploaded file; it never falls."""
        parts = [part.content.progress for part in self._parts]
        total = sum(part.total for part in parts)
        if self._part == len(parts):
            return Progress(total, total)
        before = sum(part.total for part in parts[: self._part])
        return Progress(before + parts[self._part].bytes, total)

    def __iter__(self) -> Iterator[Batch]:
        """The file's entries, from where the cursor was.

        Raises:
            ImportRefused: The file cannot be taken in; what was read of it is not to be kept.
        """
        while self._part < len(self._parts):
            part = self._parts[self._part]
            if self._near is not None:
                part.content.begin_at(self._near)
            for chunk in part.entries.chunks(part.content, self._at):
                self._at = chunk.at
                near = part.content.place_before(chunk.at)
                yield self._batch(chunk.found, near)
            self._part, self._at, self._near = self._part + 1, None, None

    def _batch(self, found: list[Found], near: Any) -> Batch:
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
        return Batch(rows, rejected, skipped, self._cursor(near))

    def _cursor(self, near: Any) -> Any:
        return {
            "part": self._part,
            "at": self._at,
            "position": self._position,
            "rejected": self._rejected,
            "places": self._places,
            "near": near,
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
    opening = _Opening(file, Budget(limits, size), cursor)
    content: Content = PlainFile(file, size)
    head = head_of(content, BLOCK_BYTES)
    if head.startswith(zip_archive.SIGNATURES):
        return opening.zip()
    if head.startswith(GZIP):
        content = Gzip(content, opening.budget)
        head = head_of(content, BLOCK_BYTES)
    if is_tar(head):
        return opening.tar(content)
    if head.startswith((GZIP, *zip_archive.SIGNATURES)):
        raise refused("nested_archive")
    found = format_of(head_of(content))
    if found is None:
        if isinstance(content, Gzip):
            content.drain(BOMB_BYTES)
        raise refused("unknown_format")
    return Reader(found.name, [Part(content, found.entries)], limits, cursor)


@dataclass(frozen=True)
class _Opening:
    """Opens archives.

    Attributes:
        file: The uploaded file.
        budget: How much it may become.
        cursor: Where to begin; None at the beginning.
    """

    file: BinaryIO
    budget: Budget
    cursor: Any

    def zip(self) -> Reader:
        """A ZIP file."""
        return self._archive(zip_archive.members_of(self.file, self.budget))

    def tar(self, content: Content) -> Reader:
        """A tar file; once it is known where the posts are, it need not be read to its end."""
        places = self.cursor["places"] if self.cursor else None
        if places is None:
            return self._archive(tar_archive.members_of(content, self.budget.limits))
        return self._archive([tar_archive.member_at(content, *place) for place in places])

    def _archive(self, members: Sequence[Member]) -> Reader:
        found = find_posts(members, self._look)
        if found is None:
            raise refused("unknown_format")
        notes = long_posts(members) if found.format == TWITTER else []
        long_texts = LongPosts(self._unpacked(one).content for one in notes) if notes else None
        parts = [
            Part(member.content, known.with_long_texts(long_texts).entries)
            for member, known in found.members
        ]
        needed = [*(member for member, _ in found.members), *notes]
        places = [member.place for member in needed if member.place]
        return Reader(found.format, parts, self.budget.limits, self.cursor, places or None)

    def _unpacked(self, member: Member) -> Member:
        """The same, or what it holds if it is packed once more."""
        if head_of(member.content, len(GZIP)) != GZIP:
            return member
        return replace(member, content=Gzip(member.content, self.budget))

    def _look(self, member: Member) -> tuple[Member, Format] | None:
        """What a member is, by its content."""
        member = self._unpacked(member)
        head = head_of(member.content, LOOK_BYTES)
        found = format_of(head)
        if not head.strip() and len(head) < LOOK_BYTES and is_json_lines(member.name):
            found = Format("json_lines", Lines())  # of somebody without posts
        if found is None and isinstance(member.content, Gzip):
            member.content.drain(BOMB_BYTES)
        return (member, found) if found else None
