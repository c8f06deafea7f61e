"""The form of `posts.json`.

One post a line, `posts` before `count`, so that both the writer and any reader can do with flat
memory: the count is known only at the end.
"""

from datetime import datetime

import orjson

from chalicelib.fields import format_time

VERSION = 1


def head(username: str, exported_at: datetime) -> bytes:
    """What stands before the posts."""
    facts = {"version": VERSION, "user": username, "exported_at": format_time(exported_at)}
    return orjson.dumps(facts)[:-1] + b',"posts":['


def lines(posts: list[tuple[str, str]], *, first: bool) -> bytes:
    """A page of posts.

    Args:
        posts: Pairs of body and timestamp.
        first: Whether no post stands before them.
    """
    encoded = [orjson.dumps({"body": body, "timestamp": time}) for body, time in posts]
    return (b"\n" if first else b",\n") + b",\n".join(encoded)


def tail(count: int) -> bytes:
    """What stands after the posts."""
    return b'\n],"count":%d}\n' % count
