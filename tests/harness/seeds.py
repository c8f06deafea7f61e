"""Users, posts and tasks by the hundred thousand, the same in every run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from chalicelib.accounts.passwords import NOBODY
from chalicelib.accounts.secrets import digest
from chalicelib.db.engine import Database, connect
from chalicelib.db.models import Task, Token, User
from chalicelib.microblog.models import Post
from infra.local.demo import PHRASES
from tests.harness.servers import as_owner

FIRST_POST = datetime(2024, 2, 29, 23, 59, 58, tzinfo=UTC)
TEXT = " ".join(PHRASES * 3)
MEAN_CHARACTERS = 220
ROWS = 5_000
"""Of one statement, or of one transaction of posts."""

POSTS_AT_ONCE = 1_000_000

STRIDE = 7_654_321
"""A prime: multiples of it, modulo any other number, come in no order that a disk could use."""


def make_users(database: Database, count: int) -> list[int]:
    """Users whom no password lets in; return their numbers."""
    first = str(uuid4())[:13]
    names = [f"{first}-{number}" for number in range(count)]
    now = datetime.now(UTC)
    common = {"password_hash": NOBODY, "language": "en", "created_at": now, "confirmed_at": now}
    rows = [{"username": name, "email": f"{name}@example.com", **common} for name in names]
    insert(database, User, rows)
    with database.read() as session:
        statement = sa.select(User.id).where(User.username.startswith(f"{first}-"))
        return list(session.scalars(statement.order_by(User.id)))


def make_posts(
    database: Database, users: Sequence[int], count: int, *, scattered: bool = False
) -> None:
    """Posts of some 220 characters in many languages, two at each moment, the users in turns.

    Args:
        database: The ledger.
        users: Numbers without a gap.
        count: How many posts they have together; no multiple of `STRIDE` where they are scattered.
        scattered: Whether their times follow in another order than they are written.
    """
    dialect = database.engine.dialect.name
    order = count if scattered else None
    for first in range(0, count, POSTS_AT_ONCE):
        last = min(count, first + POSTS_AT_ONCE)
        with _owner(database) as owner, owner.write() as session:
            if dialect == "postgresql":
                # The posts are known to have a user: a look for each would take most of the time.
                session.execute(sa.text("SET LOCAL session_replication_role = replica"))
            session.execute(_insert_posts(dialect, users, first, last, order))


def settle(database: Database) -> None:
    """Leave nothing that a reader would have to tidy up first."""
    if database.engine.dialect.name == "postgresql":
        with _owner(database) as owner:
            autocommit = owner.engine.execution_options(isolation_level="AUTOCOMMIT")
            with autocommit.connect() as one:
                one.exec_driver_sql("VACUUM ANALYZE")
                one.exec_driver_sql("CHECKPOINT")


@contextmanager
def _owner(database: Database) -> Iterator[Database]:
    """The same ledger for its owner: the application's role may do neither of these things."""
    url = database.engine.url.render_as_string(hide_password=False)
    owner = connect(as_owner(url), pool_size=0)
    yield owner
    owner.close()


def _insert_posts(
    dialect: str, users: Sequence[int], first: int, last: int, scattered_over: int | None
) -> Any:
    number = _numbers(dialect, first, last)
    characters = sa.cast(number * 104_729 % (2 * MEAN_CHARACTERS) + 10, sa.Integer)
    start = sa.cast(number * 7_919 % (len(TEXT) - 2 * MEAN_CHARACTERS) + 1, sa.Integer)
    text: sa.ColumnElement[str] = sa.func.substr(sa.literal(TEXT), start, characters)
    body = sa.literal("#") + sa.cast(number, sa.Text) + " " + text
    user = users[0] + number % len(users)
    place = number if scattered_over is None else number * STRIDE % scattered_over
    return sa.insert(Post).from_select(
        ["user_id", "body", "timestamp"], sa.select(user, body, _moment(dialect, place))
    )


def _numbers(dialect: str, first: int, last: int) -> sa.ColumnElement[int]:
    if dialect == "postgresql":
        series = sa.func.generate_series(first, last - 1, type_=sa.BigInteger)
        return series.column_valued("number")
    numbers = sa.select(sa.literal(first).label("number")).cte("numbers", recursive=True)
    following = sa.select(numbers.c.number + 1).where(numbers.c.number < last - 1)
    return numbers.union_all(following).c.number


def _moment(dialect: str, number: sa.ColumnElement[int]) -> sa.ColumnElement[Any]:
    """The time of a post; half of them have a fraction of a second."""
    if dialect == "postgresql":
        passed_s = number // 2 * sa.literal(0.75, sa.Double)
        return sa.literal(FIRST_POST) + sa.func.make_interval(0, 0, 0, 0, 0, 0, passed_s)
    offset = sa.cast(number // 2 * sa.literal(0.75, sa.Double), sa.Text) + " seconds"
    base = FIRST_POST.strftime("%Y-%m-%d %H:%M:%S")
    return sa.func.strftime("%Y-%m-%d %H:%M:%f", base, offset) + "000"


def make_tokens(database: Database, users: Sequence[int]) -> list[str]:
    now = datetime.now(UTC)
    tokens = [str(uuid4()) for _ in users]
    rows = [
        {
            "digest": digest(token),
            "user_id": user,
            "created_at": now,
            "expires_at": now + timedelta(days=1),
        }
        for user, token in zip(users, tokens, strict=True)
    ]
    insert(database, Token, rows)
    return tokens


def queue_tasks(database: Database, users: Sequence[int], name: str) -> list[str]:
    """A queued task for each user, without a job; return their ids."""
    now = datetime.now(UTC)
    common = {
        "name": name,
        "params": {"seconds": 0} if name == "example" else {},
        "status": "queued",
        "max_attempts": 5,
        "created_at": now,
        "queued_at": now,
        "due_at": now,
    }
    ids = [str(uuid4()) for _ in users]
    rows = [
        {"id": task_id, "user_id": user, **common} for task_id, user in zip(ids, users, strict=True)
    ]
    insert(database, Task, rows)
    return ids


def insert(database: Database, table: type[Any], rows: list[dict[str, Any]]) -> None:
    """Insert rows, some thousand in a transaction."""
    for first in range(0, len(rows), ROWS):
        with database.write() as session:
            session.execute(sa.insert(table), rows[first : first + ROWS])
