"""Posts in this application's own form: `{"body", "timestamp"}`."""

from datetime import datetime
from typing import Annotated

import msgspec

from chalicelib.imports.reasons import Reason
from chalicelib.values.fields import PostBody, parse_time
from worker.importing.json_values import json_object
from worker.importing.reading import Bad, Post, check_body


# Rows hold no cycles, and live for a moment: the garbage collector need not look at them.
class _Row(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    body: PostBody
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]


_DECODER = msgspec.json.Decoder(list[_Row])
_ENCODER = msgspec.json.Encoder()


def post(text: bytes) -> Post:
    """The post that an object holds; members besides `body` and `timestamp` are ignored.

    Raises:
        Bad: It holds none that can be taken in.
    """
    data = json_object(text)
    if "body" not in data:
        raise Bad(Reason.BODY_MISSING)
    body = check_body(data["body"])
    if "timestamp" not in data:
        raise Bad(Reason.TIME_MISSING)
    try:
        return body, parse_time(data["timestamp"])
    except (TypeError, ValueError):
        raise Bad(Reason.TIME_INVALID) from None


def posts(rows: bytes, *, between: bytes) -> list[Post] | None:
    """Many posts at once, if all are written as an export writes them; else None.

    msgspec is fast, and takes some text for JSON that is none; so what it read is written again,
    and must give the same bytes.

    Args:
        rows: Objects, one a line.
        between: What stands after each line but the last: a comma and a line break, or a break.
    """
    if rb"\u0000" in rows:
        return None
    listed = rows if between.startswith(b",") else rows.replace(between, b",")
    try:
        found = _DECODER.decode(b"[" + listed + b"]")
        written = _ENCODER.encode_lines(found)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if between != b"\n":
        written = written.replace(b"\n", between)
    if written != rows + between:
        return None
    return [(one.body, one.timestamp) for one in found]
