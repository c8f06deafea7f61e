"""Posts out of the database, page by page, in the order of time and number.

Pages are cut by a key, not an offset: each costs the same, a crash loses at most one, and no
transaction lasts longer than a page.

The database itself writes a page's lines of the document and joins them, in one statement. So a
page is one row of one value: the driver makes no object for a post, and Python, whose lock neither
libpq nor SQLite holds while it works, is free to hash and upload what came before. To write the
lines is most of the work, so two connections do it for a large export; where its pages end, the
index alone tells before. All this and the size of pages were chosen with `make bench`, beside rows
that the driver hands over and orjson writes.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle
from sqlite3 import SQLITE_LIMIT_LENGTH
from typing import Any

import sqlalchemy as sa
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from chalicelib.db.engine import Database
from chalicelib.microblog.models import Post
from chalicelib.values.fields import format_time, parse_time
from worker.export import document

PAGE_BYTES = 640 * 1024
"""About how much text a page holds, so that memory is flat whatever people write."""

MAX_PAGE_BYTES = 4 * 1024 * 1024
"""More text is never in a page; a post has at most 40,000 bytes, and always fits."""

KEPT_BYTES = 3 * PAGE_BYTES
"""A page with more than this is not kept: it is read again in smaller ones, for many may wait at
once, and the JSON of a text may be six times as long as the text."""

FIRST_PAGE_ROWS = 2000
MAX_PAGE_ROWS = 2500

READERS = {"postgresql": 2, "sqlite": 1}
"""How many connections read the pages of a large export. A server has a process for each; of what
SQLite does in one process, two threads do hardly more than one."""

AHEAD = 10
"""How many pages are read ahead: about as much as a part holds, so that reading goes on while a
part is uploaded."""


Statement = sa.Select[*tuple[Any, ...]]


@dataclass(frozen=True)
class Cursor:
    """The place after a post, in the order of an export; the post may be gone."""

    timestamp: datetime
    post_id: int

    def to_json(self) -> list[Any]:
        """As a checkpoint holds it."""
        return [format_time(self.timestamp), self.post_id]

    @classmethod
    def from_json(cls, value: list[Any]) -> "Cursor":
        """From a checkpoint."""
        return cls(parse_time(value[0]), value[1])


BEGINNING = Cursor(datetime.min.replace(tzinfo=UTC), 0)
"""The place before all posts."""

END = Cursor(datetime.max.replace(tzinfo=UTC), 2**63 - 1)
"""The place after all posts."""


@dataclass(frozen=True)
class Span:
    """What is to become a page.

    Attributes:
        after: The place before it.
        to: The place after it.
        rows: How many posts were in it when it was cut, at most.
    """

    after: Cursor
    to: Cursor
    rows: int


@dataclass(frozen=True)
class Page:
    """Posts that follow each other.

    Attributes:
        lines: Their lines of the document.
        posts: How many they are; at least one.
        cursor: The place after them.
    """

    lines: bytes
    posts: int
    cursor: Cursor


class PostTooLargeError(Exception):
    """A post is more than `MAX_PAGE_BYTES`."""


@dataclass(frozen=True)
class Source:
    """A user's posts up to a number.

    Attributes:
        database: Where they are.
        user_id: Whose.
        cutoff: The highest number; posts with higher ones came too late.
    """

    database: Database
    user_id: int
    cutoff: int

    def count(self) -> int:
        """How many there are."""
        with self.database.read() as session:
            return session.scalar(_COUNT, self._mine) or 0

    def pages(self, after: Cursor | None) -> Generator[Page]:
        """All posts after a place, or all there are.

        Most exports have one page. Where there are more, threads read the next ones while the
        caller works; they and their connections end with this generator, which must be closed.

        Yields:
            Pages.
        """
        with _reading(self.database) as connection:
            whole = Span(after or BEGINNING, END, FIRST_PAGE_ROWS)
            page = self._read(connection, whole)
            if page is not None:
                yield from self._pages(connection, whole, page)
                return
            _read_by_index(connection)
            first = self._cut(connection, whole.after, END, rows=whole.rows)
            yield from self._ahead(connection, first)

    def _ahead(self, connection: sa.Connection, first: Span) -> Iterator[Page]:
        """The pages from a span on; the readers take turns."""
        span: Span | None = first
        rows, seen = first.rows, 0
        waiting: deque[tuple[Span, Future[Page | None]]] = deque()
        with ExitStack() as stack:
            numbers = range(READERS[connection.dialect.name])
            readers = cycle([stack.enter_context(self._reader(one)) for one in numbers])
            while span or waiting:
                # The first pages tell how large others are; until then few are read ahead.
                while span and len(waiting) < min(AHEAD, 1 + seen):
                    waiting.append((span, next(readers)(span)))
                    more = span.to != END
                    span = self._cut(connection, span.to, END, rows=rows) if more else None
                read, page = waiting.popleft()
                for found in self._pages(connection, read, page.result()):
                    yield found
                    seen += 1
                    rows = min(MAX_PAGE_ROWS, 1 + PAGE_BYTES * found.posts // len(found.lines))

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
            yield from [page] if page.posts else []
            return
        after = span.after
        while after != span.to:
            part = self._cut(connection, after, span.to, rows=max(1, span.rows // 8))
            if part == span:
                raise PostTooLargeError
            yield from self._pages(connection, part, self._read(connection, part))
            after = part.to

    def _cut(self, connection: sa.Connection, after: Cursor, to: Cursor, *, rows: int) -> Span:
        """The next so many posts between two places, or all where there are fewer."""
        values = {**self._mine, **_places(after, to), "offset": rows - 1}
        with connection.begin():
            last = connection.execute(_LAST, values).one_or_none()
        return Span(after, to if last is None else Cursor(*last), rows)

    def _read(self, connection: sa.Connection, span: Span) -> Page | None:
        """The page of a span; None when it is too large, or may be more than `MAX_PAGE_BYTES`.

        So it may be when there are more posts than there were: those of a transaction that took its
        numbers before the export began, and ended later.
        """
        values = {**self._mine, **_places(span.after, span.to), "limit": span.rows + 1}
        dialect = connection.dialect.name
        if dialect == "postgresql":
            values["most"] = MAX_PAGE_BYTES // span.rows
        try:
            with connection.begin():
                row = connection.execute(_PAGES[dialect], values).one()
        except sa.exc.DataError:  # SQLite's
            return None
        if row.posts and not (
            row.fits and row.posts <= span.rows and (span.rows == 1 or len(row.lines) <= KEPT_BYTES)
        ):
            return None
        return Page(row.lines, row.posts, span.to)

    @property
    def _mine(self) -> dict[str, Any]:
        return {"of": self.user_id, "cutoff": self.cutoff}


def _place(name: str) -> sa.ColumnElement[Any]:
    return sa.tuple_(
        sa.bindparam(f"{name}_time", type_=Post.timestamp.type),
        sa.bindparam(f"{name}_id", type_=Post.id.type),
    )


def _places(after: Cursor, to: Cursor) -> dict[str, Any]:
    return {
        "after_time": after.timestamp,
        "after_id": after.post_id,
        "to_time": to.timestamp,
        "to_id": to.post_id,
    }


@contextmanager
def _reading(database: Database) -> Iterator[sa.Connection]:
    """A connection for many short statements: on PostgreSQL a page is one round trip.

    It may wait for long between two pages, so no transaction is left open, and none is needed.
    """
    with database.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.execution_options(begin="BEGIN")
            driver: Any = connection.connection.driver_connection
            # Stays with the connection; nothing else in the ledger comes near it.
            driver.setlimit(SQLITE_LIMIT_LENGTH, MAX_PAGE_BYTES)
        else:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            sa.event.listen(connection, "before_cursor_execute", _answer_in_bytes)
        try:
            yield connection
        finally:
            _forget_settings(connection)


def _read_by_index(connection: sa.Connection) -> None:
    """Rule out that a page is cut from all posts, sorted anew each time.

    PostgreSQL thinks that this is cheapest while it has no statistics about a user, as after a bulk
    load. An export of one page is over before it matters.
    """
    if connection.dialect.name == "postgresql":
        connection.info["sorts"] = False  # before, for an alarm may ring in between
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


def _answer_in_bytes(_connection: sa.Connection, cursor: Any, *_: Any) -> None:
    """Hand out text as the bytes that it is sent as; a conversion of the server's takes longer."""
    cursor.format = Format.BINARY
    cursor.adapters.register_loader("text", _Bytes)


