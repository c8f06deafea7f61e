"""The form of `posts.json`."""

import json
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.exports.datasets import Dataset
from chalicelib.microblog.datasets import POSTS
from tests.harness.documents import lines
from worker.export import document
from worker.export.document import Document
from worker.export.pages import Page, Source
from worker.export.verify import verify

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TIME = "2026-01-02T03:04:05Z"

BODIES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@dataclass
class FakeSource:
    """Pages of posts that were made by hand."""

    made: list[Page]
    dataset: Dataset = POSTS

    def pages(self, after: object) -> Generator[Page]:
        """All of them."""
        assert after is None
        yield from self.made


def whole(bodies: list[str], *, page: int = 2) -> bytes:
    """A document of these posts, written in pages of so many."""
    posts = [(body, TIME) for body in bodies]
    pages = [posts[start : start + page] for start in range(0, len(posts), page)]
    source = FakeSource([Page(lines(one), len(one), None) for one in pages])
    written = Document(cast("Source", source), "susan", AT)
    pieces = list(written.pieces(None, {"posts": 0}))
    rows = {"posts": sum(piece.rows["posts"] for piece in pieces)}
    body = b"".join(data for piece in pieces for data in piece.data)
    return written.head() + body + written.tail(rows)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_members(count: int) -> None:
    """All members are there, `posts` before `count`."""
    data = whole(["x"] * count)
    found = json.loads(data)
    assert list(found) == ["version", "user", "exported_at", "posts", "count"]
    assert found["posts"] == [{"body": "x", "timestamp": TIME}] * count
    assert (found["count"], found["user"], found["exported_at"]) == (count, "susan", TIME)
    assert verify(BytesIO(data), [POSTS]).faults == ()


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
        "posts", "susan", AT.replace(microsecond=7)
    )
