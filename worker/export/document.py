"""The form of an exported document.

`{"version", "user", "exported_at", NAME: [rows], "count"}`, with one row a line. The rows come
before `count`, which is known only at the end: so neither the writer nor a reader needs more memory
for more rows. The database writes the lines themselves; see `statements`.
"""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import orjson

from chalicelib.values.fields import format_time
from worker.export.pages import Source
from worker.export.publication import Piece, Rows
from worker.export.statements import BETWEEN

VERSION = 1

BEFORE = b"\n"
"""What stands before the first line."""


@dataclass(frozen=True)
class Document:
    """A user's rows of one dataset as a document, in pieces.

    Attributes:
        source: The rows.
        username: Whose they are.
        exported_at: When the export was taken.
    """

    source: Source
    username: str
    exported_at: datetime

    @property
    def name(self) -> str:
        """The member that holds the rows."""
        return self.source.dataset.name

    @property
    def datasets(self) -> tuple[str, ...]:
        """The one dataset."""
        return (self.name,)

    def head(self) -> bytes:
        """What stands before the rows."""
        return head(self.name, self.username, self.exported_at)

    def pieces(self, cursor: Any, rows: Rows) -> Generator[Piece]:
        """The rows after a cursor of a piece, of which so many were written.

        Must be closed; see `Source.pages`.

        Yields:
            A piece for each page.
        """
        dataset, written = self.source.dataset, rows[self.name]
        after = None if cursor is None else dataset.cursor_from_json(cursor)
        with closing(self.source.pages(after)) as pages:
            for page in pages:
                to_json = partial(dataset.cursor_to_json, page.cursor or ())
                following = None if page.cursor is None else to_json
                between = BETWEEN if written else BEFORE
                yield Piece((between, page.lines), {self.name: page.rows}, following)
                written += page.rows

    def tail(self, rows: Rows) -> bytes:
        """What stands after the rows."""
        return tail(rows[self.name])

    def count(self) -> int:
        """How many rows there are."""
        return self.source.count()

    def done(self, rows: Rows) -> int:
        """How many rows are written."""
        return rows[self.name]


def head(name: str, username: str, exported_at: datetime) -> bytes:
    """What stands before the rows of a dataset of this name."""
    facts = {"version": VERSION, "user": username, "exported_at": format_time(exported_at)}
    return orjson.dumps(facts)[:-1] + b',"%b":[' % name.encode()


def tail(count: int) -> bytes:
    """What stands after the rows."""
    return b'\n],"count":%d}\n' % count
