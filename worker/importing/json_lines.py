"""Posts from a file of JSON lines, one `{"body", "timestamp"}` object a line."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from chalicelib.values.fields import PostBody, flaw, parse_time


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


def read_posts(lines: Iterable[bytes]) -> Iterator[PostLine | BadLine]:
    """Read posts one by one, in the file's order.

    Args:
        lines: A file opened in binary mode, or any lines; each may end in LF or CRLF. Members
            besides `body` and `timestamp` are ignored.

    Yields:
        One object a line. A bad line is reported, never raised.
    """
    for number, line in enumerate(lines, start=1):
        try:
            yield _post(line)
        except ValueError as error:
            yield BadLine(number, str(error))


def _post(line: bytes) -> PostLine:
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
    if not line.strip():
        raise ValueError("the line is blank")
    try:
        data = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"not JSON in UTF-8: {error.msg}") from error
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - all that ails a line is a ValueError
    return data
