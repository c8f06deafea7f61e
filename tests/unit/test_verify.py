"""`verify`: what is no export is told, and what is one is never called damaged."""

import hashlib
import io
import json
import re
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.microblog.datasets import POSTS
from chalicelib.values.fields import PostBody, Username, flaw, format_time, parse_time
from worker.export.row_checks import MAX_FAULTS, RowChecker
from worker.export.verify import MAX_MEMBERS, Verdict, verify

TIME = "2026-01-02T03:04:05Z"
NEXT = "2026-01-02T03:04:05.000001Z"  # sorts before TIME as text
POST = {"body": "x", "timestamp": TIME}
HEAD = b'{"version":1,"user":"s","exported_at":"2026-01-01T00:00:00Z",'


def document(*posts: Any, **members: Any) -> bytes:
    """Write an export; members given as None are left out."""
    whole = {"version": 1, "user": "susan", "exported_at": TIME, "posts": posts}
    whole |= {"count": len(posts)} | members
    return json.dumps({name: value for name, value in whole.items() if value is not None}).encode()


def ours(*posts: dict[str, Any]) -> bytes:
    """Write an export as the worker does: one post a line."""
    rows = [json.dumps(post, ensure_ascii=False, separators=(",", ":")) for post in posts]
    lines = "\n" + ",\n".join(rows) if rows else ""
    return HEAD + f'"posts":[{lines}\n],"count":{len(posts)}}}\n'.encode()


SMALL = ours(
    POST, {"body": 'ü "\U0001f600\\\t', "timestamp": NEXT}, {"body": "z", "timestamp": NEXT}
)


def check(raw: bytes) -> Verdict:
    """Verify bytes."""
    return verify(io.BytesIO(raw), [POSTS])


def test_a_right_file() -> None:
    """Rows, bytes and digest are told, and there are no faults."""
    raw = (
        b'{"version":1,"user":"susan","exported_at":"2026-02-01T00:00:00Z","posts":[\n'
        b'{"body":"one","timestamp":"2026-01-02T03:04:05Z"},\n'
        b'{"timestamp":"2026-01-02T03:04:05Z","body":"two"},\n'
        b'{"body":"\xec\x95\x88","timestamp":"2026-01-02T03:04:05.000001Z"}\n'
        b'],"count":3}\n'
    )

    assert check(raw) == Verdict(
        name="posts",
        is_known=True,
        rows=3,
        bytes=len(raw),
        sha256=hashlib.sha256(raw).hexdigest(),
        faults=(),
    )


@pytest.mark.parametrize(
    "raw",
    [
        document(),
        document(POST, note={"deep": [{"posts": []}, "count"]}),  # more members may come
        document(POST, orders=[{"a": 1}]),
        document(POST | {"body": '\U0001f600\\"\u2028'}),
        document(POST | {"body": "\U0001f600" * 10_000}),
        document(POST | {"body": "\x01\x7f\r\n"}),
        document(POST, POST | {"timestamp": NEXT}),
        document(POST, POST),
        document(POST) + b" \r\n\t",
        b"\r\n\t " + document(POST),
        json.dumps(json.loads(SMALL), indent="\t\r ", separators=(" ,\t", "\r: ")).encode(),
        document(POST).replace(b'"x"', b'"\\u0078\\/"'),
        json.dumps(json.loads(document(POST, POST)), indent=1).encode(),
        ours(*[POST] * 2000),
        document(POST, note="?").replace(b'"?"', b"9" * 5000),  # JSON knows no bounds
        document(POST, note="?").replace(b'"?"', b"-1.5E+9999"),
        document(POST, note=18446744073709551616),
        document(POST, note=["\0", "?"]).replace(b"?", b"\\ud800"),  # of nobody's text
        document(POST, **{f"note_{number}": [] for number in range(100)}),
    ],
)
def test_other_right_files(raw: bytes) -> None:
    """Empty exports, new members, any white space and odd characters are fine."""
    assert check(raw).faults == ()


