"""Files as people upload them, made up; and all that a reader finds in one."""

import io
import json
from collections.abc import Iterable
from typing import Any

import pytest

from chalicelib.errors import ImportRefused
from worker.importing.opening import Reader, open_import
from worker.importing.reading import Batch, Limits, Rejected, Row

TIME = "2022-11-05T10:00:00Z"
PUBLIC = "https://www.w3.org/ns/activitystreams#Public"
SUSAN = "https://m.example/users/susan"
HEAD = '{"version":1,"user":"susan","exported_at":"2026-01-02T03:04:05Z","posts":['

Everything = tuple[list[Row], list[Rejected], int]


def opened(content: bytes, cursor: Any = None, **limits: int) -> Reader:
    """A reader of a file with this content."""
    return open_import(io.BytesIO(content), Limits(**limits), cursor)


def everything(content: bytes, cursor: Any = None) -> Everything:
    """What a file holds: rows, what is left out, and how many entries are skipped."""
    return gathered(opened(content, cursor))


def gathered(batches: Iterable[Batch]) -> Everything:
    """The same of batches."""
    batches = list(batches)
    rows = [row for batch in batches for row in batch.rows]
    rejected = [one for batch in batches for one in batch.rejected]
    return rows, rejected, sum(batch.skipped for batch in batches)


def refusal(content: bytes, **limits: int) -> str:
    """The code with which a file is refused."""
    with pytest.raises(ImportRefused) as raised:
        list(opened(content, **limits))
    assert raised.value.detail.endswith(".")
    return raised.value.code


def own_post(body: Any, timestamp: Any = TIME, **members: Any) -> dict[str, Any]:
    """A post in our own form."""
    return {"body": body, "timestamp": timestamp} | members


def as_lines(*posts: Any) -> bytes:
    """JSON lines."""
    return b"".join(json.dumps(one).encode() + b"\n" for one in posts)


def as_export(*posts: Any) -> bytes:
    """The bytes that an export writes."""
    lines = ",".join("\n" + _row(one) for one in posts)
    return f'{HEAD}{lines}\n],"count":{len(posts)}}}\n'.encode()


def _row(post: Any) -> str:
    escaped = json.dumps(post, separators=(",", ":"))
    is_whole = r"\ud800" not in escaped
    return json.dumps(post, separators=(",", ":"), ensure_ascii=False) if is_whole else escaped


def note(content: Any, **members: Any) -> dict[str, Any]:
    """What somebody has written, as Mastodon has it."""
    written = {
        "id": f"{SUSAN}/statuses/1",
        "type": "Note",
        "summary": None,
        "inReplyTo": None,
        "published": TIME,
        "url": "https://m.example/@susan/1",
        "attributedTo": SUSAN,
        "to": [PUBLIC],
        "cc": [f"{SUSAN}/followers"],
        "sensitive": False,
        "content": content,
        "attachment": [],
        "tag": [],
        "replies": {"type": "Collection", "first": {"type": "CollectionPage", "items": []}},
    }
    return written | members


def activity(written: Any) -> dict[str, Any]:
    """An activity that says so."""
    about = {"id": f"{SUSAN}/statuses/1/activity", "type": "Create", "actor": SUSAN}
    return about | {"published": TIME, "to": [PUBLIC], "cc": [], "object": written}


def as_outbox(*items: Any) -> bytes:
    """An outbox of Mastodon's."""
    about: dict[str, Any] = {
        "@context": "https://www.w3.org/ns/activitystreams",
        "id": "outbox.json",
    }
    about |= {"type": "OrderedCollection", "totalItems": len(items)}
    return json.dumps(about | {"orderedItems": items}).encode()


def tweet(text: str, **members: Any) -> dict[str, Any]:
    """A tweet."""
    about = {"id_str": "1", "created_at": "Sat Nov 05 10:00:00 +0000 2022", "retweeted": False}
    return about | {"full_text": text, "entities": {"urls": []}} | members


def as_tweets(
    *tweets: Any, prefix: str = "window.YTD.tweets.part0 = ", wrapped: bool = True
) -> bytes:
    """A file of X's archive."""
    listed = [{"tweet": one} for one in tweets] if wrapped else tweets
    return (prefix + json.dumps(listed, indent=2)).encode()


def feed(*items: dict[str, Any]) -> bytes:
    """A JSON Feed, whose items get a time unless they have one."""
    about = {"version": "https://jsonfeed.org/version/1.1", "title": "Susan", "authors": []}
    return json.dumps(about | {"items": [{"date_published": TIME} | one for one in items]}).encode()
