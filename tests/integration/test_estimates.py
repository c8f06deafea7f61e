"""How much there is: exact while that is little, near enough when it is much; on both databases."""

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from random import Random

import pytest
import sqlalchemy as sa

from chalicelib.db.engine import Database
from chalicelib.exports import estimates
from chalicelib.exports.account_data import DATASETS
from chalicelib.exports.estimates import Estimate, estimate, estimate_rows
from chalicelib.microblog.datasets import POSTS
from chalicelib.microblog.models import Post
from tests.conftest import both_databases
from tests.harness import seeds
from tests.harness.ledgers import START, launch, make_user, write_posts
from worker.export.local import document, write

pytestmark = both_databases

CACHED = (
    "_count_statement", "_count_all_statement", "_size_statement", "_sample_statement",
    "_ends_statement", "_hits_statement", "_window_size_statement",
)  # fmt: skip


@pytest.fixture
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hundredth of what is looked at; statements know the bounds, so they are built anew."""
    bounds = {
        "EXACT_ROWS": 100,
        "COUNTED_ROWS": 500,
        "SAMPLE_ROWS": 100,
        "WINDOWS": 100,
        "WINDOW_ROWS": 8,
        "MIN_HITS": 50,
    }
    for name, value in bounds.items():
        monkeypatch.setattr(estimates, name, value)
    for name in CACHED:
        getattr(estimates, name).cache_clear()
    yield
    for name in CACHED:
        getattr(estimates, name).cache_clear()


def look(database: Database, user_id: int, username: str = "susan") -> Estimate:
    (found,) = estimate(database, user_id, username, [POSTS])
    return found


def document_bytes(database: Database, user_id: int) -> int:
    out = BytesIO()
    now = START.replace(microsecond=123_456)
    writer = document(database, POSTS, user_id=user_id, now=now)
    write(writer, out, progress=lambda _percent: None)
    return len(out.getvalue())


def counted(database: Database, user_id: int) -> int:
    with database.read() as session:
        return session.scalar(sa.select(sa.func.count()).where(Post.user_id == user_id)) or 0


def is_near(found: int, true: int, within: float) -> bool:
    return abs(found - true) <= within * true


@pytest.mark.parametrize("bodies", [[], ["x"], ['"\n\u2028\U0001f600', "", "x" * 10_000, "é\x01"]])
def test_little_is_exact(database: Database, bodies: list[str]) -> None:
    """Rows and bytes are those of the document, whatever people write."""
    write_posts(database, make_user(database, "david"), ["somebody else's"])
    user_id = make_user(database)
    write_posts(database, user_id, bodies)
    if bodies:
        write_posts(database, user_id, ["later"], at=START.replace(microsecond=5))
    count = len(bodies) + bool(bodies)
    assert look(database, user_id) == Estimate(count, document_bytes(database, user_id))


@pytest.mark.usefixtures("small_bounds")
def test_more_is_counted_and_sampled(database: Database) -> None:
    """Between the bounds rows are exact, and the size is that of an even sample."""
    (susan, david) = seeds.make_users(database, 2)
    seeds.make_posts(database, [susan, david], 900)
    found = look(database, susan)
    assert found.rows == 450
    assert is_near(found.bytes, document_bytes(database, susan), 0.25)


@pytest.mark.usefixtures("small_bounds")
@pytest.mark.parametrize("users", [1, 3, 10])
def test_much_is_near_enough(database: Database, users: int) -> None:
    """Of a user who writes by turns with others, windows of the table tell how much there is."""
    ids = seeds.make_users(database, users)
    seeds.make_posts(database, ids, 20_000)
    found = look(database, ids[0])
    assert is_near(found.rows, 20_000 // users, 0.1)
    assert is_near(found.bytes, document_bytes(database, ids[0]), 0.25)


@pytest.mark.usefixtures("small_bounds")
def test_runs_of_rows_are_counted(database: Database) -> None:
    """Rows that were loaded many at once are met by chance alone: then everything is counted."""
    susan, david = seeds.make_users(database, 2)
    chance = Random(7)
    for _ in range(40):
        seeds.make_posts(database, [david], chance.randrange(400, 700))
        seeds.make_posts(database, [susan], chance.randrange(10, 40))
    assert counted(database, susan) > 500
    assert look(database, susan).rows == counted(database, susan)
    assert estimate_rows(database, susan, [POSTS]) == [counted(database, susan)]


@pytest.mark.usefixtures("small_bounds")
@pytest.mark.parametrize("before", [0, 100], ids=["hardly a window", "no window"])
def test_numbers_with_a_gap(database: Database, before: int) -> None:
    """Where the table's numbers leap, windows hold next to nothing; the count is still right."""
    write_posts(database, make_user(database, "david"), ["x"] * before)
    user_id = make_user(database)
    write_posts(database, user_id, ["x"] * 600)
    with database.write() as session:
        session.add(Post(id=2**40, user_id=user_id, body="far away", timestamp=START))
    assert look(database, user_id).rows == 601


@pytest.mark.usefixtures("small_bounds")
def test_some_of_a_table(database: Database) -> None:
    """The table's numbers say nothing of how many rows meet a condition."""
    user_id = make_user(database)
    write_posts(database, user_id, ["x"] * 600 + ["y"] * 600)
    some = replace(POSTS, where=(Post.body == "x",))
    assert [one.rows for one in estimate(database, user_id, "susan", [some])] == [600]


def test_every_dataset_has_one(database: Database) -> None:
    """All that is kept about an account is estimated in the order in which it was asked for."""
    user_id = make_user(database)
    launch(database, user_id)
    found = estimate(database, user_id, "susan", DATASETS)
    rows = {one.name: each.rows for one, each in zip(DATASETS, found, strict=True)}
    # The task is not over, so neither it nor its notification would be in an export now.
    assert rows == {
        "profile": 1,
        "tasks": 0,
        "notifications": 0,
        "sessions": 0,
        "emails": 0,
        "schedules": 0,
        "webhooks": 0,
        "audit": 1,
    }


def test_nothing_is_left_behind(database: Database) -> None:
    """What the estimate tells the planner is over with it."""
    user_id = make_user(database)
    look(database, user_id)
    with database.read() as session:
        if session.get_bind().dialect.name == "postgresql":
            for way in ("enable_sort", "enable_seqscan", "enable_bitmapscan"):
                assert session.scalar(sa.text(f"SHOW {way}")) == "on"
    assert look(database, user_id).seconds >= estimates.START_S
