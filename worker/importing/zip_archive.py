"""ZIP files (APPNOTE 6.3.x) of strangers, read in flat memory.

`zipfile` makes an object for every member before one can look at any, so that a file of 50 MB takes
a gigabyte; and it does not mind members that overlap, out of which the best bombs are made. Here
the directory passes by, and only the few members that may hold posts are kept.
"""

import re
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, BinaryIO, NamedTuple

from worker.importing.members import Candidates, Member, check_path, clean_name
from worker.importing.reading import Content, Progress, refused
from worker.importing.unpacking import CHUNK_BYTES, Budget, Inflater

SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")
"""With what a ZIP file begins; with the second one if it is empty."""

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_FIELD = struct.Struct("<2H")
_WIDE = struct.Struct("<Q")
_ZIP64 = 1
_UNKNOWN = 0xFFFFFFFF
"""Stands where a number is too large for its 32 bits, and is in the extra field."""

_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _UTF8 = 0x1, 0x800
_UNIX = 3
_LONGEST_ENTRY = _ENTRY.size + 3 * 0xFFFF
_DRIVE = re.compile(r"[A-Za-z]:")
PLACE_BYTES = 512 * 1024
"""So far apart, unpacked, are the places where a later attempt can begin."""

_LONGEST_TARGET = 4096
"""Of a link, in bytes: as much as Linux allows."""


class Entry(NamedTuple):
    """What the directory says of a member."""

    name: str
    is_encrypted: bool
    method: int
    crc: int
    packed_bytes: int
    bytes: int
    offset: int
    is_link: bool

    @property
    def end(self) -> int:
        """Before this place nothing else may begin."""
        return self.offset + _LOCAL.size + self.packed_bytes


@dataclass(frozen=True, slots=True)
class _Directory:
    """Where the directory is, and how much is before the archive in the file."""

    start: int
    end: int
    members: int
    prefix: int


def members_of(file: BinaryIO, budget: Budget) -> list[Member]:
    """The members that may hold posts, once all of them are known to do no harm.

    Raises:
        ImportRefused: The archive is damaged or dangerous.
    """
    directory = _find_directory(file, budget.size)
    if directory.members > budget.limits.members:
        raise refused("too_many_members")
    candidates = Candidates()
    spans: list[tuple[int, int]] = []
    unpacked = 0
    for entry in _entries(file, directory):
        spans.append((entry.offset, entry.end))
        if len(spans) > budget.limits.members:
            raise refused("too_many_members")
        unpacked += entry.bytes
        _check(file, entry, budget)
        if not entry.is_link:
            candidates.offer(entry.name, partial(_member, file, entry, budget))
    budget.check(unpacked, budget.size)
    _check_spans(spans, directory.start)
    return candidates.members()


def _member(file: BinaryIO, entry: Entry, budget: Budget) -> Member:
    return Member(entry.name, ZipMember(file, entry, budget))


def _check(file: BinaryIO, entry: Entry, budget: Budget) -> None:
    """APPNOTE, section 4.4.17: a path is relative, and names no drive."""
    if entry.name.startswith("/") or _DRIVE.match(entry.name):
        raise refused("path_escapes")
    check_path(entry.name)
    if entry.is_link:
        target = _target(ZipMember(file, entry, budget))
        if target.startswith("/"):
            raise refused("path_escapes")
        check_path(f"{entry.name.rpartition('/')[0]}/{target}")


def _target(link: "ZipMember") -> str:
    link.open()
    target = link.read(_LONGEST_TARGET)
    if len(target) == _LONGEST_TARGET:
        raise refused("path_escapes")
    return target.decode("utf-8", "replace")


def _check_spans(spans: list[tuple[int, int]], end: int) -> None:
    spans.sort()
    spans.append((end, end))
    for (_, this_end), (next_start, _) in pairwise(spans):
        if this_end > next_start:
            raise refused("overlapping_members")


