"""Checks an export file in one pass and flat memory."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO

import ijson

from chalicelib.values.fields import parse_time

CHUNK_BYTES = 1 << 16
# Enough to see what is wrong; a file may hold a million of them.
MAX_FAULTS = 20

_MEMBERS = ("version", "user", "exported_at", "posts", "count")
_POST_MEMBERS = ("body", "timestamp")

Event = tuple[str, Any]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What an export file holds and what is wrong with it.

    Attributes:
        posts: How many were found, as far as the file could be read.
        bytes: The size of the whole file.
        sha256: The digest of the whole file, in hexadecimal.
        faults: In plain English, in the file's order; none when the file is right, and no more
            than `MAX_FAULTS` and a remark that there are others.
    """

    posts: int
    bytes: int
    sha256: str
    faults: tuple[str, ...]


def verify(file: BinaryIO, *, progress: Callable[[int], None] | None = None) -> Verdict:
    """Check form, order and count of an export.

    Args:
        file: Opened in binary mode; read from where it stands to its end.
        progress: Called after each chunk with the number of bytes read so far.

    Returns:
        The verdict; a broken file makes for faults, never for an exception.
    """
    source = _Source(file, progress)
    document = _Document()
    try:
        document.read(_events(source))
    except (ijson.JSONError, ValueError) as error:  # its backends let some ValueErrors through
        document.fault(f"not valid JSON: {_first_line(error)}")
    for _ in source:
        pass  # size and digest are those of the whole file
    return Verdict(
        posts=document.posts,
        bytes=source.bytes,
        sha256=source.digest.hexdigest(),
        faults=tuple(document.faults),
    )


class _Source:
    """The file's chunks, counted and hashed as they pass."""

    def __init__(self, file: BinaryIO, progress: Callable[[int], None] | None) -> None:
        self._file = file
        self._progress = progress
        self.bytes = 0
        self.digest = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self._file.read(CHUNK_BYTES):
            self.bytes += len(chunk)
            self.digest.update(chunk)
            if self._progress:
                self._progress(self.bytes)
            yield chunk


def _events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """Parse chunks into (event, value) pairs that always form one whole JSON value.

    Raises:
        ijson.JSONError, ValueError: The chunks are no JSON, or something follows the value.
    """
    events = ijson.sendable_list()
    # Without `use_float` the C backend (3.6) answers a number of more digits than `int` takes
    # with a half-built event and a SystemError.
    parser = ijson.basic_parse_coro(events, use_float=True)
    for chunk in chunks:
        parser.send(chunk)
        yield from events
        events.clear()
    parser.close()
    yield from events


class _Document:
    """Reads events as an export document and notes what does not fit."""

    def __init__(self) -> None:
        self.posts = 0
        self.faults: list[str] = []
        self._seen: set[str] = set()
        self._last = datetime.min.replace(tzinfo=UTC)

    def fault(self, text: str) -> None:
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(text)
        elif len(self.faults) == MAX_FAULTS:
            self.faults.append("there are further faults")

    def read(self, events: Iterator[Event]) -> None:
        event, _ = next(events)
        if event == "start_map":
            self._read_members(events)
        else:
            self.fault("not a JSON object")
        for _ in events:
            pass  # the parser objects to anything after the value only when it is asked to go on

    def _read_members(self, events: Iterator[Event]) -> None:
        for event, name in events:
            if event == "end_map":
                break
            if name in self._seen:
                self.fault(f"{name} stands there twice")
            if name in _MEMBERS:
                self._seen.add(name)
            self._read_member(name, events)
        for name in _MEMBERS:
            if name not in self._seen:
                self.fault(f"{name} is missing")

    def _read_member(self, name: str, events: Iterator[Event]) -> None:
        event, value = next(events)
        if name == "posts" and event == "start_array":
            self._read_posts(events)
            return
        if name == "posts":
            self.fault("posts is not an array")
        elif name == "count":
            self._compare_count(value if event == "number" else None)
        _skip(event, events)

    def _read_posts(self, events: Iterator[Event]) -> None:
        for event, _ in events:
            if event == "end_array":
                return
            self.posts += 1
            if event == "start_map":
                self._read_post(events)
            else:
                self.fault(f"post {self.posts}: not an object")
                _skip(event, events)

    def _read_post(self, events: Iterator[Event]) -> None:
        strings: dict[str, str] = {}
        fits = True
        for event, name in events:
            if event == "end_map":
                break
            kind, value = next(events)
            if kind == "string" and name in _POST_MEMBERS and name not in strings:
                strings[name] = value
            else:
                fits = False
                _skip(kind, events)
        if not fits or len(strings) < len(_POST_MEMBERS):
            self.fault(f"post {self.posts}: expected exactly two strings, body and timestamp")
        if "timestamp" in strings:
            self._check_order(strings["timestamp"])

    def _check_order(self, timestamp: str) -> None:
        try:
            moment = parse_time(timestamp)
        except ValueError as error:
            self.fault(f"post {self.posts}: timestamp: {error}")
            return
        if moment < self._last:
            self.fault(f"post {self.posts}: older than the post before it")
        self._last = moment

    def _compare_count(self, count: float | None) -> None:
        if "posts" not in self._seen:
            self.fault("count comes before posts")
        elif count is None:
            self.fault("count is not a number")
        elif count != self.posts:
            self.fault(f"count is {count}, but there are {self.posts} posts")


def _skip(event: str, events: Iterator[Event]) -> None:
    """Pass over the rest of the value that the event began."""
    depth = 0
    while True:
        if event.startswith("start_"):
            depth += 1
        elif event.startswith("end_"):
            depth -= 1
        if not depth:
            return
        event, _ = next(events)


def _first_line(error: Exception) -> str:
    """Leave out the excerpt that yajl appends: it holds somebody's words, perhaps as bytes."""
    message = error.args[0] if error.args else ""
    text = message.decode(errors="replace") if isinstance(message, bytes) else str(error)
    return text.partition("\n")[0][:200]
