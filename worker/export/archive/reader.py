"""Reads the container of an archive, in flat memory, and trusts nothing in it.

Python's `zipfile` would do, were it not lenient: it looks neither at what stands between members
nor at most of a local header, and so at what other programs go by.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import calcsize, unpack
from typing import BinaryIO

MAX_DIRECTORY_BYTES = 256 * 1024 * 1024
"""Far more than a million members need."""

CHUNK_BYTES = 256 * 1024

_LOCAL = "<4s5H3L2H"
_LISTED = "<4s6H3L5H2L"
_END = "<4s4H2LH"
_LOCATOR = "<4sLQL"
_END_64 = "<4sQ2H2L4Q"
_MAX_32, _MAX_16 = 0xFFFFFFFF, 0xFFFF
_DESCRIBED_AFTER = 1 << 3
_ENCRYPTED = 1
_STORED, _DEFLATED = 0, 8
_LONGEST_COMMENT = 0xFFFF


class DamagedError(Exception):
    """Something cannot be read; the message says what and why."""


@dataclass(frozen=True)
class Listed:
    """A member as the directory lists it.

    Attributes:
        path: Its name.
        flags: General purpose bits (APPNOTE 4.4.4).
        method: How it is compressed.
        time: When it was written, as MS-DOS has it.
        crc: CRC-32 of what it holds.
        packed: How many bytes it has in the archive.
        size: How many it holds.
        offset: Where its local header begins.
    """

    path: str
    flags: int
    method: int
    time: tuple[int, int]
    crc: int
    packed: int
    size: int
    offset: int


@dataclass(frozen=True)
class Directory:
    """The directory of an archive.

    Attributes:
        members: The members, in the order in which they are listed.
        offset: Where it begins.
    """

    members: Sequence[Listed]
    offset: int


def read_directory(file: BinaryIO, size: int) -> Directory:
    """Read the directory of a file of so many bytes.

    Raises:
        DamagedError: There is none, or it is not whole.
    """
    at, count, length, offset = _end_of(file, size)
    if length > MAX_DIRECTORY_BYTES:
        raise DamagedError("the directory is too large")
    if offset + length != at:
        raise DamagedError("the directory is not where the end of the archive says")
    data = _read(file, offset, length, "the directory")
    members = list(_listed(data))
    if len(members) != count:
        raise DamagedError(f"the directory has {len(members)} members, not {count} as its end says")
    return Directory(members, offset)


def _end_of(file: BinaryIO, size: int) -> tuple[int, int, int, int]:
    """Where the directory ends, how many members it has, its length, and where it begins."""
    tail = min(size, calcsize(_END) + _LONGEST_COMMENT)
    data = _read(file, size - tail, tail, "the end of the archive")
    found = data.rfind(b"PK\x05\x06")
    if found < 0 or tail - found < calcsize(_END):
        raise DamagedError("the end of the archive is missing: it was cut off, or is no archive")
    _, _, _, here, count, length, offset, comment = unpack(
        _END, data[found : found + calcsize(_END)]
    )
    if found + calcsize(_END) + comment != tail or here != count:
        raise DamagedError("the end of the archive is damaged")
    at = size - tail + found
    if count != _MAX_16 and _MAX_32 not in (length, offset):
        return at, count, length, offset
    return _end_of_long(file, at)


def _end_of_long(file: BinaryIO, at: int) -> tuple[int, int, int, int]:
    """The same of an archive with numbers of 64 bits (4.3.14, 4.3.15)."""
    size = calcsize(_LOCATOR)
    name, _, where, _ = unpack(_LOCATOR, _read(file, at - size, size, "the ZIP64 locator"))
    if name != b"PK\x06\x07":
        raise DamagedError("the ZIP64 locator is damaged")
    size = calcsize(_END_64)
    name, _, _, _, _, _, here, count, length, offset = unpack(
        _END_64, _read(file, where, size, "the ZIP64 end of the archive")
    )
    if name != b"PK\x06\x06" or here != count or where + size != at - calcsize(_LOCATOR):
        raise DamagedError("the ZIP64 end of the archive is damaged")
    return where, count, length, offset


def _listed(data: bytes) -> Iterator[Listed]:
    at, fixed = 0, calcsize(_LISTED)
    while at < len(data):
        if len(data) - at < fixed or data[at : at + 4] != b"PK\x01\x02":
            raise DamagedError("the directory is damaged")
        (_, _, _, flags, method, time, date, crc, packed, size, *lengths, _, _, _, offset) = unpack(
            _LISTED, data[at : at + fixed]
        )
        name_end = at + fixed + lengths[0]
        end = name_end + lengths[1] + lengths[2]
        if end > len(data):
            raise DamagedError("the directory is damaged")
        path = _text(data[at + fixed : name_end])
        long = _long(data[name_end : name_end + lengths[1]], (size, packed, offset))
        yield Listed(path, flags, method, (time, date), crc, long[1], long[0], long[2])
        at = end


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise DamagedError("a member's name is not UTF-8") from None


def _long(extra: bytes, numbers: Sequence[int]) -> list[int]:
    """Numbers of 32 bits, or those of 64 that stand in the extra field for them (4.5.3)."""
    field, at = _field(extra, 1), 0
    found = []
    for number in numbers:
        if number != _MAX_32:
            found.append(number)
        elif len(field) - at >= calcsize("<Q"):
            found.append(int(unpack("<Q", field[at : at + 8])[0]))
            at += 8
        else:
            raise DamagedError("the directory lacks a number of 64 bits")
    return found


def _field(extra: bytes, wanted: int) -> bytes:
    at = 0
    while at + 4 <= len(extra):
        name, size = unpack("<2H", extra[at : at + 4])
        if name == wanted:
            return extra[at + 4 : at + 4 + size]
        at += 4 + size
    return b""


class MemberReader:
    """What a member holds, piece by piece; its numbers are those of the directory in the end.

    Args:
        file: The archive.
        listed: The member.

    Attributes:
        end: Where its data ends in the archive.

    Raises:
        DamagedError: Its local header is not what the directory says, or nobody can read it.
    """

    def __init__(self, file: BinaryIO, listed: Listed) -> None:
        self._file = file
        self._listed = listed
        self._at = _begin_of(file, listed)
        self.end = self._at + listed.packed
        self._is_deflated = listed.method == _DEFLATED
        self._unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        self._waiting = b""
        self._ready = b""
        self._crc = 0
        self._size = 0
        self._is_over = False

    def read(self, size: int) -> bytes:
        """The next bytes, at most so many; none at the end.

        Raises:
            DamagedError: They are not what the directory says.
        """
        while not self._ready and not self._is_over:
            self._unpack()
        data, self._ready = self._ready[:size], self._ready[size:]
        return data

    def _unpack(self) -> None:
        if not self._waiting and self._at < self.end:
            count = min(CHUNK_BYTES, self.end - self._at)
            self._waiting = _read(self._file, self._at, count, "the data")
            self._at += count
        data = self._inflated() if self._is_deflated else self._stored()
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        self._ready = data
        if self._size > self._listed.size:
            raise DamagedError("it holds more than the directory says")
        if self._is_over and self._size != self._listed.size:
            raise DamagedError(f"it holds {self._size} bytes, not {self._listed.size}")
        if self._is_over and self._crc != self._listed.crc:
            raise DamagedError("its CRC-32 is not that of the directory")

    def _stored(self) -> bytes:
        data, self._waiting = self._waiting, b""
        self._is_over = self._at >= self.end
        return data

    def _inflated(self) -> bytes:
        try:
            data = self._unpacker.decompress(self._waiting, CHUNK_BYTES)
        except zlib.error:
            raise DamagedError("its compressed data is damaged") from None
        self._waiting = self._unpacker.unconsumed_tail
        if self._unpacker.eof:
            if self._unpacker.unused_data or self._at < self.end:
                raise DamagedError("something follows its compressed data")
            self._is_over = True
        elif not data and not self._waiting and self._at >= self.end:
            raise DamagedError("its compressed data ends too early")
        return data


def _begin_of(file: BinaryIO, listed: Listed) -> int:
    """Where a member's data begins; its local header must say what the directory does."""
    size = calcsize(_LOCAL)
    name, _, flags, method, time, date, crc, packed, plain, length, extra = unpack(
        _LOCAL, _read(file, listed.offset, size, "the local header")
    )
    if name != b"PK\x03\x04":
        raise DamagedError("its local header is damaged")
    numbers = (listed.crc, listed.packed, listed.size)
    if flags & _DESCRIBED_AFTER:  # they follow the data, and the header has none or marks of them
        is_same = crc in {0, listed.crc}
    else:
        rest = _read(file, listed.offset + size + length, extra, "the local header")
        plain, packed = _long(rest, (plain, packed))
        is_same = (crc, packed, plain) == numbers
    path = _read(file, listed.offset + size, length, "the local header")
    said = (path, flags, method, (time, date))
    if not is_same or said != (listed.path.encode(), listed.flags, listed.method, listed.time):
        raise DamagedError("its local header is not what the directory says")
    if flags & _ENCRYPTED or method not in {_STORED, _DEFLATED}:
        raise DamagedError("it is encrypted or compressed in a way that no export is")
    return int(listed.offset + size + length + extra)


