"""The form of `posts.json`.

One post a line, `posts` before `count`, so that both the writer and any reader can do with flat
memory: the count is known only at the end. The lines themselves are written by the database, see
`rows`.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from chalicelib.values.fields import format_time

VERSION = 1

BEFORE = b"\n"
"""What stands before the first line."""

BETWEEN = b",\n"
"""What stands between two lines."""


def head(username: str, exported_at: datetime) -> bytes:
    """What stands before the posts."""
    facts = {"version": VERSION, "user": username, "exported_at": format_time(exported_at)}
    return orjson.dumps(facts)[:-1] + b',"posts":['


def tail(count: int) -> bytes:
    """What stands after the posts."""
    return b'\n],"count":%d}\n' % count


@dataclass
class Draft:
    """The end of a document, which was not taken away yet, and the digest of all that was written.

    Attributes:
        posts: How many posts are in the document so far.
        pending: What was added since they were last cleared.
        size_bytes: How much was added in all.
        digest: The SHA-256 of that.
    """

    posts: int = 0
    pending: bytearray = field(default_factory=bytearray)
    size_bytes: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def add(self, data: bytes) -> None:
        """Write on."""
        self.pending += data
        self.digest.update(data)
        self.size_bytes += len(data)

    def add_lines(self, lines: bytes, posts: int) -> None:
        """Write the lines of so many posts."""
        self.add(BETWEEN if self.posts else BEFORE)
        self.add(lines)
        self.posts += posts
