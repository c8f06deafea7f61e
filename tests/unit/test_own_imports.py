import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.imports import (
    HEAD,
    as_export,
    as_lines,
    everything,
    gathered,
    opened,
    refusal,
)
from tests.harness.imports import own_post as post
from worker.importing.opening import open_import
from worker.importing.reading import Limits, Rejected, Row

TIME = "2022-11-05T10:00:00Z"
MOMENT = datetime(2022, 11, 5, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (as_lines(post("a")), "json_lines"),
        (as_lines(post("a", id=5)), "json_lines"),
        (as_lines({"id": 5, "posts": "none", **post("a")}), "json_lines"),
        (as_lines("no post", post("a")), "json_lines"),
        (b"no json\n" + as_lines(post("a")), "json_lines"),
        (b"\n\n" + as_lines(post("a")), "json_lines"),
        (as_lines(post("a")).replace(b"\n", b"\r\n"), "json_lines"),
        (as_export(), "carryout_posts"),
        (as_export(post("a")), "carryout_posts"),
        (json.dumps({"posts": [post("a")]}, indent=2).encode(), "carryout_posts"),
        (b"\xef\xbb\xbf" + as_lines(post("a")), "json_lines"),
        (b"\xef\xbb\xbf \r\n" + as_export(post("a")), "carryout_posts"),
    ],
)
def test_the_format_is_told_from_the_content(content: bytes, name: str) -> None:
    """A file needs no name; marks and white space before it do not matter."""
    assert opened(content).format == name
    list(opened(content))  # and it can be read


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"{}", b"[]", b"null", b"hello", b"<html>", b"\0" * 100, b'{"posts":5}'],
)
def test_a_format_that_nobody_knows(content: bytes) -> None:
    """What is no import at all is refused with a code and a sentence."""
    assert refusal(content) == "unknown_format"


def test_posts_come_in_as_they_were_exported() -> None:
    """Each post of an export is a row, code point for code point, to the microsecond."""
    bodies = ["a", "\u2028\x7f\u0001", "안녕 \U0001f600", 'q"\\/', "x" * 10_000]
    moment = "2022-11-05T10:00:00.000600Z"

    rows, rejected, skipped = everything(as_export(*[post(body, moment) for body in bodies]))

    expected = MOMENT.replace(microsecond=600)
    assert rows == [Row(number, body, expected) for number, body in enumerate(bodies, 1)]
    assert (rejected, skipped) == ([], 0)


BAD = [
    (5, "not_an_object"),
    (["body"], "not_an_object"),
    ({"timestamp": TIME}, "body_missing"),
    (post(None), "body_not_text"),
    (post(12345), "body_not_text"),
    (post(""), "body_empty"),
    (post("x" * 10_001), "body_too_long"),
    (post("a\0"), "body_not_storable"),
    (post("a\ud800"), "body_not_storable"),
    ({"body": "a"}, "timestamp_missing"),
    (post("a", 5), "timestamp_invalid"),
    (post("a", "yesterday"), "timestamp_invalid"),
    (post("a", "2026-02-30T03:04:05Z"), "timestamp_invalid"),
    (post("a", "0000-01-01T00:00:00Z"), "timestamp_invalid"),
    (post("a", extra="x" * 1024 * 1024), "too_long"),
]


@pytest.mark.parametrize(("entry", "reason"), BAD, ids=lambda one: str(one)[:30])
@pytest.mark.parametrize("write", [as_lines, as_export])
def test_a_bad_post_is_left_out_and_the_rest_comes_in(entry: Any, reason: str, write: Any) -> None:
    """What `POST /v1/posts` would refuse is reported by its position and a stable code."""
    content = write(post("a"), entry, post("b")).replace(b"12345", b"1" * 5000)
    rows, rejected, _ = everything(content)

    assert rows == [Row(1, "a", MOMENT), Row(3, "b", MOMENT)]
    assert rejected == [Rejected(2, reason)]


def test_members_that_are_not_known_do_not_matter() -> None:
    """Even those with a value that this program could not keep."""
    entry = json.dumps(post("a", id=5, tags=[{}], extra="\ud800")).encode()
    for number in (b"1e999", b"9" * 5000):
        content = entry[:-1] + b',"number":' + number + b"}\n"
        assert everything(content)[0] == [Row(1, "a", MOMENT)]


def test_blank_lines_have_numbers_and_are_not_counted() -> None:
    """So that a position is the line's number in an editor."""
    batches = list(opened(b"\n" + as_lines(post("a")) + b"\r\n \t\n" + as_lines(post("b"), "bad")))

    rows, rejected, _ = gathered(batches)
    assert [row.position for row in rows] == [2, 5]
    assert rejected == [Rejected(6, "not_an_object")]
    assert sum(batch.read for batch in batches) == 3


@pytest.mark.parametrize(
    "content",
    [
        as_export(post("a"))[:-5],
        as_export(post("a"))[:-30],
        as_export(post("a")) + b"x",
        as_export(post("a")).replace(b'"a"', b'"a" "b"'),
        as_export(post("a")).replace(b'"a"', b"NaN"),
        as_export(post("\xe9")).replace("\xe9".encode(), b"\xe9"),  # Latin-1
        HEAD.encode() + b"[" * 10_000 + b"]" * 10_000 + b"]}",
        HEAD.encode() + b"1" * 5_000_000 + b"]}",
    ],
)
def test_a_damaged_document_is_refused(content: bytes) -> None:
    """A document that is no JSON is not whole, and nothing of it is taken in."""
    assert refusal(content) == "malformed"


def test_a_file_has_a_bound() -> None:
    """A file that is larger than the setting allows is not even looked at."""
    assert refusal(as_lines(post("a")), packed_bytes=10) == "too_large"


def test_bad_posts_have_a_bound() -> None:
    """Whoever has very many has another file in mind, and a report would be as large as it."""
    content = as_lines(post("a"), *[post("")] * 50)
    assert refusal(content, rejected=49) == "too_many_rejected"
    list(opened(content, rejected=50))


@given(st.data(), st.booleans())
def test_reading_goes_on_where_it_was(data: st.DataObject, is_document: bool) -> None:
    """From any cursor, the rest is what an undisturbed run reads."""
    bodies = data.draw(st.lists(st.sampled_from(["", "a", "ab\ncd", "x" * 3000]), max_size=200))
    posts = [post(body * 30) for body in bodies]
    content = as_export(*posts) if is_document else b"\n" + as_lines(*posts)
    if not is_document and not posts:
        return
    batches = list(opened(content))
    if not batches:
        return
    at = data.draw(st.integers(0, len(batches) - 1))

    cursor = json.loads(json.dumps(batches[at].cursor))
    first, rest = gathered(batches[: at + 1]), everything(content, cursor)

    rows, rejected, _ = gathered(batches)
    assert (first[0] + rest[0], first[1] + rest[1]) == (rows, rejected)


def test_progress_is_in_bytes_of_the_file(tmp_path: Path) -> None:
    """It rises from batch to batch up to the whole file."""
    path = tmp_path / "posts"
    path.write_bytes(as_export(*[post("x" * 100)] * 20_000))
    with path.open("rb") as file:
        reader = open_import(file, Limits(), None)
        seen = [reader.progress.bytes for _ in reader]
        assert reader.progress == (path.stat().st_size, path.stat().st_size)

    assert seen == sorted(seen)
    assert len(seen) > 10
    assert seen[0] < path.stat().st_size / 5
