"""Many posts into the ledger at once."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, cast

import sqlalchemy as sa

from chalicelib.db.engine import Database, UtcDateTime
from chalicelib.microblog.models import Post
from worker.importing.json_lines import PostLine

BATCH = 5000
"""How many rows go into one INSERT."""

MANY = 10_000
"""From so many rows on the database's statistics are brought up to date."""

POSTS = cast("sa.Table", Post.__table__)

LOADING = sa.Table(
    "loading",
    sa.MetaData(),
    sa.Column("body", sa.Text),
    sa.Column("timestamp", UtcDateTime),
    prefixes=["TEMPORARY"],
)


def store_posts(database: Database, posts: Iterable[PostLine], *, user_id: int) -> int:
    """Write posts in one transaction, in their order.

    Args:
        database: The ledger.
        posts: Read once, in flat memory; what it raises leaves nothing behind.
        user_id: Whose they become.

    Returns:
        How many.
    """
    with database.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            return _by_way_of_a_copy(connection, posts, user_id)
        with connection.begin():
            stored = _insert(connection, POSTS, posts, user_id=user_id)
            if stored >= MANY:
                # Left to itself, PostgreSQL notices within minutes; until then an export sorts
                # each page.
                connection.execute(sa.text("ANALYZE posts"))
    return stored


def _by_way_of_a_copy(connection: sa.Connection, posts: Iterable[PostLine], user_id: int) -> int:
    """Keep SQLite's other writers waiting for as long as SQLite copies, not as Python reads."""
    connection.detach()  # the copy goes with it
    connection.execution_options(begin="BEGIN")
    with connection.begin():
        LOADING.create(connection)
        stored = _insert(connection, LOADING, posts)
    connection.execution_options(begin="BEGIN IMMEDIATE")
    found = sa.select(sa.literal(user_id), *LOADING.c).order_by(sa.text("rowid"))
    with connection.begin():
        names = ["user_id", *LOADING.c.keys()]
        connection.execute(sa.insert(POSTS).from_select(names, found))
    return stored


def _insert(
    connection: sa.Connection, table: sa.Table, posts: Iterable[PostLine], **common: Any
) -> int:
    stored = 0
    for batch in _batches(posts):
        rows = [{"body": one.body, "timestamp": one.timestamp, **common} for one in batch]
        connection.execute(sa.insert(table), rows)
        stored += len(rows)
    return stored


def _batches(posts: Iterable[PostLine]) -> Iterator[list[PostLine]]:
    found = iter(posts)
    while batch := list(islice(found, BATCH)):
        yield batch
