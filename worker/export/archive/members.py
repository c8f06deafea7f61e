"""What an archive is made of: sections of members, of which each is a run of blocks.

A block is compressed on its own, so several can be at the same time, and the archive can go on
after any of them. It must therefore be the same bytes in every attempt: what ends a block follows
from the cursor that it begins at, never from what an attempt happened to read before.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

from worker.export.formats.format import Format
from worker.export.pages import Source


@dataclass(frozen=True)
class Member:
    """A file in the archive.

    Attributes:
        path: Its name in the archive; folders end with `/`.
        media_type: What it is.
        dataset: Whose rows it holds; None when it holds none.
    """

    path: str
    media_type: str
    dataset: str | None = None


@dataclass(frozen=True)
class Block:
    """Consecutive bytes of a member.

    Attributes:
        member: Of which.
        data: They themselves, uncompressed.
        rows: How many rows they hold.
        last: Whether the member ends here.
        cursor: JSON from which its section goes on after it. None says that it cannot go on here
            or, when the member ends, that the section ends, too.
    """

    member: Member
    data: bytes
    rows: int = 0
    last: bool = False
    cursor: Any = None


class Section(Protocol):
    """Some members that follow each other."""

    @property
    def sources(self) -> Sequence[Source]:
        """Whose rows it holds, each of them once."""

    def blocks(self, cursor: Any, /) -> Generator[Block]:
        """The blocks after a cursor of a block; after None, all. Must be closed."""


@dataclass(frozen=True)
class Whole:
    """A member of its own that is at hand.

    Attributes:
        member: Which.
        data: What it holds.
    """

    member: Member
    data: bytes

    @property
    def sources(self) -> Sequence[Source]:
        """It has no rows."""
        return ()

    def blocks(self, _cursor: Any = None) -> Generator[Block]:
        """The one block."""
        yield Block(self.member, self.data, last=True)


@dataclass(frozen=True)
class RowsOf:
    """A member with all rows of a dataset in one format.

    Attributes:
        source: The rows.
        format: How they are written.
    """

    source: Source
    format: Format

    @property
    def sources(self) -> Sequence[Source]:
        """The one dataset."""
        return (self.source,)

    def blocks(self, cursor: Any = None) -> Generator[Block]:
        """A block for each page of rows, as many as go on from a cursor."""
        name = self.source.dataset.name
        member = Member(self.format.path, self.format.media_type, name)
        dataset, written, before = self.source.dataset, 0, self.format.head()
        after, sizes = None, ()
        if cursor is not None:
            written, before = cursor["rows"], b""
            after, sizes = dataset.cursor_from_json(cursor["after"]), tuple(cursor["sizes"])
        with closing(self.source.pages(after, sizes)) as pages:
            for page in pages:
                data = before + self.format.rows(page.lines, written)
                written, before = written + page.rows, b""
                if page.cursor is None:
                    yield Block(member, data + self.format.tail(written), page.rows, last=True)
                    return
                at = None
                if page.sizes is not None:
                    key = dataset.cursor_to_json(page.cursor)
                    at = {"after": key, "sizes": page.sizes, "rows": written}
                yield Block(member, data, page.rows, cursor=at)
        # There were no rows, or the last ones were deleted meanwhile.
        yield Block(member, before + self.format.tail(written), last=True)
