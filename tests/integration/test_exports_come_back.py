"""What the export engine writes, readers of imports read; on both databases."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa

from chalicelib.db.engine import Database
from chalicelib.exports.archive import Choice
from chalicelib.microblog.datasets import POSTS
from chalicelib.microblog.models import Post
from tests.conftest import both_databases
from tests.harness.imports import everything, opened
from tests.harness.ledgers import make_user
from worker.export import local

pytestmark = both_databases

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PIECES = [
    *("a", "b ", " ", "  ", "\n", "\n\n", "\r\n", "\t", "<p>", "</p>", "&amp;", "&"),
    *('"', "\\", "'", "\u2028", "\x7f", "\x01", "\ufeff", "안녕", "\U0001f600", "e\u0301"),
    *("\ud7ff", "\uffff", "=1", "@bob", "#cats", "https://example.com/a?b=1&c=2"),
    *("</script>", "\\u0000", "\\n", "],", "},\n{"),
]  # fmt: skip


@pytest.fixture(name="posts")
def many_posts(database: Database, user_id: int) -> list[tuple[str, datetime]]:
    """Odd texts at odd times, some of them twice; as an export has them."""
    random = Random(12)
    texts = ["".join(random.choices(PIECES, k=random.randint(1, 20))) for _ in range(3000)]
    times = [START + timedelta(microseconds=random.choice([0, 1, 999_999, 10**6, 10**12]) * n)
             for n in random.sample(range(3000), 3000)]  # fmt: skip
    rows = [
        {"user_id": user_id, "body": text, "timestamp": time}
        for text, time in zip(texts, times, strict=True)
    ] * 2
    with database.write() as session:
        session.execute(sa.insert(Post), [*rows, rows[0] | {"body": "x" * 10_000}])
    with database.read() as session:
        query = sa.select(Post.body, Post.timestamp).order_by(Post.timestamp, Post.id)
        return [(body, timestamp) for body, timestamp in session.execute(query)]


def document_of(database: Database, user_id: int) -> bytes:
    file = io.BytesIO()
    writer = local.document(database, POSTS, user_id=user_id, now=START)
    local.write(writer, file, progress=lambda _percent: None)
    return file.getvalue()


def archive_of(database: Database, user_id: int, formats: Sequence[str]) -> bytes:
    file = io.BytesIO()
    choice = Choice((POSTS,), tuple(formats))
    about: dict[str, Any] = {"user_id": user_id, "now": START, "public_url": "https://a.example"}
    writer = local.archive(database, choice, **about)
    local.write(writer, file, progress=lambda _percent: None)
    return file.getvalue()


def test_a_document_comes_back(
    database: Database, user_id: int, posts: list[tuple[str, datetime]]
) -> None:
    """Every post, code point for code point and to the microsecond, in the order of the export."""
    content = document_of(database, user_id)
    assert opened(content).format == "carryout_posts"
    rows, rejected, skipped = everything(content)
    assert [(row.body, row.timestamp) for row in rows] == posts
    assert (rejected, skipped) == ([], 0)


@pytest.mark.parametrize(
    "formats", [["json"], ["ndjson"], ["activitystreams"], ["csv", "json", "activitystreams"]]
)
def test_an_archive_comes_back(
    database: Database, user_id: int, posts: list[tuple[str, datetime]], formats: list[str]
) -> None:
    """In whichever format it has them, and once if it has them in several."""
    content = archive_of(database, user_id, formats)
    assert opened(content).format == "carryout_archive"
    rows, rejected, skipped = everything(content)
    assert [(row.body, row.timestamp) for row in rows] == posts
    assert (rejected, skipped) == ([], 0)


@pytest.mark.parametrize("formats", [["json"], ["ndjson"], ["activitystreams"]])
def test_an_empty_account_comes_back(database: Database, formats: list[str]) -> None:
    """Nothing is something that can be imported."""
    nobody = make_user(database, "nobody")
    assert everything(document_of(database, nobody)) == ([], [], 0)
    content = archive_of(database, nobody, formats)
    assert opened(content).format == "carryout_archive"
    assert everything(content) == ([], [], 0)
