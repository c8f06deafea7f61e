import hashlib
import io
import json
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.values.fields import format_time
from worker.export.verify import MAX_FAULTS, Verdict, verify

TIME = "2026-01-02T03:04:05Z"
NEXT = "2026-01-02T03:04:05.000001Z"  # sorts before TIME as text
POST = {"body": "x", "timestamp": TIME}


def document(*posts: Any, **members: Any) -> bytes:
    """Write an export; members given as None are left out."""
    whole = {"version": 1, "user": "susan", "exported_at": TIME, "posts": posts}
    whole |= {"count": len(posts)} | members
    return json.dumps({name: value for name, value in whole.items() if value is not None}).encode()


def check(raw: bytes) -> Verdict:
    """Verify bytes."""
    return verify(io.BytesIO(raw))


def test_a_right_file() -> None:
    """Posts, bytes and digest are told, and there are no faults."""
    raw = (
        b'{"version":1,"user":"susan","exported_at":"2026-02-01T00:00:00Z","posts":[\n'
        b'{"body":"one","timestamp":"2026-01-02T03:04:05Z"},\n'
        b'{"timestamp":"2026-01-02T03:04:05Z","body":""},\n'
        b'{"body":"\xec\x95\x88","timestamp":"2026-01-02T03:04:05.000001Z"}\n'
        b'],"count":3}\n'
    )

    assert check(raw) == Verdict(
        posts=3, bytes=len(raw), sha256=hashlib.sha256(raw).hexdigest(), faults=()
    )


@pytest.mark.parametrize(
    "raw",
    [
        document(),
        document(POST, note={"deep": [{"posts": []}, "count"]}),  # more members may come
        document(POST | {"body": '\0\ud83d\ude00\\"\u2028'}),
        document(POST, POST | {"timestamp": NEXT}),
        document(POST) + b" \r\n",
    ],
)
def test_other_right_files(raw: bytes) -> None:
    """Empty exports, new members and odd characters are fine."""
    assert check(raw).faults == ()


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"", "not valid JSON: "),
        (document()[:-1], "not valid JSON: "),
        (document() + b"{}", "not valid JSON: "),
        (document() + b"\xff", "not valid JSON: "),
        (b"\xef\xbb\xbf" + document(), "not valid JSON: "),
        (document(POST | {"body": "\xe9"}).replace(rb"\u00e9", b"\xe9"), "not valid JSON: "),
        (document(POST | {"body": "?!"}).replace(b"?!", b"\xed\xa0\x80"), "not valid JSON: "),
        (document(POST | {"body": "?!"}).replace(b"?!", b"\x01"), "not valid JSON: "),
        (document(version=float("nan")), "not valid JSON: "),
        (document(version="?").replace(b'"?"', b"9" * 5000), "not valid JSON: "),
        (document(version="?").replace(b'"?"', b"1e9999"), "not valid JSON: "),
        (b"[]", "not a JSON object"),
        (b'[{"posts": []}]', "not a JSON object"),
        (b"1", "not a JSON object"),
        (document(version=None), "version is missing"),
        (document(user=None), "user is missing"),
        (document(exported_at=None), "exported_at is missing"),
        (document(count=None), "count is missing"),
        (b'{"count":0,' + document(count=None)[1:], "count comes before posts"),
        (b'{"user":"eve",' + document()[1:], "user stands there twice"),
        (b'{"posts":[],' + document()[1:], "posts stands there twice"),
        (document(posts={"0": POST}, count=0), "posts is not an array"),
        (document(POST, count=2), "count is 2, but there are 1 posts"),
        (document(POST, count="1"), "count is not a number"),
        (document(POST, count=True), "count is not a number"),
        (document(POST, "x"), "post 2: not an object"),
        (document([POST]), "post 1: not an object"),
        (document({}), "post 1: expected exactly two strings, body and timestamp"),
        (document({"body": "x"}), "post 1: expected exactly two strings, body and timestamp"),
        (document({"timestamp": TIME}), "post 1: expected exactly two strings"),
        (document(POST | {"id": {"a": [1]}}), "post 1: expected exactly two strings"),
        (document(POST | {"body": None}), "post 1: expected exactly two strings"),
        (document(POST | {"body": ["x"]}), "post 1: expected exactly two strings"),
        (document(POST).replace(b'{"body"', b'{"body":"","body"'), "post 1: expected exactly two"),
        (document(POST | {"timestamp": TIME[:-1]}), "post 1: timestamp: expected the form"),
        (document(POST | {"timestamp": "2026-02-30T00:00:00Z"}), "post 1: timestamp: day"),
        (document(POST | {"timestamp": NEXT}, POST), "post 2: older than the post before it"),
    ],
)
def test_broken_files(raw: bytes, fault: str) -> None:
    """Whatever is wrong is said, once; size and digest are those of the whole file all the same."""
    verdict = check(raw)

    assert len(verdict.faults) == 1
    assert verdict.faults[0].startswith(fault)
    assert "\n" not in verdict.faults[0]
    assert (verdict.bytes, verdict.sha256) == (len(raw), hashlib.sha256(raw).hexdigest())


