"""Rows of a dataset out of the database, page by page, in the order of its key.

Pages are cut by a key, not an offset: each costs the same, a crash loses at most one, and no
transaction lasts longer than a page.

One statement makes the database write a page's lines of the document and join them. So a page is
one row of one value: the driver makes no object for a row of the dataset, and Python, whose lock
neither libpq nor SQLite holds while it works, can hash and upload the pages before. Writing the
lines is most of the work, so two connections do it for a large export; the index alone tells in
advance where the pages end. `make bench` chose all this and the size of pages, against rows that
the driver hands over and orjson writes.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import cycle
from typing import Any

import sqlalchemy as sa
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format

from chalicelib.db.engine import Database
from chalicelib.db.sqlite_memory import is_uncounted
from chalicelib.exports.datasets import Cursor, Dataset
from worker.export.statements import (
    WHOLE,
    Period,
    count_statement,
    last_statement,
    page_statement,
)

PAGE_BYTES = 640 * 1024
"""About how much a page holds, so that memory is flat whatever people write."""

MAX_PAGE_BYTES = 4 * 1024 * 1024
"""More text is never in a page, nor is JSON in the page of a single row: a row with more cannot be
exported. A post has 60,000 at most."""

KEPT_BYTES = 3 * PAGE_BYTES
"""A page with more than this is not kept: it is read again in smaller ones, for many may wait at
once, and the JSON of a text may be six times as long as the text."""

FIRST_PAGE_ROWS = 2000
MAX_PAGE_ROWS = 2500

READERS = 2
"""How many connections read the pages of a large export. A server has a process for each, and in
SQLite threads work side by side unless it counts its memory: then there is one."""

SQLITE_LIMIT_LENGTH = 0
"""As in `sqlite3`, which must not be imported before SQLite is told not to count."""

AHEAD = 10
"""How many pages are read ahead: about as much as a part holds, so that reading goes on while a
part is uploaded."""

SQLITE_AHEAD = 6
"""The same for SQLite, which has a page in memory several times while it makes it."""

Sizes = tuple[int, ...]
"""How many rows some pages are cut with."""


@dataclass(frozen=True)
class Span:
    """What is to become a page.

    Attributes:
        after: The key of the row before it; None for a span from the first row on.
        to: The key of its last row; None for a span up to the last row.
        rows: How many rows were in it when it was cut, at most.
    """

    after: Cursor | None
    to: Cursor | None
    rows: int


@dataclass(frozen=True)
class Page:
    """Rows that follow each other.

    Attributes:
        lines: Their lines of the document.
        rows: How many they are; at least one.
        cursor: The key of the last one, or of one after it; None when it is known that none follow.
        sizes: How many rows the next pages are cut with, for as many as are decided upon. Whoever
            goes on after the cursor with these gets the very same pages; None where nobody can.
    """

    lines: bytes
    rows: int
    cursor: Cursor | None
    sizes: Sizes | None = None


def readers(dialect: str) -> int:
    """How many connections read the pages of a large export in this process."""
    return READERS if dialect == "postgresql" or is_uncounted() else 1


class RowTooLargeError(Exception):
    """A row is more than `MAX_PAGE_BYTES`."""


@dataclass(frozen=True)
class Source:
    """A user's rows of a dataset, up to a snapshot.

    Attributes:
        database: Where they are.
        dataset: What they are.
        user_id: Whose.
        snapshot: The largest value of the dataset's snapshot; rows with larger ones came too late.
            None says that there was no row at all.
        since: Only rows of this time or later, if they are of one; None for no bound.
        until: Only rows before this time; None for no bound.
    """

    database: Database
    dataset: Dataset
    user_id: int
    snapshot: Any
    since: datetime | None = None
    until: datetime | None = None

    def count(self) -> int:
        """How many there are."""
        if self.snapshot is None:
            return 0
        with self.database.read() as session:
            statement = count_statement(self.dataset, self._period)
            return session.scalar(statement, self._mine) or 0

    def pages(self, after: Cursor | None, sizes: Sizes = ()) -> Generator[Page]:
        """All rows after a cursor, or all there are.

        Most exports have one page. If there are more, threads read ahead while the caller works on
        a page; they and their connections end with this generator, which must be closed.

        Args:
            after: The cursor.
            sizes: Those that came with it, for pages that end where they would have ended if this
                generator had begun earlier.

        Yields:
            Pages.

        Raises:
            RowTooLargeError: A row fits no page.
        """
        if self.snapshot is None:
            return
        with _reading(self.database) as connection:
            whole = Span(after, None, FIRST_PAGE_ROWS)
            page = None if sizes else self._read(connection, whole)
            if page is not None:
                yield from self._pages(connection, whole, page)
                return
            _read_by_index(connection)
            yield from self._ahead(connection, after, sizes or (whole.rows,))

    def _ahead(
        self, connection: sa.Connection, after: Cursor | None, sizes: Sizes
    ) -> Iterator[Page]:
        """The pages after a cursor; the readers take turns.

        How many rows a page is cut with follows from pages before it, never from how fast they
        were read: so the sizes of the next pages are all that is to be known to go on alike.
        """
        waiting: deque[tuple[Span, Future[Page | None]]] = deque()
        ahead = AHEAD if connection.dialect.name == "postgresql" else min(AHEAD, SQLITE_AHEAD)
        more = True
        with ExitStack() as stack:
            numbers = range(readers(connection.dialect.name))
            taking = cycle([stack.enter_context(self._reader(one)) for one in numbers])
            while more or waiting:
                while more and len(waiting) < len(sizes):
                    span = self._cut(connection, after, None, rows=sizes[len(waiting)])
                    waiting.append((span, next(taking)(span)))
                    after, more = span.to, span.to is not None
                read, page = waiting.popleft()
                following = _following(sizes, sizes[-1], ahead)
                for found in self._pages(connection, read, page.result()):
                    rows = 1 + PAGE_BYTES * found.rows // len(found.lines)
                    following = _following(sizes, min(MAX_PAGE_ROWS, rows), ahead)
                    is_last = found.cursor == read.to
                    yield replace(found, sizes=following) if is_last else found
                sizes = following

    @contextmanager
    def _reader(self, number: int) -> Iterator[Callable[[Span], Future[Page | None]]]:
        """A thread with a connection of its own, as what has it read a span."""
        with _reading(self.database) as connection:
            _read_by_index(connection)
            thread = ThreadPoolExecutor(1, thread_name_prefix=f"pages_{number}")
            try:
                yield lambda span: thread.submit(self._read, connection, span)
            finally:
                thread.shutdown(cancel_futures=True)

    def _pages(self, connection: sa.Connection, span: Span, page: Page | None) -> Iterator[Page]:
        """What came of a span: a page, none if nothing is left of it, more if it was too large."""
        if page is not None:
            yield from [page] if page.rows else []
            return
        part = Span(span.after, span.after, 0)
        while part.to != span.to or not part.rows:
            part = self._cut(connection, part.to, span.to, rows=max(1, span.rows // 8))
            if part == span:
                raise RowTooLargeError
            yield from self._pages(connection, part, self._read(connection, part))

    def _cut(
        self, connection: sa.Connection, after: Cursor | None, to: Cursor | None, *, rows: int
    ) -> Span:
        """The next `rows` rows between two cursors, or all of them if there are fewer."""
        statement = last_statement(self.dataset, self._period, *_bounds(after, to))
        values = {**self._mine, **_parameters(after, to), "offset": rows - 1}
        with connection.begin():
            last = connection.execute(statement, values).one_or_none()
        return Span(after, to if last is None else tuple(last), rows)

    def _read(self, connection: sa.Connection, span: Span) -> Page | None:
        """The page of a span; None when it is too large, or may be more than `MAX_PAGE_BYTES`.

        So it may be when there are more rows than there were: those of a transaction that took its
        numbers before the export began, and ended later.
        """
        dialect = connection.dialect.name
        bounds = _bounds(span.after, span.to)
        statement = page_statement(self.dataset, self._period, dialect, *bounds)
        values = {**self._mine, **_parameters(span.after, span.to), "limit": span.rows + 1}
        if dialect == "postgresql":
            values["most"] = MAX_PAGE_BYTES // span.rows
        try:
            with connection.begin():
                row = connection.execute(statement, values).one()
        except sa.exc.DataError:  # SQLite's
            return None
        most = MAX_PAGE_BYTES if span.rows == 1 else KEPT_BYTES
        if row.rows and not (row.fits and row.rows <= span.rows and len(row.lines) <= most):
            return None
        return Page(row.lines, row.rows, span.to)

    @property
    def _mine(self) -> dict[str, Any]:
        bounds = zip(("since", "until"), (self.since, self.until), self._period, strict=True)
        given = {name: time for name, time, is_asked in bounds if is_asked}
        return {"of": self.user_id, "snapshot": self.snapshot, **given}

    @property
    def _period(self) -> Period:
        if self.dataset.time_column is None:
            return WHOLE
        return self.since is not None, self.until is not None


def _following(sizes: Sizes, rows: int, ahead: int) -> Sizes:
    """The sizes after the first of them is read, which tells what the next can be.

    The first pages tell how large others are; until then few are decided upon.
    """
    more = min(ahead, len(sizes) + 1) - len(sizes) + 1
    return (*sizes[1:], *[rows] * more)


def _bounds(after: Cursor | None, to: Cursor | None) -> tuple[bool, bool]:
    return after is not None, to is not None


def _parameters(after: Cursor | None, to: Cursor | None) -> dict[str, Any]:
    """The values of two cursors, by the names of the parameters in `statements`."""
    cursors = {"after": after or (), "to": to or ()}
    return {
        f"{name}_{number}": value
        for name, cursor in cursors.items()
        for number, value in enumerate(cursor)
    }


@contextmanager
def _reading(database: Database) -> Iterator[sa.Connection]:
    """A connection for many short statements: on PostgreSQL a page is one round trip.

    It may wait for long between two pages, so no transaction is left open, and none is needed.
    """
    with database.engine.connect() as connection, ExitStack() as stack:
        if connection.dialect.name == "sqlite":
            connection.execution_options(begin="BEGIN")
            driver: Any = connection.connection.driver_connection
            usual = driver.setlimit(SQLITE_LIMIT_LENGTH, MAX_PAGE_BYTES)
            stack.callback(driver.setlimit, SQLITE_LIMIT_LENGTH, usual)
        else:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            sa.event.listen(connection, "before_cursor_execute", _answer_in_bytes)
            stack.callback(_forget_settings, connection)
        yield connection


def _read_by_index(connection: sa.Connection) -> None:
    """Rule out that a page is cut from all posts, sorted anew each time.

    PostgreSQL thinks that this is cheapest while it has no statistics about a user, as after a bulk
    load. An export of one page is over before it matters.
    """
    if connection.dialect.name == "postgresql":
        connection.info["sorts"] = False  # before, for a time limit may come in between
        with connection.begin():
            connection.exec_driver_sql("SET enable_sort = off")


def _forget_settings(connection: sa.Connection) -> None:
    """Leave the connection to its next user as it was."""
    if connection.closed or connection.invalidated or connection.info.pop("sorts", True):
        return
    try:
        with connection.begin():
            connection.exec_driver_sql("RESET enable_sort")
    except sa.exc.DBAPIError:
        connection.invalidate()


def _answer_in_bytes(*given: Any) -> None:
    """Hand out a page as the bytes that are sent; a conversion of the server's takes longer."""
    _connection, cursor, _statement, _parameters, context, _many = given
    if context.execution_options.get("lines_as_bytes"):
        cursor.format = Format.BINARY
        cursor.adapters.register_loader("text", _Bytes)


class _Bytes(Loader):
    """Bytes as they are."""

    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        """Copy them out of libpq's buffer."""
        return bytes(data)
