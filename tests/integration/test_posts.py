from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from chalicelib.db.engine import Database
from chalicelib.microblog import posts
from chalicelib.microblog.models import Post
from chalicelib.values.fields import parse_time
from chalicelib.values.paging import PAGE_BYTES, cursor
from tests.conftest import Join, both_databases
from tests.harness.people import Person, pointers, refused

LONG = 10_000

BODIES = [
    "x",
    " ",
    "<b>&amp;\r\n\t",
    "\u2028\u2029\ufeff\x07\x7f\u200b",
    "a\u0301",  # not made one character
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 한글 العربية",
    "x" * LONG,
    "\U0001f600" * LONG,  # characters, not bytes and not UTF-16 units
]


@both_databases
def test_bodies_come_back_as_they_went_in(susan: Person) -> None:
    """1 to 10,000 characters of any kind are kept code point for code point."""
    for body in BODIES:
        answer = susan.post("/v1/posts", {"body": body})
        assert answer.status_code == 201
        assert set(answer.json_body) == {"id", "body", "timestamp"}
        assert answer.json_body["body"] == body
        assert parse_time(answer.json_body["timestamp"])
        (newest,) = susan.get("/v1/users/susan/posts?limit=1").json_body["items"]
        assert newest == answer.json_body


@pytest.mark.parametrize("body", ["", "x" * (LONG + 1), "a\0b", "a\ud800b", 1, None, ["x"]])
def test_body_invalid(susan: Person, body: Any) -> None:
    """Anything else is refused and nothing is written."""
    problem = refused(susan.post("/v1/posts", {"body": body}), 422, "invalid")
    assert pointers(problem) == {"/body"}
    assert susan.get("/v1/me").json_body["post_count"] == 0


def write(database: Database, user_id: int, moments: list[datetime]) -> list[int]:
    """Add a post for each moment; return their ids."""
    with database.write() as session:
        return [posts.write_post(session, user_id, "x", now=at).id for at in moments]


@both_databases
def test_pages_hold_every_post_once(susan: Person, database: Database) -> None:
    """The newest comes first, posts of one moment are not lost, and no page is empty."""
    early, late = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)
    middle = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    moments = [middle, late, middle, early, middle.replace(microsecond=10), middle]
    ids = write(database, susan.user_id, moments)
    expected = [i for _, i in sorted(zip(moments, ids, strict=True), reverse=True)]

    for limit in (1, 2, 4, 100):
        found, path = [], f"/v1/users/susan/posts?limit={limit}"
        while path:
            answer = susan.get(path)
            assert 1 <= len(answer.json_body["items"]) <= limit
            found += [post["id"] for post in answer.json_body["items"]]
            link = answer.headers.get("Link", "")
            assert bool(link) == (answer.json_body["next"] is not None)
            path = link.removeprefix("<").removesuffix('>; rel="next"')
        assert found == expected


@both_databases
def test_page_goes_on_after_its_last_post_was_deleted(susan: Person, database: Database) -> None:
    """A cursor is a place, not a post."""
    ids = write(database, susan.user_id, [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)])
    first = susan.get("/v1/users/susan/posts?limit=2").json_body
    assert susan.delete(f"/v1/posts/{ids[1]}").status_code == 204
    rest = susan.get(f"/v1/users/susan/posts?limit=2&cursor={first['next']}").json_body
    assert [post["id"] for post in rest["items"]] == [ids[0]]
    assert rest["next"] is None


def test_twenty_to_a_page(susan: Person, database: Database) -> None:
    """Unless told otherwise a page has twenty items."""
    write(database, susan.user_id, [datetime(2026, 1, 1, tzinfo=UTC)] * 21)
    assert len(susan.get("/v1/users/susan/posts").json_body["items"]) == 20


@pytest.mark.parametrize("character", ["\U0001f600", "\1", "\\"])
def test_a_page_is_not_too_large(susan: Person, database: Database, character: str) -> None:
    """Where a hundred posts are more than Lambda can answer with, a page holds fewer of them."""
    ids = write(database, susan.user_id, [datetime(2026, 1, 1, tzinfo=UTC)] * 100)
    with database.write() as session:
        session.execute(sa.update(Post).values(body=10_000 * character))
    found, path = [], "/v1/users/susan/posts?limit=100"
    while path:
        answer = susan.get(path)
        assert len(answer.body) < 1.1 * PAGE_BYTES
        page = answer.json_body
        found += [post["id"] for post in page["items"]]
        path = f"/v1/users/susan/posts?limit=100&cursor={page['next']}" if page["next"] else ""
    assert found == sorted(ids, reverse=True)


CURSORS = [
    "",
    "x",
    "%",
    "====",
    "\u00e9",
    cursor(datetime(2026, 1, 1, tzinfo=UTC), "x"),
    cursor(datetime(2026, 1, 1, tzinfo=UTC), "9" * 30),
    cursor(datetime(2026, 1, 1, tzinfo=UTC), "1\0"),
    cursor(datetime(2026, 1, 1, tzinfo=UTC), ""),
]


@pytest.mark.parametrize("query", [f"cursor={text}" for text in CURSORS])
def test_cursor_that_is_none(susan: Person, query: str) -> None:
    """A cursor that did not come from `next` is refused."""
    problem = refused(susan.get(f"/v1/users/susan/posts?{query}"), 422, "invalid")
    assert pointers(problem) == {"?cursor"}


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "", "1.5", "1e9", "9" * 400])
def test_limit_out_of_bounds(susan: Person, limit: str) -> None:
    """A page has 1 to 100 items."""
    problem = refused(susan.get(f"/v1/users/susan/posts?limit={limit}"), 422, "invalid")
    assert pointers(problem) == {"?limit"}


def test_anybody_who_signed_in_reads(susan: Person, david: Person) -> None:
    """Posts of others can be read, in whatever case their name is asked for."""
    susan.post("/v1/posts", {"body": "x"})
    assert len(david.get("/v1/users/SUSAN/posts").json_body["items"]) == 1
    assert david.get("/v1/users/david/posts").json_body == {"items": [], "next": None}
    refused(david.get("/v1/users/nobody/posts"), 404, "not_found")


@both_databases
def test_delete(susan: Person, david: Person) -> None:
    """One's own post can be deleted once; another's answers as one that is not there."""
    post_id = susan.post("/v1/posts", {"body": "x"}).json_body["id"]
    foreign = refused(david.delete(f"/v1/posts/{post_id}"), 404, "not_found")
    assert susan.delete(f"/v1/posts/{post_id}").status_code == 204
    assert refused(susan.delete(f"/v1/posts/{post_id}"), 404, "not_found") == foreign


@both_databases
def test_delete_what_no_post_is_called(susan: Person) -> None:
    """Nothing is called that, and no number is too large to be looked for."""
    for post_id in ("0", "-1", "x", "1.0", "\u0661", "9" * 18, "9" * 19):
        refused(susan.delete(f"/v1/posts/{post_id}"), 404, "not_found")


@both_databases
def test_numbers_are_not_used_again(join: Join) -> None:
    """An export leaves out what is newer by its number, so numbers only rise."""
    susan = join("susan")
    first = susan.post("/v1/posts", {"body": "x"}).json_body["id"]
    susan.delete(f"/v1/posts/{first}")
    assert susan.post("/v1/posts", {"body": "x"}).json_body["id"] > first