def test_posts_are_needed() -> None:
    """A file without posts is no export, whatever its count says."""
    assert check(document(posts=None)).faults == ("count comes before posts", "posts is missing")


def test_order_is_between_neighbours() -> None:
    """One post out of place is one fault, not one for each that follows."""
    days = [POST | {"timestamp": f"2026-01-0{day}T00:00:00Z"} for day in (3, 1, 2, 4)]
    assert check(document(*days)).faults == ("post 2: older than the post before it",)


def test_faults_are_bounded() -> None:
    """A file that is wrong throughout does not fill the memory with faults."""
    faults = check(document(*[1] * 1000)).faults

    assert len(faults) == MAX_FAULTS + 1
    assert faults[-1] == "there are further faults"


class Generated(io.RawIOBase):
    """An export that is written while it is read; `bytes_read` counts."""

    def __init__(self, posts: int) -> None:
        self._pieces = self._write(posts)
        self._rest = b""
        self.bytes_read = 0

    @staticmethod
    def _write(posts: int) -> Iterator[bytes]:
        yield document(count=None).removesuffix(b"]}")
        start = datetime(2026, 1, 1, tzinfo=UTC)
        for number in range(posts):
            time = format_time(start + timedelta(milliseconds=number))
            yield b"," * bool(number) + json.dumps({"body": "x" * 100, "timestamp": time}).encode()
        yield f'],"count":{posts}}}'.encode()

    def read(self, size: int = -1) -> bytes:
        """Give the next bytes, `size` of them but at the end."""
        while len(self._rest) < size and (piece := next(self._pieces, b"")):
            self._rest += piece
        read, self._rest = self._rest[:size], self._rest[size:]
        self.bytes_read += len(read)
        return read


def test_memory_stays_flat_and_progress_is_told() -> None:
    """A file of some megabytes is checked in far less memory, and progress ends at its size."""
    file, told = Generated(80_000), list[int]()

    tracemalloc.start()
    try:
        verdict = verify(file, progress=told.append)  # type: ignore[arg-type]
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert verdict.posts == 80_000
    assert verdict.faults == ()
    assert told == sorted(told)
    assert told[-1] == verdict.bytes == file.bytes_read > 10_000_000
    assert peak_bytes < 6_000_000


@given(st.binary() | st.integers(0, 200).map(lambda cut: document(POST, POST)[:cut]))
def test_no_bytes_make_it_fail(raw: bytes) -> None:
    """Any file has a verdict."""
    assert check(raw).bytes == len(raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
posts = st.fixed_dictionaries({"body": json_values, "timestamp": st.just(TIME) | json_values})


@given(
    st.lists(posts | json_values), st.dictionaries(st.sampled_from(["count", "user"]), json_values)
)
def test_no_json_makes_it_fail(posts: list[Any], members: dict[str, Any]) -> None:
    """Any JSON has a verdict, and one without faults holds only right posts."""
    verdict = check(document(*posts, **members))

    assert verdict.faults or all(isinstance(post["body"], str) for post in posts)