def _find_directory(file: BinaryIO, size: int) -> _Directory:
    tail_size = min(size, _END.size + 0xFFFF)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    at = _find_end(tail)
    _, disk, first_disk, _, count, length, offset, _ = _END.unpack_from(tail, at)
    end = size - tail_size + at
    if _UNKNOWN in {length, offset} or count == 0xFFFF:  # noqa: PLR2004
        end, count, length, offset = _find_directory64(file, end) or (end, count, length, offset)
    elif disk or first_disk:
        raise refused("malformed")
    start = end - length
    if not 0 <= offset <= start:
        raise refused("malformed")
    return _Directory(start, end, count, start - offset)


def _find_end(tail: bytes) -> int:
    """Where the end record begins; its comment goes to the end of the file, and may hold one."""
    last = at = tail.rfind(b"PK\x05\x06", 0, max(0, len(tail) - _END.size + 4))
    while at >= 0:
        if at + _END.size + int(_END.unpack_from(tail, at)[7]) == len(tail):
            return at
        at = tail.rfind(b"PK\x05\x06", 0, at)
    if last < 0:
        raise refused("malformed")
    return last  # something was added to the file


def _find_directory64(file: BinaryIO, end: int) -> tuple[int, int, int, int] | None:
    """The same for a large file; None if it is none after all."""
    locator = _unpack(_END64_LOCATOR, file, end - _END64_LOCATOR.size)
    if locator is None or locator[0] != b"PK\x06\x07":
        return None
    for place in (locator[2], end - _END64_LOCATOR.size - _END64.size):
        found = _unpack(_END64, file, place)
        if found is not None and found[0] == b"PK\x06\x06":
            return place, found[7], found[8], found[9]
    raise refused("malformed")


def _unpack(form: struct.Struct, file: BinaryIO, place: int) -> tuple[Any, ...] | None:
    if place < 0:
        return None
    file.seek(place)
    data = file.read(form.size)
    return form.unpack(data) if len(data) == form.size else None


def _entries(file: BinaryIO, directory: _Directory) -> Iterator[Entry]:
    buffer, at, following = b"", 0, directory.start
    while following < directory.end or at < len(buffer):
        if len(buffer) - at < _LONGEST_ENTRY and following < directory.end:
            file.seek(following)  # a link's target may have been read meanwhile
            more = file.read(min(16 * CHUNK_BYTES, directory.end - following))
            if not more:
                raise refused("malformed")
            buffer, at, following = buffer[at:] + more, 0, following + len(more)
        entry, at = _entry(buffer, at, directory.prefix)
        yield entry


def _entry(buffer: bytes, at: int, prefix: int) -> tuple[Entry, int]:
    """The member's entry at a place, and where the next one is."""
    if len(buffer) - at < _ENTRY.size:
        raise refused("malformed")
    (
        signature, made_by, _, flags, method, _, _, crc, packed, size, name_length, extra_length,
        comment_length, _, _, attributes, offset,
    ) = _ENTRY.unpack_from(buffer, at)  # fmt: skip
    name_start = at + _ENTRY.size
    name_end = name_start + name_length
    extra_end = name_end + extra_length
    end = extra_end + comment_length
    if signature != b"PK\x01\x02" or end > len(buffer):
        raise refused("malformed")
    size, packed, offset = _wide(buffer[name_end:extra_end], (size, packed, offset))
    name = buffer[name_start:name_end].partition(b"\0")[0]
    is_link = made_by >> 8 == _UNIX and stat.S_ISLNK(attributes >> 16)
    entry = Entry(
        clean_name(_decoded(name, is_utf8=bool(flags & _UTF8))),
        bool(flags & _ENCRYPTED),
        method,
        crc,
        packed,
        size,
        prefix + offset,
        is_link,
    )
    return entry, end


def _decoded(name: bytes, *, is_utf8: bool) -> str:
    # Many programs write UTF-8 and do not say so; what we look for is ASCII in any case.
    return name.decode("utf-8", "replace") if is_utf8 else name.decode("cp437")


