"""Posts out of the database, page by page, in the order of time and number.

Pages are cut by a key, not an offset: each costs the same, a crash loses at most one, and no
transaction lasts longer than a page.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from chalicelib.db import Database
from chalicelib.fields import format_time, parse_time
from chalicelib.models import Post

PAGE_BYTES = 256 * 1024
"""About how much text a page holds, so that memory is flat whatever people write."""

FIRST_PAGE_ROWS = 200
MAX_PAGE_ROWS = 1000


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


@dataclass(frozen=True)
class Rows:
    """A page: pairs of body and timestamp (as the API writes it), and the place after it."""

    posts: list[tuple[str, str]]
    cursor: Cursor


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

    def pages(self, after: Cursor | None) -> Iterator[Rows]:
        """All posts after a place, or all there are.

        Yields:
            Pages of at least one post.
        """
        limit = FIRST_PAGE_ROWS
        while True:
            rows = self._page(after, limit)
            if not rows:
                return
            after = Cursor(parse_time(rows[-1][1]), rows[-1][2])
            yield Rows([(row[0], row[1]) for row in rows], after)
            if len(rows) < limit:
                return
            average = sum(len(row[0]) for row in rows) // len(rows) + 60
            limit = max(20, min(MAX_PAGE_ROWS, PAGE_BYTES // average))

    def _page(self, after: Cursor | None, limit: int) -> list[Any]:
        statement = (
            sa.select(Post.body, api_time(Post.timestamp), Post.id)
            .where(*self._mine())
            .order_by(Post.timestamp, Post.id)
            .limit(limit)
        )
        if after is not None:
            place = sa.tuple_(
                sa.bindparam("timestamp", after.timestamp, type_=Post.timestamp.type),
                sa.bindparam("post_id", after.post_id),
            )
            statement = statement.where(sa.tuple_(Post.timestamp, Post.id) > place)
        with self.database.read() as session:
            return list(session.execute(statement))

    def _mine(self) -> tuple[sa.ColumnElement[bool], ...]:
        return Post.user_id == self.user_id, Post.id <= self.cutoff


class api_time(FunctionElement[str]):  # noqa: N801 - it reads as an SQL function
    """A time as the API writes it, made by the database: six digits of fraction, or none."""

    type = sa.Text()
    inherit_cache = True
    name = "api_time"


@compiles(api_time, "sqlite")
def _sqlite_time(element: api_time, compiler: Any, **kwargs: Any) -> str:
    column = compiler.process(element.clauses, **kwargs)
    return f"replace(replace({column}, ' ', 'T') || 'Z', '.000000Z', 'Z')"


@compiles(api_time, "postgresql")
def _postgresql_time(element: api_time, compiler: Any, **kwargs: Any) -> str:
    column = compiler.process(element.clauses, **kwargs)
    text = f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
    return f"replace({text}, '.000000Z', 'Z')"
