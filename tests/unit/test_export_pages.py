"""Posts out of the database: their order, their pages, and what is left out."""

import json
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool

from chalicelib.db.engine import Database
from chalicelib.exports.datasets import Cursor
from chalicelib.microblog.datasets import POSTS
from chalicelib.microblog.models import Post
from tests.conftest import both_databases
from tests.harness.ledgers import START, make_user, write_posts
from tests.harness.waiting import wait_until
from worker.export import pages
from worker.export.pages import Page, RowTooLargeError, Source

pytestmark = both_databases

ALL = 10**9


@pytest.fixture
def user_id(database: Database) -> int:
    """Somebody who writes."""
    return make_user(database)


def read(source: Source, after: Cursor | None = None) -> list[tuple[str, str]]:
    """All posts of a source."""
    return [post for page in source.pages(after) for post in posts_of(page)]


def posts_of(page: Page) -> list[tuple[str, str]]:
    """Body and timestamp of each post of a page."""
    posts = json.loads(b"[" + page.lines + b"]")
    assert page.rows == len(posts)
    return [(post["body"], post["timestamp"]) for post in posts]


def small_pages(monkeypatch: pytest.MonkeyPatch, size: int, *, ahead: int = pages.AHEAD) -> None:
    """Have pages of so many posts, and so many of them read ahead."""
    monkeypatch.setattr(pages, "FIRST_PAGE_ROWS", size)
    monkeypatch.setattr(pages, "MAX_PAGE_ROWS", size)
    monkeypatch.setattr(pages, "AHEAD", ahead)


def test_time_then_number(
    database: Database, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Posts come in the order of time; those of one moment in the order of their numbers."""
    small_pages(monkeypatch, 30)
    later = write_posts(database, user_id, ["later"], at=START + timedelta(microseconds=1))
    same = [f"same {number}" for number in range(95)]
    write_posts(database, user_id, same)
    write_posts(database, user_id, ["earlier"], at=START - timedelta(days=1))
    bodies = [body for body, _ in read(Source(database, POSTS, user_id, ALL))]
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
    assert read(Source(database, POSTS, user_id, ALL)) == [("x", shown)]


def test_pages_go_on_after_any_time(
    database: Database, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place after a post is exact, whatever its fraction: nothing twice, nothing left out."""
    small_pages(monkeypatch, 1)
    times = [datetime(1, 1, 1, tzinfo=UTC), START, START + timedelta(microseconds=1)]
    times += [START + timedelta(seconds=1), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)]
    for at in times:
        write_posts(database, user_id, ["a", "b"], at=at)
    assert [body for body, _ in read(Source(database, POSTS, user_id, ALL))] == ["a", "b"] * 5


