"""Posts out of the database, page by page, in the order of time and number.

Pages are cut by a key, not an offset: each costs the same, a crash loses at most one, and no
transaction lasts longer than a page.

The database itself writes a page's lines of the document and joins them, in one statement. So a
page is one row of one value: the driver makes no object for a post, and Python, whose lock neither
libpq nor SQLite holds while it works, is free to hash and upload what came before. This and the
size of pages were chosen with `make bench`, beside rows that the driver hands over and orjson
writes. A page of `MAX_PAGE_ROWS` costs little more for each post than a much larger one.
"""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from sqlite3 import SQLITE_LIMIT_LENGTH
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from chalicelib.db import Database
from chalicelib.fields import format_time, parse_time
from chalicelib.models import Post
from worker.export import document

PAGE_BYTES = 640 * 1024
"""About how much text a page holds, so that memory is flat whatever people write."""

MAX_PAGE_BYTES = 8 * 1024 * 1024
"""More text is never in a page; a post has at most 40,000 bytes, and always fits."""

FIRST_PAGE_ROWS = 2000
MAX_PAGE_ROWS = 2500

AHEAD = 10
"""How many pages are read ahead: about as much as a part holds, so that reading goes on while a
part is uploaded."""


Statement = sa.Select[*tuple[Any, ...]]


@dataclass(frozen=True)
class Cursor:
    """The place after a post, in the order of an export."""

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


@dataclass(frozen=True)
class Page:
    """Posts that follow each other.

    Attributes:
        lines: Their lines of the document.
        posts: How many they are; at least one.
        cursor: The place after them.
        is_last: Whether it is known that no others follow.
    """

    lines: bytes
    posts: int
    cursor: Cursor
    is_last: bool


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
        statement = sa.select(sa.func.count()).select_from(Post).where(*self._mine())
        with self.database.read() as session:
            return session.scalar(statement) or 0

    def pages(self, after: Cursor | None) -> Generator[Page]:
        """All posts after a place, or all there are; on one connection, closed with the generator.

        Yields:
            Pages.
        """
        first, limit = after or BEGINNING, FIRST_PAGE_ROWS
        cursor = first
        with _reading(self.database) as connection:
            # Made once for all pages: that takes as long as reading a few hundred posts.
            statement = self._statement(by_size=connection.dialect.name != "sqlite")
            while True:
                try:
                    page = _page(connection, statement, cursor, limit)
                except _TooLargeError:
                    if limit == 1:
                        raise
                    limit = max(1, limit // 8)
                    continue
                if page is None:
                    return
                yield page
                if page.is_last:
                    return
                if cursor == first:
                    _read_by_index(connection)
                cursor = page.cursor
                limit = min(MAX_PAGE_ROWS, 1 + PAGE_BYTES * page.posts // len(page.lines))

    def _statement(self, *, by_size: bool) -> Statement:
        place = sa.tuple_(
            sa.bindparam("timestamp", type_=Post.timestamp.type),
            sa.bindparam("post_id", type_=Post.id.type),
        )
        found = (
            sa.select(Post.body, Post.timestamp, Post.id)
            .where(*self._mine(), sa.tuple_(Post.timestamp, Post.id) > place)
            .order_by(Post.timestamp, Post.id)
            .limit(sa.bindparam("limit", type_=sa.Integer))
        )
        return _page_of(found, by_size=by_size)

    def _mine(self) -> tuple[sa.ColumnElement[bool], ...]:
        return Post.user_id == self.user_id, Post.id <= self.cutoff


def ahead(pages: Generator[Page]) -> Generator[Page]:
    """The same pages, read by a thread while those before them are worked on.

    Most exports have one page, and need no thread. Where there is one, it ends with this generator,
    which must be closed.
    """
    try:
        first = next(pages, None)
        if first is None or first.is_last:
            yield from () if first is None else (first,)
            return
        with _reader() as reader:
            waiting = deque(reader.submit(next, pages, None) for _ in range(AHEAD))
            page: Page | None = first
            while page is not None:
                yield page
                page = waiting.popleft().result()
                waiting.append(reader.submit(next, pages, None))
    finally:
        pages.close()


@contextmanager
def _reader() -> Iterator[ThreadPoolExecutor]:
    """One thread, which ends with the block: the page that it reads is the last."""
    reader = ThreadPoolExecutor(1, thread_name_prefix="pages")
    try:
        yield reader
    finally:
        reader.shutdown(cancel_futures=True)


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
            sa.event.listen(connection, "before_cursor_execute", _answer_in_binary)
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
        with connection.begin():
            connection.exec_driver_sql("SET enable_sort = off")
        connection.info["sorts"] = False


def _forget_settings(connection: sa.Connection) -> None:
    """Leave the connection to its next user as it was."""
    if connection.closed or connection.invalidated or connection.info.pop("sorts", True):
        return
    try:
        with connection.begin():
            connection.exec_driver_sql("RESET enable_sort")
    except sa.exc.DBAPIError:
        connection.invalidate()


class _TooLargeError(Exception):
    """So many posts may be more than `MAX_PAGE_BYTES`."""


def _page(
    connection: sa.Connection, statement: Statement, cursor: Cursor, limit: int
) -> Page | None:
    values = {"timestamp": cursor.timestamp, "post_id": cursor.post_id, "limit": limit}
    if connection.dialect.name != "sqlite":
        values["most"] = MAX_PAGE_BYTES // limit
    try:
        with connection.begin():
            row = connection.execute(statement, values).one()
    except sa.exc.DataError as error:  # SQLite's
        raise _TooLargeError from error
    if not row.posts:
        return None
    if not row.fits:
        raise _TooLargeError
    is_last = row.posts < limit
    return Page(row.lines, row.posts, Cursor(row.timestamp, row.post_id), is_last)


def _answer_in_binary(_connection: sa.Connection, cursor: Any, *_: Any) -> None:
    """Bytes as they are: in text they would be twice as many hexadecimal digits."""
    cursor.format = type(cursor.format).BINARY


def _page_of(found: Statement, *, by_size: bool) -> Statement:
    """A page's lines, posts and cursor, out of posts in their order.

    Args:
        found: The posts: body, timestamp, id.
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
        sa.func.max(post.c.timestamp).label("timestamp"),
        last(post.c.id).label("post_id"),
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


class last(FunctionElement[int]):  # noqa: N801 - likewise
    """The last of some numbers."""

    type = sa.BigInteger()
    inherit_cache = True
    name = "last"


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
    return f"""'{{"body":' || {json} || ',"timestamp":"' || {time} || '"}}'"""


@compiles(utf8, "sqlite")
def _sqlite_utf8(element: utf8, compiler: Any, **kwargs: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **kwargs)} AS BLOB)"


@compiles(utf8, "postgresql")
def _postgresql_utf8(element: utf8, compiler: Any, **kwargs: Any) -> str:
    return f"convert_to({compiler.process(element.clauses, **kwargs)}, 'UTF8')"


@compiles(last, "sqlite")
def _sqlite_last(element: last, compiler: Any, **kwargs: Any) -> str:
    return (
        f"json_extract(json_group_array({compiler.process(element.clauses, **kwargs)}), '$[#-1]')"
    )


@compiles(last, "postgresql")
def _postgresql_last(element: last, compiler: Any, **kwargs: Any) -> str:
    return f"(array_agg({compiler.process(element.clauses, **kwargs)}))[count(*)]"
