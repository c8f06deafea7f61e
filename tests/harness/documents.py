"""The export document as it must be, written by another hand than the databases'."""

from collections.abc import Sequence
from datetime import datetime

import orjson

from worker.export import document


def lines(posts: Sequence[tuple[str, str]]) -> bytes:
    """The lines of posts, given as pairs of body and timestamp."""
    return b",\n".join(orjson.dumps({"body": body, "timestamp": time}) for body, time in posts)


def whole(username: str, at: datetime, posts: Sequence[tuple[str, str]]) -> bytes:
    written = b"\n" + lines(posts) if posts else b""
    return document.head("posts", username, at) + written + document.tail(len(posts))
