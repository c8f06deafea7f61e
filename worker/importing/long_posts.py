"""X's long posts: `tweets.js` has how they begin, and `note-tweet.js` has all of each.

Nothing in an archive says which tweet a note belongs to but its time and how it begins.
"""

import html
import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from worker.export.json_reader import JsonReader, UnreadableError
from worker.importing.formats import head_of
from worker.importing.json_values import json_object
from worker.importing.reading import MAX_ENTRY_BYTES, Bad, Content, refused
from worker.importing.times import time_of

ASSIGNMENT = re.compile(rb"(?:\xef\xbb\xbf)?\s*+window\.YTD\.note_tweet\.part[0-9]{1,6}\s*+=\s*+")
"""What stands before the array."""

MOST_BYTES = 32 * 1024 * 1024
"""So much of them is kept in memory."""

_OVERHEAD_BYTES = 500
"""What a note takes there besides its text, about."""

_LINK = re.compile(r"https?://t\.co/[A-Za-z0-9]+")

Notes = dict[datetime, list[tuple[str, dict[str, str]]]]
"""By their second, texts and what their short links stand for."""


class LongPosts:
    """The notes of an archive.

    Args:
        files: What the files hold that have them.

    Raises:
        ImportRefused: They are damaged, or too large.
    """

    def __init__(self, files: Iterable[Content]) -> None:
        self._notes: Notes = defaultdict(list)
        self._left_bytes = MOST_BYTES
        for content in files:
            self._read(content)

    def whole(self, begin: str, moment: datetime) -> tuple[str, dict[str, str]] | None:
        """The whole text of a tweet, and what its short links stand for; None for a short one.

        Args:
            begin: The tweet's text as the archive has it, unescaped.
            moment: When it was written.
        """
        notes = self._notes.get(moment.replace(microsecond=0))
        begin = _without_end(begin) if notes else ""
        if not notes or not begin:
            return None
        return next((note for note in notes if note[0].startswith(begin)), None)

    def _read(self, content: Content) -> None:
        assigned = ASSIGNMENT.match(head_of(content))
        if assigned is None:
            return  # it is something else
        content.open(assigned.end())
        reader = JsonReader(content.read, offset=assigned.end())
        try:
            reader.expect(b"[")
            if reader.peek() == b"]":
                return
            while True:
                if item := reader.item(max_bytes=MAX_ENTRY_BYTES):
                    self._keep(item)
                if reader.expect(b",]") == b"]":
                    return
        except UnreadableError:
            raise refused("malformed") from None

    def _keep(self, item: bytes) -> None:
        try:
            note = _object(json_object(item).get("noteTweet"))
            core, moment = _object(note.get("core")), time_of(note.get("createdAt"))
        except Bad:
            return  # so its tweet stays as it is
        text = core.get("text")
        if not isinstance(text, str):
            return
        self._left_bytes -= len(item) + _OVERHEAD_BYTES
        if self._left_bytes < 0:
            raise refused("too_large")
        self._notes[moment.replace(microsecond=0)].append((html.unescape(text), _links(core)))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _without_end(text: str) -> str:
    """A tweet that is cut, without what stands where it was: an ellipsis, and a link to itself."""
    words = text.rsplit(maxsplit=1)
    if len(words) > 1 and _LINK.fullmatch(words[1]):
        text = words[0]
    return text.rstrip().rstrip("\u2026").rstrip()


def _links(core: dict[str, Any]) -> dict[str, str]:
    listed = core.get("urls")
    found = {}
    for one in listed if isinstance(listed, list) else []:
        if isinstance(one, dict):
            short, long = one.get("shortUrl"), one.get("expandedUrl")
            if isinstance(short, str) and isinstance(long, str) and long:
                found[short] = long
    return found
