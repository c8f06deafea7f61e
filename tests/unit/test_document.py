"""The form of `posts.json`."""

import hashlib
import json
from datetime import UTC, datetime
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.documents import lines
from worker.export import document
from worker.export.verify import verify

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TIME = "2026-01-02T03:04:05Z"

BODIES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


def whole(bodies: list[str], *, page: int = 2) -> bytes:
    """A document of these posts, written in pages of so many."""
    draft = document.Draft()
    draft.add(document.head("susan", AT))
    for start in range(0, len(bodies), page):
        posts = [(body, TIME) for body in bodies[start : start + page]]
        draft.add_lines(lines(posts), len(posts))
    draft.add(document.tail(draft.posts))
    assert draft.digest.hexdigest() == hashlib.sha256(draft.pending).hexdigest()
    assert draft.size_bytes == len(draft.pending)
    return bytes(draft.pending)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_members(count: int) -> None:
    """All members are there, `posts` before `count`."""
    data = whole(["x"] * count)
    found = json.loads(data)
    assert list(found) == ["version", "user", "exported_at", "posts", "count"]
    assert found["posts"] == [{"body": "x", "timestamp": TIME}] * count
    assert (found["count"], found["user"], found["exported_at"]) == (count, "susan", TIME)
    assert verify(BytesIO(data)).faults == ()


def test_one_post_a_line() -> None:
    """A post is a line, so that line tools and people can read a large file."""
    written = whole(["one\ntwo", "three"]).decode().splitlines()
    assert written[1:3] == [
        '{"body":"one\\ntwo","timestamp":"2026-01-02T03:04:05Z"},',
        '{"body":"three","timestamp":"2026-01-02T03:04:05Z"}',
    ]


@given(st.lists(BODIES), st.integers(min_value=1, max_value=4))
def test_bodies_come_back(bodies: list[str], page: int) -> None:
    """Bodies come back code point for code point, and pages leave no trace."""
    data = whole(bodies, page=page)
    assert [post["body"] for post in json.loads(data)["posts"]] == bodies
    assert data == whole(bodies, page=100)


def test_a_fraction_of_a_second() -> None:
    """The export's own time has six digits of fraction, or none."""
    assert b'"exported_at":"2026-01-02T03:04:05.000007Z"' in document.head(
        "susan", AT.replace(microsecond=7)
    )
