"""What a text holds, told from its first bytes and never from the name of its file."""

import io
import re
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

from worker.export.json_reader import JsonReader, UnreadableError
from worker.importing import json_feed, mastodon, own_posts, twitter
from worker.importing.entries import Document, Entries, Lines
from worker.importing.json_lines import BOM
from worker.importing.json_values import json_object
from worker.importing.reading import MAX_ENTRY_BYTES, Bad, Content, Other

HEAD_BYTES = 1024 * 1024
"""Within so many bytes a text must show what it is."""

FIRST_LINES = 100
"""One of so many lines must be right for a text to be JSON lines."""

_FEED = re.compile(r"https?://(?:www\.)?jsonfeed\.org/version/1")
_COLLECTIONS = {"Collection", "CollectionPage", "OrderedCollection", "OrderedCollectionPage"}


@dataclass(frozen=True)
class Format:
    """What a text is.

    Attributes:
        name: Stable; part of an import's result.
        entries: How its entries are read.
    """

    name: str
    entries: Entries

    def with_long_texts(self, long_texts: twitter.LongTexts | None) -> "Format":
        """The same, where these have the whole of what is cut in a tweet."""
        if long_texts is None or not isinstance(self.entries, Document):
            return self
        interpret = partial(twitter.post, long_texts=long_texts)
        return replace(self, entries=replace(self.entries, interpret=interpret))


def head_of(content: Content, size: int = HEAD_BYTES) -> bytes:
    """The first bytes of a text, as many as it takes to tell what it is."""
    content.open()
    head = b""
    while len(head) < size and (more := content.read(size - len(head))):
        head += more
    return head


def format_of(head: bytes) -> Format | None:
    """What a text is that begins with these bytes; None if nobody knows.

    Args:
        head: `HEAD_BYTES` of it, or all.
    """
    start = len(BOM) if head.startswith(BOM) else 0
    text = head[start:]
    first = text.lstrip()[:1]
    if first == b"{":
        return _of_object(text, start) or _of_lines(text)
    if first == b"[":
        return _of_array(text, start)
    if assigned := twitter.ASSIGNMENT.match(text):
        return _tweets(start + assigned.end())
    return _of_lines(text)


def _of_object(text: bytes, start: int) -> Format | None:
    """What an object is, by the first of its members that tells."""
    reader = JsonReader(io.BytesIO(text).read)
    seen: dict[str, Any] = {}
    try:
        for name in reader.members():
            if reader.peek() == b"[":
                if found := _by_array(name, seen):
                    return Format(found, _document(found, name, start))
                reader.value()
                seen[name] = []
            else:
                seen[name] = reader.value()
                if name == "version" and "items" in seen and _is_feed(seen):
                    return Format("json_feed", _document("json_feed", "items", start))
    except UnreadableError:
        return None
    return None


def _by_array(name: str, seen: dict[str, Any]) -> str | None:
    """Of which format it is to have an array of this name after such members."""
    if name == "posts":
        return "carryout_posts"
    if name == "orderedItems":
        return "mastodon_outbox"
    if name != "items":
        return None
    if "version" in seen:
        return "json_feed" if _is_feed(seen) else None
    return "mastodon_outbox" if seen.get("type") in _COLLECTIONS else None


def _is_feed(seen: dict[str, Any]) -> bool:
    version = seen["version"]
    return isinstance(version, str) and _FEED.match(version) is not None


def _document(name: str, member: str, start: int) -> Document:
    if name == "carryout_posts":
        return Document(own_posts.post, member, start=start, are_own=True)
    if name == "json_feed":
        return Document(json_feed.post, member, start=start)
    return Document(mastodon.post, member, start=start, scalar=Other.SKIPPED)


def _of_array(text: bytes, start: int) -> Format | None:
    """What an array is, by its first item: tweets without what stands before them, or posts."""
    reader = JsonReader(io.BytesIO(text).read)
    try:
        reader.expect(b"[")
        first = json_object(reader.item(max_bytes=MAX_ENTRY_BYTES) or b"")
    except (Bad, UnreadableError):
        return None
    if "body" in first and "timestamp" in first:
        return Format("carryout_posts", Document(own_posts.post, None, start=start, are_own=True))
    tweet = first["tweet"] if isinstance(first.get("tweet"), dict) else first
    is_tweet = "created_at" in tweet and not {"full_text", "text"}.isdisjoint(tweet)
    return _tweets(start) if is_tweet else None


def _tweets(start: int) -> Format:
    return Format("twitter_js", Document(twitter.post, None, start=start, end=b";"))


def _of_lines(text: bytes) -> Format | None:
    found = islice(io.BytesIO(text), FIRST_LINES)
    return Format("json_lines", Lines()) if any(map(_is_own_post, found)) else None


def _is_own_post(line: bytes) -> bool:
    try:
        return not {"body", "timestamp"}.isdisjoint(json_object(line))
    except Bad:
        return False
