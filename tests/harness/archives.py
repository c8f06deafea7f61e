"""Archives without a database: rows that are at hand, in pages of a few."""

import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from chalicelib.exports.archive import FORMATS, Choice
from chalicelib.exports.datasets import Cursor, Dataset
from chalicelib.microblog.datasets import POSTS
from chalicelib.values.fields import format_time
from worker.export.archive.archive import About, ArchiveWriter
from worker.export.archive.plan import Plan, archive
from worker.export.pages import Page, Sizes, Source
from worker.export.publication import add

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass(frozen=True)
class Posts:
    """Posts with a second between each two, as the source of whatever is told of them.

    Attributes:
        bodies: What is in them.
        dataset: What is told.
        page_rows: How many are in a page.
    """

    bodies: tuple[str, ...]
    dataset: Dataset = POSTS
    page_rows: int = 3

    def count(self) -> int:
        """How many there are."""
        return len(self.bodies)

    def pages(self, after: Cursor | None, _sizes: Sizes = ()) -> Generator[Page]:
        """Those after a cursor."""
        begin = 0 if after is None else int(after[1])
        for start in range(begin, len(self.bodies), self.page_rows):
            numbers = range(start, min(start + self.page_rows, len(self.bodies)))
            is_last = numbers[-1] == len(self.bodies) - 1
            cursor = None if is_last else (moment(numbers[-1]), numbers[-1] + 1)
            yield Page(b",\n".join(map(self._line, numbers)), len(numbers), cursor, (1,))

    def _line(self, number: int) -> bytes:
        values = {
            "id": number + 1,
            "body": self.bodies[number],
            "timestamp": format_time(moment(number)),
        }
        shown = {one.name: values[one.column.name] for one in self.dataset.columns}
        return json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode()


def moment(number: int) -> datetime:
    """When a post was written."""
    return AT + timedelta(seconds=number)


def writer(bodies: Sequence[str], **given: Any) -> ArchiveWriter:
    """What writes an archive of posts, in all formats unless others are given."""
    choice = Choice((POSTS,), **{"formats": FORMATS, "viewer": False, **given})
    source = cast("Source", Posts(tuple(bodies)))
    about = About("susan", AT, "a-task")
    return archive(Plan(about, choice, [source], "en", "https://example.com"))


def written(
    archive_writer: ArchiveWriter, cursor: Any = None, earlier: Mapping[str, int] | None = None
) -> bytes:
    """All bytes of an archive after a cursor, when so many rows are written."""
    rows = {**dict.fromkeys(archive_writer.datasets, 0), **(earlier or {})}
    data = [archive_writer.head()]
    with closing(archive_writer.pieces(cursor, rows)) as pieces:
        for piece in pieces:
            data += piece.data
            add(rows, piece.rows)
    return b"".join([*data, archive_writer.tail(rows)])