class _Bytes(Loader):
    """Bytes as they are."""

    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        """Copy them out of libpq's buffer."""
        return bytes(data)


def _page_of(found: Statement, *, by_size: bool) -> Statement:
    """A page's lines and posts, out of posts in their order.

    Args:
        found: The posts: body, timestamp.
        by_size: Whether posts above a size are left out and `fits` says that there are some.
            SQLite needs no such care: it gives up on too large a value by itself.
    """
    post = found.subquery()
    line: sa.ColumnElement[Any] = post_line(post.c.body, post.c.timestamp)
    fits: sa.ColumnElement[bool] = sa.true()
    if by_size:
        is_small = sa.func.octet_length(post.c.body) <= sa.bindparam("most", type_=sa.Integer)
        line, fits = sa.case((is_small, line)), sa.func.bool_and(is_small)
    return sa.select(
        utf8(sa.func.aggregate_strings(line, document.BETWEEN.decode())).label("lines"),
        sa.func.count().label("posts"),
        fits.label("fits"),
    )


class api_time(FunctionElement[str]):  # noqa: N801 - it reads as an SQL function
    """A time as the API writes it: six digits of fraction, or none."""

    type = sa.Text()
    inherit_cache = True
    name = "api_time"


class post_line(FunctionElement[str]):  # noqa: N801 - likewise
    """A post's line of the document, of its body and its timestamp.

    Both databases escape what orjson escapes, and as it does; tests compare.
    """

    type = sa.Text()
    inherit_cache = True
    name = "post_line"