ROW = b'{"body":"x","timestamp":"2026-01-02T03:04:05Z"}'


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"", "not valid JSON: "),
        (document()[:-1], "not valid JSON: "),
        (document() + b"{}", "not valid JSON: "),
        (document() + b"\xff", "not valid JSON: "),
        (document() + b'"rubbish without end', "not valid JSON: "),
        (document() + b"\0", "not valid JSON: "),
        (b"\xef\xbb\xbf" + document(), "not valid JSON: "),
        (document().decode().encode("utf-16"), "not valid JSON: "),
        (HEAD + b'"posts":[\v],"count":0}', "not valid JSON: "),
        (HEAD + b'"posts":[\f],"count":0}', "not valid JSON: "),
        (ours(POST, POST).replace(b",\n", b",\v"), "not valid JSON: "),
        (ours(POST, POST).replace(b",\n", b",\xc2\xa0"), "not valid JSON: "),
        (ours(POST).replace(b"\n]", b",\n]"), "not valid JSON: "),
        (HEAD + b'"posts":[,' + ROW + b'],"count":1}', "not valid JSON: "),
        (HEAD + b'"posts":[' + ROW + ROW + b'],"count":2}', "not valid JSON: "),
        (document(POST | {"body": "\xe9"}).replace(rb"\u00e9", b"\xe9"), "not valid JSON: "),
        (document(POST | {"body": "?!"}).replace(b"?!", b"\xed\xa0\x80"), "not valid JSON: "),
        (document(POST | {"body": "?!"}).replace(b"?!", b"\xf4\x90\x80\x80"), "not valid JSON: "),
        (document(POST | {"body": "?!"}).replace(b"?!", b"\xc0\xaf"), "not valid JSON: "),
        (document(POST | {"body": "?!"}).replace(b"?!", b"\x01"), "not valid JSON: "),
        (ours(POST, POST | {"body": "?!"}, POST).replace(b"?!", b",\n"), "not valid JSON: "),
        (document(version=float("nan")), "not valid JSON: "),
        (document(version="?").replace(b'"?"', b"+1"), "not valid JSON: "),
        (document(version="?").replace(b'"?"', b"01"), "not valid JSON: "),
        (document(version="?").replace(b'"?"', b"1."), "not valid JSON: "),
        (document(version="?").replace(b'"?"', "\u0661".encode()), "not valid JSON: "),
        (document(note="?").replace(b'"?"', b"[" * 2000 + b"]" * 2000), "what is at byte "),
        (document(note="?").replace(b'"?"', b"[" * 100_000), "what is at byte "),
        (document(note="?").replace(b'"?"', b'[{"":' * 100_000), "what is at byte "),
        (document(note="x" * 5_000_000), "what begins at byte "),
        (document(note="?").replace(b'"?"', b"1" * 5_000_000), "what begins at byte "),
        (document(POST | {"body": "x" * 5_000_000}), "what begins at byte "),
        (document(**{f"note_{number}": 1 for number in range(MAX_MEMBERS)}), "more than 1000"),
        (b"[]", "not a JSON object"),
        (b'[{"posts": []}]', "not a JSON object"),
        (b"1", "not a JSON object"),
        (document(version=None), "version is missing"),
        (document(version=2), "version is not 1"),
        (document(version="1"), "version is not 1"),
        (document(version=1.0), "version is not 1"),
        (document(version=True), "version is not 1"),
        (document(version=[]), "version is not 1"),
        (document(user=None), "user is missing"),
        (document(user=1), "user must be a string"),
        (document(user=""), "user must be at least 1 character long"),
        (document(user="susan sun"), "user may only contain the letters"),
        (document(user="susan\n"), "user may only contain the letters"),
        (document(exported_at=None), "exported_at is missing"),
        (document(exported_at=0), "exported_at must be a string"),
        (document(exported_at="2026-01-02"), "exported_at is no time: expected the form"),
        (document(exported_at="2026-02-30T00:00:00Z"), "exported_at is no time: day"),
        (document(exported_at="2026-01-02T00:00:00.000000Z"), "exported_at has a fraction"),
        (document(count=None), "count is missing"),
        (b'{"count":0,' + document(count=None)[1:], "count comes before posts"),
        (b'{"user":"eve",' + document()[1:], "user stands there twice"),
        (b'{"posts":[],' + document()[1:], "posts stands there twice"),
        (b'{"note":1,"note":1,' + document()[1:], "a member stands there twice"),
        (document(posts={"0": POST}, count=0), "posts is not an array"),
        (document(posts="", count=0), "posts is not an array"),
        (document(POST, count=2), "count is 2, but there are 1 rows"),
        (document(POST, count=-1), "count is -1, but there are 1 rows"),
        (document(POST, count=10**30), "count is 100000000000000000, but there are 1 rows"),
        (document(POST, count="1"), "count is not a whole number"),
        (document(POST, count=True), "count is not a whole number"),
        (document(POST, count=1.0), "count is not a whole number"),
        (document(POST, count="?").replace(b'"?"', b"1e0"), "count is not a whole number"),
        (document(POST, "x"), "row 2: not an object"),
        (document([POST]), "row 1: not an object"),
        (document({}), "row 1: expected exactly body and timestamp"),
        (document({"body": "x"}), "row 1: expected exactly body and timestamp"),
        (document({"timestamp": TIME}), "row 1: expected exactly body and timestamp"),
        (document(POST | {"id": {"a": [1]}}), "row 1: expected exactly body and timestamp"),
        (document(POST | {"body": None}), "row 1: body: must be a string"),
        (document(POST | {"body": ["x"]}), "row 1: body: must be a string"),
        (document(POST | {"body": 1}), "row 1: body: must be a string"),
        (document(POST | {"timestamp": 1}), "row 1: timestamp: must be a string"),
        (document(POST | {"body": ""}), "row 1: body: must be at least 1 character long"),
        (document(POST | {"body": "x" * 10_001}), "row 1: body: must be at most 10000 characters"),
        (document(POST | {"body": "a\0b"}), "row 1: body: must not contain NUL"),
        (document(POST | {"body": "\ud83d"}), "row 1: body: must not contain NUL or lone"),
        (document(POST | {"body": "\udc00\ud83d"}), "row 1: body: must not contain NUL or lone"),
        (document(POST).replace(b'{"body"', b'{"body":"","body"'), "row 1: a member stands there"),
        (document(POST | {"timestamp": TIME[:-1]}), "row 1: timestamp: expected the form"),
        (document(POST | {"timestamp": "2026-02-30T00:00:00Z"}), "row 1: timestamp: day"),
        (document(POST | {"timestamp": "2026-01-02T03:04:05.000000Z"}), "row 1: timestamp: is not"),
        (document(POST | {"timestamp": "2026-01-02T24:00:00Z"}), "row 1: timestamp: expected"),
        (document(POST | {"timestamp": "2026-01-02t03:04:05z"}), "row 1: timestamp: expected"),
        (document(POST | {"timestamp": NEXT}, POST), "row 2: not in the order of timestamp"),
    ],
)
def test_broken_files(raw: bytes, fault: str) -> None:
    """Whatever is wrong is said, once; size and digest are those of the whole file all the same."""
    verdict = check(raw)

    assert len(verdict.faults) == 1
    assert verdict.faults[0].startswith(fault)
    assert "\n" not in verdict.faults[0]
    assert (verdict.bytes, verdict.sha256) == (len(raw), hashlib.sha256(raw).hexdigest())


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (b"7", "row 3: not an object"),
        (b"[]", "row 3: not an object"),
        (b'{"body":"x"}', "row 3: expected exactly body and timestamp"),
        (ROW.replace(b"}", b',"id":1}'), "row 3: expected exactly body and timestamp"),
        (ROW.replace(b"{", b'{"body":"",'), "row 3: a member stands there twice"),
        (ROW.replace(b'"x"', b"7"), "row 3: body: must be a string"),
        (ROW.replace(b'"x"', b'""'), "row 3: body: must be at least 1 character long"),
        (ROW.replace(b"x", b"x" * 10_001), "row 3: body: must be at most 10000 characters"),
        (ROW.replace(b"x", rb"\u0000"), "row 3: body: must not contain NUL or lone surrogates"),
        (ROW.replace(b"x", rb"\ud800"), "row 3: body: must not contain NUL or lone surrogates"),
        (ROW.replace(b"Z", b".000000Z"), "row 3: timestamp: is not written as"),
        (ROW.replace(b"Z", b"+00:00"), "row 3: timestamp: expected the form"),
        (ROW.replace(b"2026-01", b"2025-01"), "row 3: not in the order of timestamp"),
        (ROW.replace(b"2026-01", b"2027-01"), "row 4: not in the order of timestamp"),
        (ROW.replace(b"x", b"\x1f"), "not valid JSON: "),
        (ROW.replace(b"x", b",\n"), "not valid JSON: "),
        (ROW.replace(b"x", b"\xff"), "not valid JSON: "),
        (ROW.replace(b"x", b"\\x"), "not valid JSON: "),
        (ROW.replace(b",", b",,"), "not valid JSON: "),
        (ROW.replace(b"}", b",}"), "not valid JSON: "),
        (ROW.replace(b":", b"\v:"), "not valid JSON: "),
        (b"", "not valid JSON: "),
        (ROW + b"\n", ""),
        (ROW.replace(b"x", rb"\u0001\u2028\/"), ""),
        (ROW.replace(b'":', b'": '), ""),
    ],
)
def test_a_row_among_others(row: bytes, fault: str) -> None:
    """A row as we write it is read with many others; one that is not is found among them."""
    raw = HEAD + b'"posts":[\n%b\n],"count":5}\n' % b",\n".join([ROW, ROW, row, ROW, ROW])
    assert [text[: len(fault)] for text in check(raw).faults] == ([fault] if fault else [])


