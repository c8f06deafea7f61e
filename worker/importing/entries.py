"""The entries of a text: of JSON lines, and of the arrays of a JSON document."""

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chalicelib.imports.reasons import Reason
from worker.export.json_reader import JsonReader, UnreadableError
from worker.importing import own_posts
from worker.importing.json_lines import MAX_LINE_BYTES, blocks
from worker.importing.reading import (
    MAX_ENTRY_BYTES,
    Bad,
    Chunk,
    Content,
    Found,
    Other,
    Post,
    refused,
)

CHUNK_ENTRIES = 500
"""How many entries are read until it is said where reading goes on, and somebody may cancel."""

CHUNK_BYTES = 256 * 1024
"""Likewise."""

Interpret = Callable[[bytes], Post | Other]
"""Says what the JSON of an entry is; raises `Bad`."""


class Entries(ABC):
    """Something that holds entries."""

    @abstractmethod
    def chunks(self, content: Content, at: int | None) -> Iterator[Chunk]:
        """The entries, a few at a time.

        Args:
            content: Where to read.
            at: Where an earlier chunk said that reading goes on; None at the beginning.

        Raises:
            ImportRefused: Nothing more can be read.
        """


class Lines(Entries):
    """Own posts, one a line; blank lines are passed over."""

    def chunks(self, content: Content, at: int | None) -> Iterator[Chunk]:  # noqa: D102 - see Entries
        offset = at or 0
        content.open(offset)
        for block, size in blocks(content.read):
            offset += size
            if block is None:
                yield Chunk([Reason.TOO_LONG], offset)
            else:
                yield Chunk(_lines(block), offset)


def _lines(block: bytes) -> list[Found]:
    many = own_posts.posts(block.removesuffix(b"\n"), between=b"\n")
    return [*many] if many is not None else [_line(line) for line in io.BytesIO(block)]


def _line(line: bytes) -> Found:
    if len(line) > MAX_LINE_BYTES:
        return Reason.TOO_LONG
    if not line.strip():
        return Other.BLANK
    try:
        return own_posts.post(line)
    except Bad as bad:
        return bad.reason


@dataclass(frozen=True)
class Document(Entries):
    """A JSON text whose entries are the items of an array.

    Attributes:
        interpret: What an item is.
        member: The member of an object that holds the items, which may stand there more than once:
            all of them count. None when the text is an array.
        start: Where the text begins, behind what is no JSON.
        end: What may follow the text besides white space.
        are_own: Whether items may be posts of our own form, one a line, which are read faster.
        scalar: What an item is that is neither an object nor an array.
    """

    interpret: Interpret
    member: str | None
    start: int = 0
    end: bytes = b""
    are_own: bool = False
    scalar: Found = Reason.NOT_AN_OBJECT

    def chunks(self, content: Content, at: int | None) -> Iterator[Chunk]:  # noqa: D102 - see Entries
        offset = self.start if at is None else at
        content.open(offset)
        reader = JsonReader(content.read, offset=offset)
        try:
            if at is None:
                yield from self._from_start(reader)
            else:
                yield from self._items(reader, is_first=False)
                yield from self._following_members(reader)
            self._check_end(reader)
        except UnreadableError:
            raise refused("malformed") from None

    def _from_start(self, reader: JsonReader) -> Iterator[Chunk]:
        if self.member is None:
            reader.expect(b"[")
            yield from self._items(reader, is_first=True)
            return
        reader.expect(b"{")
        if reader.peek() == b"}":
            reader.expect(b"}")
            return
        yield from self._member(reader)
        yield from self._following_members(reader)

    def _following_members(self, reader: JsonReader) -> Iterator[Chunk]:
        if self.member is None:
            return
        while reader.expect(b",}") == b",":
            yield from self._member(reader)

    def _member(self, reader: JsonReader) -> Iterator[Chunk]:
        if reader.name() == self.member and reader.peek() == b"[":
            reader.expect(b"[")
            yield from self._items(reader, is_first=True)
        else:
            reader.value()

    def _items(self, reader: JsonReader, *, is_first: bool) -> Iterator[Chunk]:
        """Read on to the end of an array; between chunks one stands behind an item."""
        if is_first and reader.peek() == b"]":
            reader.expect(b"]")
            return
        found: list[Found] = []
        began, one_by_one_until = reader.offset, 0
        while is_first or reader.expect(b",]") == b",":
            is_first = False
            if self.are_own and reader.offset >= one_by_one_until:
                many, one_by_one_until = _own_rows(reader)
                if many:
                    yield Chunk([*found, *many], reader.offset)
                    found, began = [], reader.offset
                    continue
            found.append(self._item(reader))
            if len(found) >= CHUNK_ENTRIES or reader.offset - began >= CHUNK_BYTES:
                yield Chunk(found, reader.offset)
                found, began = [], reader.offset
        if found:
            yield Chunk(found, reader.offset - 1)  # before the bracket that was read

    def _item(self, reader: JsonReader) -> Found:
        if reader.peek() not in (b"{", b"["):
            reader.value()
            return self.scalar
        text = reader.item(max_bytes=MAX_ENTRY_BYTES)
        if text is None:
            return Reason.TOO_LONG
        try:
            return self.interpret(text)
        except Bad as bad:
            if bad.reason is Reason.NOT_JSON:
                raise refused("malformed") from None
            return bad.reason

    def _check_end(self, reader: JsonReader) -> None:
        while self.end and reader.peek() and reader.peek() in self.end:
            reader.expect(self.end)
        reader.end()


def _own_rows(reader: JsonReader) -> tuple[list[Post], int]:
    """Rows that are read at once, or up to where they must be read one by one."""
    reader.peek()
    rows = reader.lines()
    if rows and (many := own_posts.posts(rows, between=b",\n")):
        reader.advance(len(rows))
        return many, 0
    return [], reader.offset + (len(rows) if rows else reader.ahead)
