import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.importing.json_lines import BOM, MAX_LINE_BYTES, BadLine, PostLine, lines, read_posts

TIME = "2026-01-02T03:04:05Z"
MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def line(**members: Any) -> bytes:
    return json.dumps({"body": "x", "timestamp": TIME} | members).encode() + b"\n"


def test_reads_a_file_line_by_line() -> None:
    """Good and bad lines come out in the file's order, bad ones with their number."""
    file = io.BytesIO(line(body="one") + b"\n" + line(body="two"))

    first, second, third = read_posts(file)

    assert first == PostLine("one", MOMENT)
    assert second == BadLine(2, "the line is blank")
    assert third == PostLine("two", MOMENT)


@pytest.mark.parametrize(
    ("raw", "post"),
    [
        (line(), PostLine("x", MOMENT)),
        (line().rstrip(), PostLine("x", MOMENT)),  # the last line may lack its end
        (line().replace(b"\n", b"\r\n"), PostLine("x", MOMENT)),
        (b" \t" + line(), PostLine("x", MOMENT)),
        (line(id=5, tags=["a"], deep={"x": None}), PostLine("x", MOMENT)),  # ignored
        (
            line(timestamp="2026-01-02T03:04:05.000600Z"),
            PostLine("x", MOMENT.replace(microsecond=600)),
        ),
        (line(body="x" * 10_000), PostLine("x" * 10_000, MOMENT)),
        (line(body="\U0001f600\u2028\x7f"), PostLine("\U0001f600\u2028\x7f", MOMENT)),
        (
            '{"body": "안녕", "timestamp": "2026-01-02T03:04:05Z"}'.encode(),
            PostLine("안녕", MOMENT),
        ),
    ],
)
def test_good_lines(raw: bytes, post: PostLine) -> None:
    """A post is read as it was written."""
    assert list(read_posts([raw])) == [post]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"[]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"NaN", "not JSON"),
        (line(extra=float("nan")), "not JSON"),
        (line(extra=float("-inf")), "not JSON"),
        (b"\xef\xbb\xbf" + line(), "byte order mark"),
        (line().decode().encode("utf-16"), "not JSON"),
        (line(body="\xe9").replace(b"\\u00e9", b"\xe9"), "not valid UTF-8"),  # Latin-1
        (line(body="\ud800"), "surrogate"),
        (line(body="x").replace(b'"x"', b'"\xed\xa0\x80"'), "not valid UTF-8"),  # CESU-8
        (line() + line(), "not JSON"),
        (line()[:-3], "not JSON"),
        (b"[" * 100_000, "depth limit"),
        (b'{"body":' * 100_000, "depth limit"),
        (line().replace(b'"x"', b"1" * 5000), "infinity"),
        (line(extra=0).replace(b" 0}", b" 1e999}"), "infinity"),
        (line(body=10**30), "body must be a string"),
        (line(body=None), "body must be a string"),
        (line(body={}), "body must be a string"),
        (line(body=""), "body must be at least 1 character long"),
        (line(body="x" * 10_001), "body must be at most 10000 characters long"),
        (line(body="a\0"), "body must not contain NUL"),
        (b'{"body": "x"}', "timestamp is required"),
        (b'{"timestamp": "2026-01-02T03:04:05Z"}', "body is required"),
        (line(timestamp=1767323045), "timestamp must be a string"),
        (line(timestamp=""), "timestamp: expected the form"),
        (line(timestamp="2026-01-02T03:04:05.1Z"), "timestamp: expected the form"),
        (line(timestamp="2026-01-02T03:04:05+00:00"), "timestamp: expected the form"),
        (line(timestamp="2026-02-30T03:04:05Z"), "timestamp"),
        (line(timestamp="2026-01-02T03:04:60Z"), "timestamp"),
        (line(timestamp="0000-01-02T03:04:05Z"), "timestamp"),
    ],
)
def test_bad_lines(raw: bytes, reason: str) -> None:
    """A bad line is named with a reason that a person understands."""
    (bad,) = read_posts([raw])

    assert isinstance(bad, BadLine)
    assert bad.number == 1
    assert reason in bad.reason


@given(st.binary())
def test_no_bytes_make_it_fail(raw: bytes) -> None:
    """Whatever a line holds, it is a post or a bad line, never an exception."""
    read = [*read_posts([raw])]
    assert [isinstance(one, BadLine) for one in read] == [True] * bool(raw.strip())


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
    st.datetimes(timezones=st.just(UTC)),
    st.booleans(),
)
def test_posts_survive(body: str, moment: datetime, ascii_only: bool) -> None:
    """Bodies and moments come back code point for code point, escaped or not."""
    timestamp = moment.strftime("%Y").zfill(4) + moment.strftime("-%m-%dT%H:%M:%S.%fZ")
    data = json.dumps({"body": body, "timestamp": timestamp}, ensure_ascii=ascii_only)

    assert list(read_posts([data.encode()])) == [PostLine(body, moment)]


def test_blank_lines() -> None:
    """A blank line is bad in the middle, and nothing at the end."""
    first, second, third, fourth = read_posts([line(), b"\n", b" \t\r\n", line(), b"\n", b"\r\n"])

    assert first == fourth == PostLine("x", MOMENT)
    assert second == BadLine(2, "the line is blank")
    assert third == BadLine(3, "the line is blank")
    assert list(read_posts([b"\n"] * 3)) == []


def test_a_byte_order_mark_is_passed_over_at_the_start_alone() -> None:
    """Some programs write one; a second one belongs to no line."""
    first, second = read_posts(lines(io.BytesIO(BOM + line() + BOM + line()).read))

    assert first == PostLine("x", MOMENT)
    assert isinstance(second, BadLine)
    assert second.number == 2


@pytest.mark.parametrize("excess", [-1, 0, 1, 1_000_000, 5_000_000])
def test_a_line_has_a_bound(excess: int) -> None:
    """A line of more than 1 MiB is bad, is not kept, and those after it are read."""
    bare = line(padding="")
    long = line(padding="x" * (MAX_LINE_BYTES + excess - len(bare)))

    first, second, third = read_posts(lines(io.BytesIO(line() + long + line()).read))

    assert first == third == PostLine("x", MOMENT)
    if excess <= 0:
        assert second == first
    else:
        assert second == BadLine(2, "the line is longer than 1 MiB")


@given(
    st.lists(st.sampled_from([b"", b"a", b"\r", b"bc", b"x" * 300])),
    st.booleans(),
    st.integers(1, 400),
)
def test_lines_are_those_of_the_file(parts: list[bytes], is_marked: bool, most: int) -> None:
    """However few bytes come at a time, the lines are the same, and nothing is lost."""
    text = b"\n".join(parts)
    file = io.BytesIO(BOM * is_marked + text)

    found = [*lines(lambda size: file.read(min(size, most)))]

    assert found == io.BytesIO(text).readlines()
