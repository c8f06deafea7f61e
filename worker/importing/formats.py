"""What a text holds, told from its first bytes and never from the name of its file."""

import io
from dataclasses import dataclass
from itertools import islice

from worker.export.json_reader import JsonReader, UnreadableError
from worker.importing import own_posts
from worker.importing.entries import Document, Entries, Lines
from worker.importing.json_lines import BOM
from worker.importing.json_values import json_object
from worker.importing.reading import Bad, Content

HEAD_BYTES = 1024 * 1024
"""Within so many bytes a text must show what it is."""

FIRST_LINES = 100
"""One of so many lines must be right for a text to be JSON lines."""


@dataclass(frozen=True)
class Format:
    """What a text is.

    Attributes:
        name: Stable; part of an import's result.
        entries: How its entries are read.
    """

    name: str
    entries: Entries


def head_of(content: Content) -> bytes:
    """The first bytes of a text, as many as it takes to tell what it is."""
    content.open()
    head = b""
    while len(head) < HEAD_BYTES and (more := content.read(HEAD_BYTES - len(head))):
        head += more
    return head


def format_of(head: bytes) -> Format | None:
    """What a text is that begins with these bytes; None if nobody knows.

    Args:
        head: `HEAD_BYTES` of it, or all.
    """
    start = len(BOM) if head.startswith(BOM) else 0
    text = head[start:]
    if text.lstrip()[:1] == b"{":
        return _of_document(text, start) or _of_lines(text)
    return _of_lines(text)


def _of_document(text: bytes, start: int) -> Format | None:
    """What an object is, by the first of its members that tells."""
    reader = JsonReader(io.BytesIO(text).read)
    try:
        for name in reader.members():
            if name == "posts" and reader.peek() == b"[":
                entries = Document(own_posts.post, "posts", start=start, are_own=True)
                return Format("carryout_posts", entries)
            reader.value()
    except UnreadableError:
        return None
    return None


def _of_lines(text: bytes) -> Format | None:
    found = islice(io.BytesIO(text), FIRST_LINES)
    return Format("json_lines", Lines()) if any(map(_is_own_post, found)) else None


def _is_own_post(line: bytes) -> bool:
    try:
        return not {"body", "timestamp"}.isdisjoint(json_object(line))
    except Bad:
        return False