def _wide(extra: bytes, numbers: tuple[int, int, int]) -> tuple[int, int, int]:
    """Numbers with those of the ZIP64 extra field where they are too large (4.5.3)."""
    if _UNKNOWN not in numbers:
        return numbers
    while len(extra) >= _FIELD.size:
        kind, length = _FIELD.unpack_from(extra)
        field, extra = extra[_FIELD.size : _FIELD.size + length], extra[_FIELD.size + length :]
        if kind == _ZIP64:
            wide = iter([one for (one,) in _WIDE.iter_unpack(field[: len(field) // 8 * 8])])
            size, packed, offset = (next(wide, one) if one == _UNKNOWN else one for one in numbers)
            return size, packed, offset
    return numbers


class Place(NamedTuple):
    """Somewhere in a member where one can begin: packed and unpacked offset, and the CRC so far."""

    packed: int
    offset: int
    crc: int


BEGINNING = Place(0, 0, 0)


class ZipMember(Content):
    """What a member of a ZIP file holds.

    Args:
        file: The archive.
        entry: What its directory says of the member.
        budget: How much it may become.
    """

    def __init__(self, file: BinaryIO, entry: Entry, budget: Budget) -> None:
        self._file = file
        self._entry = entry
        self._budget = budget
        self._start = -1
        self._packed_at = self._crc = 0
        self._offset = -1
        self._places = [BEGINNING]
        self._watched: Place | None = None

    def place_before(self, offset: int) -> Any:  # noqa: D102 - see Content
        while len(self._places) > 1 and self._places[1].offset <= offset:
            self._places.pop(0)
        return self._places[0]

    def begin_at(self, place: Any) -> None:  # noqa: D102
        self._places = [Place(*place)]
        self._offset = -1

    def open(self, offset: int = 0) -> None:
        """Go to a place; one that is behind is reached from the beginning, or near to it."""
        if not 0 <= self._offset <= offset:
            self._rewind(self._places[0] if self._places[0].offset <= offset else BEGINNING)
        while self._offset < offset:
            if not self.read(min(offset - self._offset, 16 * CHUNK_BYTES)):
                raise refused("malformed")

    def _rewind(self, place: Place) -> None:
        if self._entry.is_encrypted:
            raise refused("encrypted")
        if self._entry.method not in {_STORED, _DEFLATED}:
            raise refused("unsupported_compression")
        if self._start < 0:
            self._start = self._find_start()
        self._packed_at, self._offset, self._crc = place
        self._inflater = Inflater(self._packed)
        self._watched = None

    def _find_start(self) -> int:
        local = _unpack(_LOCAL, self._file, self._entry.offset)
        if local is None or local[0] != b"PK\x03\x04":
            raise refused("malformed")
        return self._entry.offset + _LOCAL.size + int(local[9]) + int(local[10])

    def read(self, size: int) -> bytes:  # noqa: D102
        if self._entry.method == _STORED:
            data, may_begin = self._packed(size), True
        else:
            data, may_begin = self._inflater.inflate(size)
        self._offset += len(data)
        self._crc = zlib.crc32(data, self._crc)
        self._budget.check(self._offset, self._packed_at)
        if self._offset > self._entry.bytes or (not data and self._is_damaged()):
            raise refused("malformed")
        self._note_place(may_begin=may_begin)
        return data

    def _is_damaged(self) -> bool:
        return (self._offset, self._crc) != (self._entry.bytes, self._entry.crc)

    def _note_place(self, *, may_begin: bool) -> None:
        """Keep in mind where a later attempt could begin."""
        if self._watched is not None and self._inflater.is_proven:
            self._places.append(self._watched)
            self._watched = None
        if may_begin and self._offset - self._places[-1].offset >= PLACE_BYTES:
            here = Place(self._packed_at - self._inflater.ahead, self._offset, self._crc)
            if self._entry.method == _STORED:
                self._places.append(here)
            elif self._watched is None or not self._inflater.is_watching:
                self._watched = here
                self._inflater.watch()

    def _packed(self, size: int) -> bytes:
        wanted = min(size, self._entry.packed_bytes - self._packed_at)
        if wanted <= 0:
            return b""
        self._file.seek(self._start + self._packed_at)
        data = self._file.read(wanted)
        self._packed_at += len(data)
        return data

    @property
    def progress(self) -> Progress:  # noqa: D102
        return Progress(self._packed_at, self._entry.packed_bytes)