def test_any_page_is_a_place_to_go_on(
    database: Database, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From each cursor, also one that went through a checkpoint, the rest follows."""
    small_pages(monkeypatch, 3)
    write_posts(database, user_id, [str(number) for number in range(10)])
    source = Source(database, POSTS, user_id, ALL)
    everything, seen = read(source), 0
    for page in source.pages(None):
        seen += page.rows
        if page.cursor is None:
            break
        cursor = POSTS.cursor_from_json(json.loads(json.dumps(POSTS.cursor_to_json(page.cursor))))
        assert cursor == page.cursor
        assert read(source, cursor) == everything[seen:]
    assert seen == 10


def test_what_comes_later_is_left_out(database: Database, user_id: int) -> None:
    """Posts are left out by number, whatever time they claim."""
    *_, snapshot = write_posts(database, user_id, ["in", "in"])
    write_posts(database, user_id, ["out"], at=START - timedelta(days=1))
    source = Source(database, POSTS, user_id, snapshot)
    assert [body for body, _ in read(source)] == ["in", "in"]
    assert source.count() == 2


def test_what_is_deleted_is_left_out(
    database: Database, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A post that is deleted before its page is read is not in it, and nothing else is lost."""
    small_pages(monkeypatch, 2, ahead=1)
    ids = write_posts(database, user_id, list("abcdef"))
    pages = Source(database, POSTS, user_id, ALL).pages(None)
    bodies = [body for body, _ in posts_of(next(pages))]
    with database.write() as session:  # the post where the cursor stands, and the next one
        session.execute(sa.delete(Post).where(Post.id.in_([ids[1], ids[2]])))
    bodies += [body for page in pages for body, _ in posts_of(page)]
    assert bodies == list("abdef")


def test_only_ones_own(database: Database, user_id: int) -> None:
    """Nobody else's posts are there."""
    write_posts(database, make_user(database, "david"), ["david's"])
    write_posts(database, user_id, ["susan's"])
    assert [body for body, _ in read(Source(database, POSTS, user_id, ALL))] == ["susan's"]


def test_nothing(database: Database, user_id: int) -> None:
    """Somebody without posts has no pages."""
    source = Source(database, POSTS, user_id, ALL)
    assert (read(source), source.count()) == ([], 0)


def test_huge_bodies_keep_pages_small(
    database: Database, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No page is larger than memory allows, even if huge posts follow small ones unforeseen."""
    small_pages(monkeypatch, 400, ahead=1)
    monkeypatch.setattr(pages, "MAX_PAGE_ROWS", 2500)
    monkeypatch.setattr(pages, "PAGE_BYTES", 100_000)
    monkeypatch.setattr(pages, "MAX_PAGE_BYTES", 800_000)
    monkeypatch.setattr(pages, "KEPT_BYTES", 150_000)
    bodies = ["small"] * 600 + [body * 10_000 for body in ["\U0001f600", "\x01"] * 50]
    bodies += ["small"] * 3000
    write_posts(database, user_id, bodies)
    found = list(Source(database, POSTS, user_id, ALL).pages(None))
    assert [body for page in found for body, _ in posts_of(page)] == bodies
    assert max(len(page.lines) for page in found) <= pages.KEPT_BYTES
    assert min(page.rows for page in found) < 10
    assert max(page.rows for page in found[-3:]) > 500


def test_a_body_that_fits_no_page(
    database: Database, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an error, not the end of an export that lacks what follows."""
    monkeypatch.setattr(pages, "MAX_PAGE_BYTES", 3000)
    write_posts(database, user_id, ["small", "x" * 5000, "small"])
    with pytest.raises(RowTooLargeError):
        read(Source(database, POSTS, user_id, ALL))


def test_pages_are_not_empty(
    database: Database, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A last page that is exactly full is not followed by an empty one."""
    small_pages(monkeypatch, 3)
    write_posts(database, user_id, list("abcdef"))
    pages = list(Source(database, POSTS, user_id, ALL).pages(None))
    assert [page.rows for page in pages] == [3, 3]
    assert all(one.cursor != other.cursor for one, other in pairwise(pages))


def threads() -> list[str]:
    """The readers that live."""
    return [one.name for one in threading.enumerate() if one.name.startswith("pages")]


def readers(database: Database) -> list[str]:
    """The threads that read a large export."""
    return [f"pages_{number}_0" for number in range(pages.readers(database.engine.dialect.name))]


def test_ahead(database: Database, user_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads read ahead, in turns, and end with the last page."""
    small_pages(monkeypatch, 3)
    bodies = [str(number) for number in range(100)]
    write_posts(database, user_id, bodies)
    read_by: list[list[str]] = []
    found: list[str] = []
    with closing(Source(database, POSTS, user_id, ALL).pages(None)) as pages:
        for page in pages:
            read_by.append(threads())
            found += [body for body, _ in posts_of(page)]
    assert found == bodies
    assert readers(database) in map(sorted, read_by)
    assert threads() == []


@pytest.mark.parametrize("posts", [0, 1, 2], ids=["none", "one", "less than a page"])
def test_one_page_needs_no_thread(
    database: Database, user_id: int, posts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is read ahead where nothing follows."""
    small_pages(monkeypatch, 3)
    write_posts(database, user_id, ["x"] * posts)
    with closing(Source(database, POSTS, user_id, ALL).pages(None)) as pages:
        assert [(page.rows, threads()) for page in pages] == ([(posts, [])] if posts else [])


def test_a_fault_of_a_thread(
    database: Database, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes wrong in a thread is raised where its pages are worked on, after those before."""
    small_pages(monkeypatch, 2)
    write_posts(database, user_id, list("abcdefgh"))
    asked: list[str] = []

    def fail(_: object, _cursor: object, statement: str, *_more: object) -> None:
        if "posts.body" in statement:
            asked.append(threading.current_thread().name)
            if asked[-1] == "pages_0_0" and asked.count("pages_0_0") == 2:
                raise OperationalError(statement, {}, Exception())

    sa.event.listen(database.engine, "before_cursor_execute", fail)
    with closing(Source(database, POSTS, user_id, ALL).pages(None)) as pages:
        good = len(readers(database))
        found = [body for page in islice(pages, good) for body, _ in posts_of(page)]
        with pytest.raises(OperationalError):
            next(pages)
    sa.event.remove(database.engine, "before_cursor_execute", fail)
    assert found == list("abcd"[: 2 * good])
    assert threads() == []


def test_who_stops_leaves_nothing(
    database: Database, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has had enough leaves neither a thread nor a connection behind."""
    small_pages(monkeypatch, 1)
    write_posts(database, user_id, ["x"] * 100)
    with closing(Source(database, POSTS, user_id, ALL).pages(None)) as pages:
        assert [page.rows for page in islice(pages, 3)] == [1] * 3
        assert sorted(threads()) == readers(database)
    assert threads() == []
    pool = database.engine.pool
    assert isinstance(pool, QueuePool)
    assert pool.checkedout() == 0


def test_no_transaction_waits_between_pages(
    database: Database, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload may take longer than the database lets a transaction wait, or a log should grow."""
    small_pages(monkeypatch, 1)
    write_posts(database, user_id, ["x"] * 3)
    connections: list[Any] = []
    sa.event.listen(database.engine, "checkout", lambda driver, *_: connections.append(driver))

    def busy(driver: Any) -> bool:
        if hasattr(driver, "in_transaction"):  # SQLite's
            return bool(driver.in_transaction)
        return bool(driver.info.transaction_status)

    for _ in Source(database, POSTS, user_id, ALL).pages(None):
        assert len(connections) == 1 + len(readers(database))
        wait_until(lambda: not any(map(busy, connections)), "what is read ahead is there")


def test_pages_are_read_by_the_index(
    database: Database, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No page after the first is cut from all posts, sorted, whatever is known of the user."""
    small_pages(monkeypatch, 100)
    write_posts(database, user_id, ["x" * 1000] * 1000)
    postgresql = database.engine.dialect.name == "postgresql"
    words = "EXPLAIN" if postgresql else "EXPLAIN QUERY PLAN"
    plans: list[str] = []

    def explain(_: object, cursor: Any, statement: str, parameters: Any, *_more: object) -> None:
        if "FROM posts" in statement:
            plan = cursor.connection.execute(f"{words} {statement}", parameters).fetchall()
            plans.append("\n".join(str(row[-1]) for row in plan))

    sa.event.listen(database.engine, "before_cursor_execute", explain)
    with closing(Source(database, POSTS, user_id, ALL).pages(None)) as pages:
        assert [page.rows for page in islice(pages, 5)] == [100] * 5
    sa.event.remove(database.engine, "before_cursor_execute", explain)
    assert len(plans) >= 10
    assert [plan for plan in plans[1:] if "Sort" in plan or "B-TREE" in plan] == []
    if postgresql:
        with database.read() as session:
            assert session.scalar(sa.text("SHOW enable_sort")) == "on"


def test_who_comes_late_is_not_too_much(
    database: Database, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Posts whose transaction ended between the cut and the reading make more pages of one."""
    small_pages(monkeypatch, 1, ahead=1)
    write_posts(database, user_id, ["a"])
    with closing(Source(database, POSTS, user_id, ALL).pages(None)) as pages:
        write_posts(database, user_id, ["c", "d"], at=START + timedelta(seconds=2))
        found = [body for body, _ in posts_of(next(pages))]
        write_posts(database, user_id, ["b", "b"], at=START + timedelta(seconds=1))
        found += [body for page in pages for body, _ in posts_of(page)]
    assert found == ["a", "b", "b", "c", "d"]
