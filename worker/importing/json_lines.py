"""Posts from a file of JSON lines, one `{"body", "timestamp"}` object a line."""

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from chalicelib.values.fields import PostBody, flaw, parse_time

MAX_LINE_BYTES = 1024 * 1024
"""A longer line is bad; a body of 10,000 characters takes 120,000 bytes at most."""

CHUNK_BYTES = 256 * 1024

BOM = b"\xef\xbb\xbf"
"""What some programs write at the start of UTF-8; RFC 8259 lets a reader pass over it."""


@dataclass(frozen=True, slots=True)
class PostLine:
    """A line that holds a post; `timestamp` is aware UTC."""

    body: str
    timestamp: datetime


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that holds none; `number` counts from 1, `reason` is for people."""

    number: int
    reason: str


def read_posts(found: Iterable[bytes | None]) -> Iterator[PostLine | BadLine]:
    """Read posts one by one, in the file's order.

    Args:
        found: Lines, each of which may end in LF or CRLF; None for one that is too long. Members
            besides `body` and `timestamp` are ignored, and so are blank lines at the end.

    Yields:
        One object a line. A bad line is reported, never raised.
    """
    blank = 0
    for number, line in enumerate(found, start=1):
        if line is not None and not line.strip():
            blank += 1
            continue
        for one in range(number - blank, number):
            yield BadLine(one, "the line is blank")
        blank = 0
        try:
            yield _post(line)
        except ValueError as error:
            yield BadLine(number, str(error))


def lines(read: Callable[[int], bytes]) -> Iterator[bytes | None]:
    """The lines of a file, without a byte order mark at its start.

    Args:
        read: Gives the next so many bytes or fewer; none at the end.

    Yields:
        A line with its end; None for one that is too long, which is not kept.
    """
    for block, _ in blocks(read):
        if block is None:
            yield None
            continue
        for line in io.BytesIO(block):
            yield line if len(line) <= MAX_LINE_BYTES else None


def blocks(read: Callable[[int], bytes]) -> Iterator[tuple[bytes | None, int]]:
    """The lines of a file, many at once.

    Yields:
        Whole lines, or None for one that is too long; and how many bytes these took in the file.
    """
    rest, mark = _without_bom(read)
    while chunk := read(CHUNK_BYTES):
        rest += chunk
        end = rest.rfind(b"\n") + 1
        if end:
            yield rest[:end], end + mark
            rest, mark = rest[end:], 0
        elif len(rest) > MAX_LINE_BYTES:
            passed, following = _rest_of_line(read)
            yield None, len(rest) + passed + mark
            rest, mark = following, 0
    if rest:
        yield rest, len(rest) + mark


def _without_bom(read: Callable[[int], bytes]) -> tuple[bytes, int]:
    """The first bytes of a file, and how many went before them."""
    first = b""
    while len(first) < len(BOM) and (more := read(len(BOM) - len(first))):
        first += more
    return (b"", len(BOM)) if first == BOM else (first, 0)


def _rest_of_line(read: Callable[[int], bytes]) -> tuple[int, bytes]:
    """Pass over the rest of a line: how much it was, and what was read of the next."""
    passed = 0
    while chunk := read(CHUNK_BYTES):
        end = chunk.find(b"\n") + 1
        if end:
            return passed + end, chunk[end:]
        passed += len(chunk)
    return passed, b""


def _post(line: bytes | None) -> PostLine:
    if line is None:
        raise ValueError("the line is longer than 1 MiB")
    data = _json_object(line)
    for name, kind in (("body", PostBody), ("timestamp", str)):
        if name not in data:
            raise ValueError(f"{name} is required")
        if detail := flaw(data[name], kind):
            raise ValueError(f"{name} {detail}")
    try:
        return PostLine(data["body"], parse_time(data["timestamp"]))
    except ValueError as error:
        raise ValueError(f"timestamp: {error}") from error


def _json_object(line: bytes) -> dict[str, Any]:
    try:
        data = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"not JSON in UTF-8: {error.msg}") from error
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - all that ails a line is a ValueError
    return data