def check_gap(file: BinaryIO, listed: Listed, end: int, following: int) -> None:
    """What stands between a member's data and what follows it: its numbers, or nothing.

    Args:
        file: The archive.
        listed: The member.
        end: Where its data ends.
        following: Where the next member or the directory begins.

    Raises:
        DamagedError: Something else is there.
    """
    if following < end:
        raise DamagedError("what follows it begins within it")
    if not listed.flags & _DESCRIBED_AFTER:
        if following > end:
            raise DamagedError("something stands after it that belongs to no member")
        return
    gap = _read(file, end, min(following - end, 32), "the numbers after it")
    numbers = (listed.crc, listed.packed, listed.size)
    # With a signature or without, of 32 or of 64 bits: all of it is in use (4.3.9).
    bare = gap.removeprefix(b"PK\x07\x08")
    forms = [form for form in ("<L2L", "<L2Q") if calcsize(form) == len(bare)]
    if len(gap) == following - end and any(unpack(form, bare) == numbers for form in forms):
        return
    raise DamagedError("the numbers after its data are not those of the directory")


def _read(file: BinaryIO, at: int, size: int, what: str) -> bytes:
    if at < 0:
        raise DamagedError(f"{what} is missing")
    file.seek(at)
    data = file.read(size)
    if len(data) < size:
        raise DamagedError(f"{what} is cut off")
    return data