class utf8(FunctionElement[bytes]):  # noqa: N801 - likewise
    """Text as the bytes that it is stored as, so that nothing decodes it to encode it again."""

    type = sa.LargeBinary()
    inherit_cache = True
    name = "utf8"


@compiles(api_time, "sqlite")
def _sqlite_time(element: api_time, compiler: Any, **kwargs: Any) -> str:
    column = compiler.process(element.clauses, **kwargs)
    return f"replace(replace({column}, ' ', 'T') || 'Z', '.000000Z', 'Z')"


@compiles(api_time, "postgresql")
def _postgresql_time(element: api_time, compiler: Any, **kwargs: Any) -> str:
    column = compiler.process(element.clauses, **kwargs)
    text = f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
    return f"replace({text}, '.000000Z', 'Z')"


@compiles(post_line)
def _post_line(element: post_line, compiler: Any, **kwargs: Any) -> str:
    body, timestamp = element.clauses
    text = compiler.process(body, **kwargs)
    json = f"json_quote({text})" if compiler.dialect.name == "sqlite" else f"to_json({text})::text"
    time = compiler.process(api_time(timestamp), **kwargs)
    # In brackets, so that a long body is copied twice and not four times.
    return f"""'{{"body":' || ({json} || (',"timestamp":"' || {time} || '"}}'))"""


@compiles(utf8, "sqlite")
def _sqlite_utf8(element: utf8, compiler: Any, **kwargs: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **kwargs)} AS BLOB)"


@compiles(utf8, "postgresql")
def _postgresql_utf8(element: utf8, compiler: Any, **kwargs: Any) -> str:
    return str(compiler.process(element.clauses, **kwargs))  # see `_answer_in_bytes`


_MINE = Post.user_id == sa.bindparam("of"), Post.id <= sa.bindparam("cutoff")


def _between(*columns: Any) -> Statement:
    key = sa.tuple_(Post.timestamp, Post.id)
    return (
        sa.select(*columns)
        .where(*_MINE, key > _place("after"), key <= _place("to"))
        .order_by(Post.timestamp, Post.id)
    )


# Statements are made once: that takes as long as to read a few hundred posts.
_COUNT = sa.select(sa.func.count()).select_from(Post).where(*_MINE)
_LAST = _between(Post.timestamp, Post.id).offset(sa.bindparam("offset", type_=sa.Integer)).limit(1)
_FOUND = _between(Post.body, Post.timestamp).limit(sa.bindparam("limit", type_=sa.Integer))
_PAGES = {
    "postgresql": _page_of(_FOUND, by_size=True),
    "sqlite": _page_of(_FOUND, by_size=False),
}