VALID = [
    *rb"""0 -0 10 -1.5 1e9 1E+9 0.1e-9 123456789012345678901234567890 1e9999 true false null [] {}
    {"":0} {"a":{"b":[null]},"c":0} {"a":0,"a":0} [[],[[]]] "" "a" "\"" "\\" "\/" "/"
    "\b\f\n\r\t" "\u0000" "\uaBcD" "\ud83d\ude00" "\ud800" "\udc00\ud800" """.split(),
    *(f'"{one}"'.encode() for one in "\x7f\u2028\ufeff\ufffe\U0001f600\U0010ffff"),
    *(b"[ ]", b"{ }", b"[1 , 2]", b' "a"\t', b"\r\n1 ", b"[" * 500 + b"]" * 500),
]
"""Values by the letter of RFC 8259; in the spirit of JSONTestSuite's `y_` files."""

INVALID = [
    *rb"""+1 - --1 01 -01 1. .1 -.1 1.e1 1e 1e+ 1e1.5 0x1 1_0 NaN nan Infinity -Infinity 1f 0e 1a
    True tru truee nul nulll undefined 'a' " "a a" "\" "\ "\x" "\u" "\u12" "\u12G4" "\U0041" "\a"
    "\0" "\'" "a""b" [ ] [1 [1, [1,] [,1] [,] [1,,2] [1;2] [1:2] [1} [[] []] { } {] {"a"} {"a":}
    {"a":1 {"a":1,} {,"a":1} {"a":1,,"b":2} {"a"::1} {"a",1} {a:1} {'a':1} {1:1} {null:1} {[]:1}
    {"a":1] /**/1 1# <a> * (1) @ 1// \u0031""".split(),
    *(b"1 0", b"[1 2]", b'{"a" 1}', b'{"a":1 "b":2}', b'"a" "b"', b"// x\n1", b"tr ue", b"- 1"),
    *(b'"%b"' % one for one in (b"\n", b"\r", b"\t", b"\0", b"\x1f", b"\x80", b"\xc3", b"\xc3(")),
    *(b'"%b"' % one for one in (b"\xc0\x80", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xff", b"\xef")),
    *(b'"%b"' % one for one in (b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80")),
    *(b"\v1", b"1\f", b"[\v]", b"[1\f]", b'{"a"\v:1}', b'{"a":\f1}', b'{"a":1\v}', b"\x001"),
    *(b"\x1a", b"\x7f", b"1\0", b'"\\\n"', b'"a\\'),
    *(one.encode() for one in ("\xa01", "\u20281", "\u20601", "\ufeff1", "\uff11", "\u0661")),
]
"""No values; in the spirit of its `n_` files."""


@pytest.mark.parametrize("value", VALID)
def test_json_by_the_letter(value: bytes) -> None:
    """All that is JSON is fine where a member that we do not know has it."""
    assert check(HEAD + b'"note":' + value + b',"posts":[],"count":0}').faults == ()
    assert check(HEAD + b'"note":[' + value + b',0],"posts":[],"count":0}').faults == ()
    assert check(HEAD + b'"rows":[{"a":' + value + b'}],"count":1}').faults == ()
    row = b'{"a":%b}' % value
    lines = b",\n".join([b'{"a":1}', row, b'{"a":2}'])
    assert check(HEAD + b'"rows":[\n' + lines + b'\n],"count":3}').faults == ()


@pytest.mark.parametrize("value", INVALID)
def test_what_is_no_json(value: bytes) -> None:
    """What is no JSON is told, wherever it stands."""
    for raw in (
        HEAD + b'"note":' + value + b',"posts":[],"count":0}',
        HEAD + b'"note":[0,' + value + b'],"posts":[],"count":0}',
        HEAD + b'"note":{"a":' + value + b'},"posts":[],"count":0}',
        HEAD + b'"rows":[{"a":' + value + b'}],"count":1}',
        HEAD + b'"rows":[\n{"a":1},\n{"a":' + value + b'},\n{"a":2}\n],"count":3}',
        HEAD + b'"posts":[],"count":0}' + value,
        value + HEAD + b'"posts":[],"count":0}',
    ):
        assert check(raw).faults, raw


class StrictError(ValueError):
    """What a strict parser refuses."""


def refuse(text: str) -> None:
    """Refuse what Python takes for a number and JSON does not."""
    raise StrictError(text)


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that has a member twice."""
    if len(dict(pairs)) < len(pairs):
        raise StrictError("twice")
    return dict(pairs)


def is_right(raw: bytes) -> bool:
    """Whether bytes are an export, by Python's own parser and nothing of ours."""
    try:
        whole = json.loads(raw.decode(), parse_constant=refuse, object_pairs_hook=once)
        return has_right_head(whole) and has_right_rows(whole)
    except (ValueError, TypeError, LookupError, AttributeError):
        return False


def has_right_head(whole: Any) -> bool:
    """Whether version, user and time are of an export."""
    at, version = whole["exported_at"], whole["version"]
    return (
        (type(version), version) == (int, 1)
        and flaw(whole["user"], Username) is None
        and format_time(parse_time(at)) == at
    )


def has_right_rows(whole: Any) -> bool:
    """Whether the rows are posts, or another dataset's, and as many as `count` says."""
    before = dict(takewhile(lambda member: member[0] != "count", whole.items()))
    arrays = [
        name
        for name, value in before.items()
        if isinstance(value, list) and re.fullmatch("[a-z][a-z0-9_]*", name)
    ]
    name = "posts" if "posts" in whole else arrays[-1]
    rows, count = before[name], whole["count"]
    if (type(count), count) != (int, len(rows)):
        return False
    return are_posts(rows) if name == "posts" else all(isinstance(row, dict) for row in rows)


def are_posts(rows: list[Any]) -> bool:
    """Whether rows are what `POST /v1/posts` accepts, in the order of time."""
    times = [parse_time(row["timestamp"]) for row in rows]
    return (
        all(set(row) == {"body", "timestamp"} for row in rows)
        and all(flaw(row["body"], PostBody) is None for row in rows)
        and [format_time(time) for time in times] == [row["timestamp"] for row in rows]
        and times == sorted(times)
    )


@pytest.mark.parametrize("at", range(0, len(SMALL), 8))
def test_every_byte(at: int) -> None:
    """Whatever a byte is replaced by, a file is intact only if a strict parser finds it right."""
    assert is_right(SMALL)
    for place in range(at, min(at + 8, len(SMALL))):
        for byte in range(256):
            raw = SMALL[:place] + bytes([byte]) + SMALL[place + 1 :]
            assert (check(raw).faults == ()) is is_right(raw), raw


@pytest.mark.parametrize("text", [SMALL, json.dumps(json.loads(SMALL), indent=1).encode()])
def test_every_byte_that_is_lost_or_added(text: bytes) -> None:
    """So it is when a byte is lost or comes twice, and when the end or the beginning is lost."""
    for at in range(len(text) + 1):
        cut = [text[:at], text[at:]] if at < len(text) else []
        for raw in (text[:at] + text[at + 1 :], text[:at] + text[at - 1 : at] + text[at:], *cut):
            assert (check(raw).faults == ()) is is_right(raw), raw


@given(
    st.lists(
        st.tuples(st.integers(0, len(SMALL)), st.integers(0, len(SMALL)), st.binary(max_size=4))
    )
)
def test_any_damage(cuts: list[tuple[int, int, bytes]]) -> None:
    """So it is whatever else happens to a file."""
    raw = SMALL
    for begin, end, instead in cuts:
        raw = raw[:begin] + instead + raw[end:]
    assert (check(raw).faults == ()) is is_right(raw)


def test_a_posts_array_is_needed() -> None:
    """A file without posts is no export, whatever its count says."""
    assert check(document(posts=None)).faults == ("count comes before posts", "posts is missing")
    assert verify(io.BytesIO(b"{}"), []).faults[-2:] == (
        "an array of rows is missing",
        "count is missing",
    )


def test_order_is_between_neighbours() -> None:
    """One row out of place is one fault, not one for each that follows."""
    days = [POST | {"timestamp": f"2026-01-0{day}T00:00:00Z"} for day in (3, 1, 2, 4)]
    for raw in (document(*days), ours(*days)):
        assert check(raw).faults == ("row 2: not in the order of timestamp",)


def test_faults_are_bounded() -> None:
    """A file that is wrong throughout does not fill the memory with faults."""
    faults = check(document(*[1] * 1000)).faults

    assert len(faults) == MAX_FAULTS + 1
    assert faults[-1] == "there are further faults"


@pytest.mark.parametrize(
    ("raw", "verdict"),
    [
        (document(posts=None, count=None, orders=[{"a": 1}], total=1), ("orders", 1)),
        (b'{"orders":[{"a":1.0e0},{}],' + document(posts=None, count=2)[1:], ("orders", 2)),
        (b'{"tags":[1],"orders":[{}],' + document(posts=None, count=1)[1:], ("orders", 1)),
        (b'{"orders":[],' + document(POST)[1:], ("posts", 1)),
        (b'{"orders":[{}],' + document(posts=None, count=1, later=[7])[1:], ("orders", 1)),
        (b'{"orders":[{},7],' + document(posts=None, count=2)[1:], "row 2: not an object"),
        (b'{"orders":[{"a":1,"a":1}],' + document(posts=None, count=1)[1:], "row 1: a member"),
        (b'{"orders":[{}],' + document(posts=None, count=2)[1:], "count is 2, but there are 1"),
    ],
)
def test_rows_of_another_application(raw: bytes, verdict: tuple[str, int] | str) -> None:
    """Rows that nobody has declared are objects; they stand in the last array before `count`."""
    raw = raw.replace(b'"total": 1', b'"count": 1')
    found = check(raw)
    if isinstance(verdict, str):
        assert [fault[: len(verdict)] for fault in found.faults] == [verdict]
    else:
        assert ((found.name, found.rows), found.faults) == (verdict, ())


class Generated(io.RawIOBase):
    """An export that is written while it is read; `bytes_read` counts."""

    def __init__(self, posts: int, between: bytes) -> None:
        self._between = between
        self._pieces = self._write(posts)
        self._rest = b""
        self.bytes_read = 0

    def _write(self, posts: int) -> Iterator[bytes]:
        yield document(count=None).removesuffix(b"]}") + self._between[1:]
        start = datetime(2026, 1, 1, tzinfo=UTC)
        for number in range(posts):
            time = format_time(start + timedelta(milliseconds=number))
            post = json.dumps({"body": "x" * 100, "timestamp": time}, separators=(",", ":"))
            yield self._between * bool(number) + post.encode()
        yield f'],"count":{posts}}}'.encode()

    def read(self, size: int = -1) -> bytes:
        """Give the next bytes, `size` of them but at the end."""
        while len(self._rest) < size and (piece := next(self._pieces, b"")):
            self._rest += piece
        read, self._rest = self._rest[:size], self._rest[size:]
        self.bytes_read += len(read)
        return read


@pytest.mark.parametrize("between", [b",\n", b", "], ids=["as ours", "in one line"])
def test_memory_stays_flat_and_progress_is_told(between: bytes) -> None:
    """A file of some megabytes is checked in far less memory, and progress ends at its size."""
    file, told = Generated(20_000, between), list[int]()

    tracemalloc.start()
    try:
        verdict = verify(cast("BinaryIO", file), [POSTS], progress=told.append)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert verdict.rows == 20_000
    assert verdict.faults == ()
    assert told == sorted(told)
    assert told[-1] == verdict.bytes == file.bytes_read > 2_500_000
    assert peak_bytes < 1_500_000


@pytest.mark.parametrize("around", [(b"[", b"]"), (b'"', b'"'), (b'["', b'"]')], ids=str)
def test_memory_stays_flat_whatever_is_long(around: tuple[bytes, bytes]) -> None:
    """One long line or string is read no further than a few megabytes."""
    long = around[0] + b" %b," % (b"1" * 1000) * 40_000 + b"1" + around[1]
    file = io.BytesIO(HEAD + b'"note":' + long + b',"posts":[],"count":0}')

    tracemalloc.start()
    try:
        verdict = verify(file, [POSTS])
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert bool(verdict.faults) is (b'"' in around[0])
    assert verdict.bytes > 40_000_000
    assert peak_bytes < 30_000_000


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


@given(
    st.lists(posts, max_size=30),
    st.sampled_from([None, 0, 1, 2]),
    st.sampled_from([",\n", ",", ", "]),
)
def test_two_ways_of_reading(posts: list[Any], indent: int | None, between: str) -> None:
    """Rows read one by one and many at once have the same faults."""
    rows = [json.dumps(post, indent=indent, separators=(",", ":")) for post in posts]
    raw = HEAD + f'"posts":[{between.join(rows)}],"count":{len(rows)}}}'.encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RowChecker, "_check_lines", lambda _self, _lines: False)
        one_by_one = check(raw)
    assert check(raw) == one_by_one
