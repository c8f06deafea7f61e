"""Posts out of the database: their order, their pages, and what is left out."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import sqlalchemy as sa

from chalicelib.db import Database
from chalicelib.models import Post
from tests.conftest import both_databases
from tests.ledgers import make_user
from tests.writers import START, write_posts
from worker.export import rows
from worker.export.rows import Cursor, Source

pytestmark = both_databases

ALL = 10**9


@pytest.fixture
def user_id(database: Database) -> int:
    """Somebody who writes."""
    return make_user(database)


def read(source: Source, after: Cursor | None = None) -> list[tuple[str, str]]:
    """All posts of a source."""
    return [post for page in source.pages(after) for post in page.posts]


def small_pages(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Have pages of so many posts."""
    monkeypatch.setattr(rows, "FIRST_PAGE_ROWS", size)
    monkeypatch.setattr(rows, "MAX_PAGE_ROWS", size)
    monkeypatch.setattr(rows, "PAGE_BYTES", 10**9)


def test_time_then_number(
    database: Database, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Posts come in the order of time; those of one moment in the order of their numbers."""
    small_pages(monkeypatch, 30)
    later = write_posts(database, user_id, ["later"], at=START + timedelta(microseconds=1))
    same = [f"same {number}" for number in range(95)]
    write_posts(database, user_id, same)
    write_posts(database, user_id, ["earlier"], at=START - timedelta(days=1))
    bodies = [body for body, _ in read(Source(database, user_id, ALL))]
    assert bodies == ["earlier", *same, "later"]
    assert later == [1]


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00Z"),
        (datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC), "0001-01-01T00:00:00.000001Z"),
        (datetime(999, 2, 3, tzinfo=UTC), "0999-02-03T00:00:00Z"),
        (datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), "1969-12-31T23:59:59.999999Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 600000, tzinfo=UTC), "2026-01-02T03:04:05.600000Z"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
        (datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_times(database: Database, user_id: int, at: datetime, shown: str) -> None:
    """A time has six digits of fraction or none, from the year 1 to the year 9999."""
    write_posts(database, user_id, ["x"], at=at)
    assert read(Source(database, user_id, ALL)) == [("x", shown)]


def test_pages_go_on_after_any_time(
    database: Database, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place after a post is exact, whatever its fraction: nothing twice, nothing left out."""
    small_pages(monkeypatch, 1)
    times = [datetime(1, 1, 1, tzinfo=UTC), START, START + timedelta(microseconds=1)]
    times += [START + timedelta(seconds=1), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)]
    for at in times:
        write_posts(database, user_id, ["a", "b"], at=at)
    assert [body for body, _ in read(Source(database, user_id, ALL))] == ["a", "b"] * 5


def test_any_page_is_a_place_to_go_on(
    database: Database, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From each cursor, also one that went through a checkpoint, the rest follows."""
    small_pages(monkeypatch, 3)
    write_posts(database, user_id, [str(number) for number in range(10)])
    source = Source(database, user_id, ALL)
    everything, seen = read(source), 0
    for page in source.pages(None):
        seen += len(page.posts)
        cursor = Cursor.from_json(page.cursor.to_json())
        assert cursor == page.cursor
        assert read(source, cursor) == everything[seen:]


def test_what_comes_later_is_left_out(database: Database, user_id: int) -> None:
    """Posts are left out by number, whatever time they claim."""
    *_, cutoff = write_posts(database, user_id, ["in", "in"])
    write_posts(database, user_id, ["out"], at=START - timedelta(days=1))
    source = Source(database, user_id, cutoff)
    assert [body for body, _ in read(source)] == ["in", "in"]
    assert source.count() == 2


def test_what_is_deleted_is_left_out(
    database: Database, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A post that is deleted before its page is read is not in it, and nothing else is lost."""
    small_pages(monkeypatch, 2)
    ids = write_posts(database, user_id, list("abcdef"))
    pages = Source(database, user_id, ALL).pages(None)
    bodies = [body for body, _ in next(pages).posts]
    with database.write() as session:  # the post where the cursor stands, and the next one
        session.execute(sa.delete(Post).where(Post.id.in_([ids[1], ids[2]])))
    bodies += [body for page in pages for body, _ in page.posts]
    assert bodies == list("abdef")


def test_only_ones_own(database: Database, user_id: int) -> None:
    """Nobody else's posts are there."""
    write_posts(database, make_user(database, "david"), ["david's"])
    write_posts(database, user_id, ["susan's"])
    assert [body for body, _ in read(Source(database, user_id, ALL))] == ["susan's"]


def test_nothing(database: Database, user_id: int) -> None:
    """Somebody without posts has no pages."""
    source = Source(database, user_id, ALL)
    assert (read(source), source.count()) == ([], 0)


def test_huge_bodies_keep_pages_small(
    database: Database, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a few huge posts a page holds few of them; after small ones it holds many again."""
    monkeypatch.setattr(rows, "FIRST_PAGE_ROWS", 25)
    write_posts(database, user_id, ["\U0001f600" * 10_000] * 300)
    write_posts(database, user_id, ["small"] * 1500, at=START + timedelta(days=1))
    sizes = [len(page.posts) for page in Source(database, user_id, ALL).pages(None)]
    huge = [size for size in sizes[:-3] if size < 100]
    assert max(huge) <= rows.PAGE_BYTES // 10_000
    assert sum(sizes) == 1800
    assert max(sizes) > 500


def test_pages_are_not_empty(
    database: Database, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A last page that is exactly full is not followed by an empty one."""
    small_pages(monkeypatch, 3)
    write_posts(database, user_id, list("abcdef"))
    pages = list(Source(database, user_id, ALL).pages(None))
    assert [len(page.posts) for page in pages] == [3, 3]
    assert all(one.cursor != other.cursor for one, other in pairwise(pages))
