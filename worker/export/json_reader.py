"""Reads JSON of any size, piece by piece, strict by the letter of RFC 8259.

We know no parser that does both. Those that stream accept what is not JSON: ijson 3.6 takes a form
feed for white space, and its yajl backend an open string after the value. Those that are strict
want the whole text in memory. Here an array of a million rows passes through in flat memory, and a
single string or number is bounded.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

CHUNK_BYTES = 1 << 16

MAX_TOKEN_BYTES = 4 * 1024 * 1024
"""A string or a number is never longer: as much as a page of an export."""

MAX_DEPTH = 1000
"""How deep arrays and objects may be in each other."""

_SPACES = b" \t\n\r"
_SPACE = re.compile(rb"[ \t\n\r]*+")
_PART = rb"""[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"""
_STRING = re.compile(rb'"' + _PART + rb'"')
_OPEN_STRING = re.compile(rb'"' + _PART + rb"(?:\\(?:u[0-9a-fA-F]{0,3}+)?)?")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?")
_MEMBER = b"%(string)b%(space)b:%(space)b(?>%(string)b|%(number)b|true|false|null)%(space)b" % {
    b"string": _STRING.pattern,
    b"number": _NUMBER.pattern,
    b"space": _SPACE.pattern,
}
_FLAT_OBJECT = re.compile(
    rb"\{%b(?:%b(?:,%b%b)*+)?+\}" % (_SPACE.pattern, _MEMBER, _SPACE.pattern, _MEMBER)
)
_NESTING = 32
"""How deep `JsonReader.item` looks for an end by one pattern, which takes no memory of its own."""


def _nested(depth: int) -> re.Pattern[bytes]:
    """A pattern for an array or an object by its brackets alone; a parser is to look inside."""
    flat = rb'[^"{}\[\]]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"'
    content = rb"(?:%b)*+" % flat
    for _ in range(depth - 1):
        content = rb"(?:%b|[{\[]%b[}\]])*+" % (flat, content)
    return re.compile(rb"[{\[]%b[}\]]" % content, re.DOTALL)


_NESTED = _nested(_NESTING)
_NUMBER_SO_FAR = re.compile(rb"[-+.0-9eE]*+")
_LITERALS = {b"t": (b"true", True), b"f": (b"false", False), b"n": (b"null", None)}
_INTEGER = re.compile("-?(?:0|[1-9][0-9]*+)")
_CLOSING = {b"[": b"]", b"{": b"}"}


class UnreadableError(Exception):
    """Nothing more can be read; the message says why, and nothing of what people wrote."""


class NotJsonError(UnreadableError):
    """What was read is no JSON."""

    def __init__(self, why: str) -> None:
        super().__init__(f"not valid JSON: {why}")


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it is written: JSON knows no bounds, Python's numbers do."""

    text: str

    @property
    def is_integer(self) -> bool:
        """Whether it is written without a fraction and an exponent."""
        return _INTEGER.fullmatch(self.text) is not None


class Array:
    """An array that was read and not kept."""


class Object:
    """An object that was read and not kept."""


Value = str | Number | bool | None | Array | Object


# Of text that a pattern has matched: what else it would accept, it does not get to see.
_FLAT = json.JSONDecoder(object_pairs_hook=list, parse_int=Number, parse_float=Number)


class JsonReader:
    """A text, of which one part after another is read.

    Args:
        read: Gives the next so many bytes of the text or fewer; none at its end.
        offset: How many bytes of the text went before.
    """

    def __init__(self, read: Callable[[int], bytes], *, offset: int = 0) -> None:
        self._read = read
        self._buffer = b""
        self._at = 0
        self._passed = offset

    @property
    def offset(self) -> int:
        """How many bytes of the text were passed."""
        return self._passed + self._at

    def peek(self) -> bytes:
        """The next byte that is no white space; none at the end."""
        first = self._buffer[self._at : self._at + 1]
        if first and first not in _SPACES:
            return first
        while True:
            self._at = self._end_of(_SPACE)
            if self._at < len(self._buffer) or not self._more():
                return self._buffer[self._at : self._at + 1]

    def expect(self, expected: bytes) -> bytes:
        """Pass over the next byte, which must be one of these.

        Raises:
            NotJsonError: It is another one.
        """
        found = self.peek()
        if not found or found not in expected:
            raise self._unexpected()
        self._at += 1
        return found

    def end(self) -> None:
        """Make sure that nothing follows.

        Raises:
            NotJsonError: Something does.
        """
        if self.peek():
            raise NotJsonError(f"something follows the value at byte {self.offset}")

    def members(self) -> Iterator[str]:
        """The names of an object's members; each one's value must be read before the next.

        Raises:
            NotJsonError: No object is there.
        """
        self.expect(b"{")
        if self.peek() == b"}":
            self.expect(b"}")
            return
        while True:
            yield self.name()
            if self.expect(b",}") == b"}":
                return

    def pairs(self, *, max_bytes: int) -> list[tuple[str, Value]]:
        """An object's members: names, of which one may be there twice, and values.

        Raises:
            NotJsonError: No object is there.
            UnreadableError: It is longer than so many bytes.
        """
        found = self._match(_FLAT_OBJECT)
        if found is not None and found.end() - found.start() <= max_bytes:
            with suppress(UnicodeDecodeError):
                pairs: list[tuple[str, Value]] = _FLAT.decode(found[0].decode())
                self._at = found.end()
                return pairs
        began, pairs = self.offset, []
        for name in self.members():
            pairs.append((name, self.value()))
            if self.offset - began > max_bytes:
                raise UnreadableError(
                    f"the object at byte {began} is longer than {max_bytes} bytes"
                )
        return pairs

    def string(self) -> str:
        """A string.

        Raises:
            NotJsonError: None is there.
            UnreadableError: It is too long.
        """
        if self.peek() != b'"':
            raise self._unexpected()
        while (found := self._match(_STRING)) is None:
            if self._end_of(_OPEN_STRING) < len(self._buffer) or not self._more_of_token():
                raise NotJsonError(f"the string at byte {self.offset} is not well-formed")
        self._bound(len(found[0]))
        try:
            text = found[0].decode()
        except UnicodeDecodeError:
            raise NotJsonError(f"the string at byte {self.offset} is not UTF-8") from None
        self._at = found.end()
        return str(json.loads(text)) if "\\" in text else text[1:-1]

    def name(self) -> str:
        """A member's name, and the colon after it.

        Raises:
            NotJsonError: None is there.
        """
        name = self.string()
        self.expect(b":")
        return name

    def item(self, *, max_bytes: int) -> bytes | None:
        """An array or an object as it is written, for a faster parser, which must be a strict one.

        Returns:
            The text, of which only the brackets were looked at; None when it is neither, or longer
            than so many bytes, or deeper than `_NESTING`: then it was read and not kept.

        Raises:
            NotJsonError: No value is there.
            UnreadableError: A part of it is too long or too deep.
        """
        if self.peek() in _CLOSING:
            while (found := self._match(_NESTED)) is None:
                if self.ahead > max_bytes or not self._more():
                    break
            if found and found.end() - found.start() <= max_bytes:
                self._at = found.end()
                return found[0]
        self.value()
        return None

    def value(self) -> Value:
        """Any value; what an array or an object holds is read and not kept.

        Raises:
            NotJsonError: None is there.
            UnreadableError: It is too long or too deep.
        """
        first = self.peek()
        if first not in _CLOSING:
            return self._scalar(first)
        self._skip()
        return Array() if first == b"[" else Object()

    def lines(self) -> bytes | None:
        """What is read already, up to the last comma that ends a line; None if there is none.

        In a document with one row a line, these are whole rows, for a faster parser. Nothing is
        passed over; see `advance`.
        """
        if self.ahead < CHUNK_BYTES // 2:
            self._more()
        end = self._buffer.rfind(b",\n", self._at)
        return self._buffer[self._at : end] if end > self._at else None

    @property
    def ahead(self) -> int:
        """How many bytes are read already and not passed."""
        return len(self._buffer) - self._at

    def advance(self, count: int) -> None:
        """Pass over so many bytes of what is read already."""
        self._at += count

    def _scalar(self, first: bytes) -> str | Number | bool | None:
        if first == b'"':
            return self.string()
        if first in _LITERALS:
            return self._literal(*_LITERALS[first])
        return self._number()

    def _literal(self, text: bytes, value: bool | None) -> bool | None:
        while self.ahead < len(text) and self._more():
            pass
        if not self._buffer.startswith(text, self._at):
            raise self._unexpected()
        self._at += len(text)
        return value

    def _number(self) -> Number:
        while self._end_of(_NUMBER_SO_FAR) == len(self._buffer) and self._more_of_token():
            pass
        end = self._end_of(_NUMBER_SO_FAR)
        self._bound(end - self._at)
        found = _NUMBER.fullmatch(self._buffer, self._at, end)
        if found is None:
            raise self._unexpected()
        self._at = end
        return Number(found[0].decode())

    def _skip(self) -> None:
        """Pass over an array or an object, and over all that it holds."""
        opened: list[bytes] = []
        while True:
            first = self.peek()
            if first in _CLOSING:
                self._at += 1
                opened.append(first)
                if len(opened) > MAX_DEPTH:
                    raise UnreadableError(f"what is at byte {self.offset} is too deep")
                if self.peek() != _CLOSING[first]:
                    self._begin_item(first)
                    continue
            else:
                self._scalar(first)
            while opened:
                if self.expect(b"," + _CLOSING[opened[-1]]) == b",":
                    self._begin_item(opened[-1])
                    break
                opened.pop()
            else:
                return

    def _begin_item(self, container: bytes) -> None:
        if container == b"{":
            self.name()

    def _match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        return pattern.match(self._buffer, self._at)

    def _end_of(self, pattern: re.Pattern[bytes]) -> int:
        """Where a pattern ends that may also match nothing."""
        found = self._match(pattern)
        return found.end() if found else self._at

    def _more(self) -> bool:
        """Read on; whether there was more."""
        rest = self._buffer[self._at :]
        # Twice as much each time, so that a long token is scanned a few times, not once a chunk.
        chunk = self._read(max(CHUNK_BYTES, len(rest)))
        self._passed += self._at
        self._at = 0
        self._buffer = rest + chunk
        return bool(chunk)

    def _more_of_token(self) -> bool:
        self._bound(self.ahead)
        return self._more()

    def _bound(self, size: int) -> None:
        if size > MAX_TOKEN_BYTES:
            raise UnreadableError(f"what begins at byte {self.offset} is longer than 4 MiB")

    def _unexpected(self) -> NotJsonError:
        if self.peek():
            return NotJsonError(f"byte {self.offset} is unexpected")
        return NotJsonError("it ends too early")
