"""The container: the structures of a ZIP file around the compressed bytes of its members.

By APPNOTE.TXT 6.3.10, whose sections are named below. We know no library that can go on in the
middle of a member: Python's `zipfile`, stream-zip, zipstream-ng and zipfly keep the state of a
member, and the list of members, in the process alone. Here all of it is a few numbers.

Nothing in here reads a clock or the machine: the same members make the same bytes. zlib-ng
compresses, for it takes about half of the time that zlib does at the same level and makes files
that are hardly larger. It comes with its wheel, in the version that the lock names: so a machine's
own zlib does not matter. isal is faster still, but has four levels only, and its files are a fifth
larger at least.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from struct import pack

from zlib_ng import zlib_ng

LEVEL = 6
"""zlib's own default; gzip's and Info-ZIP's, too."""

crc32 = zlib_ng.crc32
"""Of a member's bytes, or of more of them."""

_UTF8 = 1 << 11
_DESCRIBED_AFTER = 1 << 3
_DEFLATED = 8
_PLAIN, _ZIP64 = 20, 45
"""Versions needed to extract (4.4.3.2)."""

_MADE_BY = 3 << 8 | _ZIP64  # Unix, so that the attributes are a mode
_MODE = 0o100644 << 16
_MAX_32, _MAX_16 = 0xFFFFFFFF, 0xFFFF
_UNKNOWN = 0


@dataclass(frozen=True)
class Entry:
    """A member as the directory lists it.

    Attributes:
        path: Its name.
        offset: Where its local header begins.
        crc: CRC-32 of what it holds.
        size: How many bytes it holds.
        packed: How many they are compressed.
        streamed: Whether the numbers stand after its data, for they were unknown before.
    """

    path: str
    offset: int
    crc: int
    size: int
    packed: int
    streamed: bool


def deflated(data: bytes, *, last: bool) -> bytes:
    """Compress a block as raw deflate (RFC 1951); blocks one after the other are one stream.

    A full flush ends on a byte and forgets what came before, so that no block needs another one.
    """
    packer = zlib_ng.compressobj(LEVEL, zlib_ng.DEFLATED, -zlib_ng.MAX_WBITS)
    end = zlib_ng.Z_FINISH if last else zlib_ng.Z_FULL_FLUSH
    return packer.compress(data) + packer.flush(end)


def local_header(path: str, at: datetime, entry: Entry | None) -> bytes:
    """What stands before a member's data (4.3.7).

    Args:
        path: Its name.
        at: When it was written.
        entry: Its numbers; None when they follow in a descriptor. Then the sizes are announced as
            64 bits, for nobody knows yet whether they need them.
    """
    name, extra = path.encode(), _extended_time(at)
    if entry is None:
        extra = pack("<2H2Q", 1, 16, _UNKNOWN, _UNKNOWN) + extra
        version, flags, numbers = _ZIP64, _UTF8 | _DESCRIBED_AFTER, (_UNKNOWN, _MAX_32, _MAX_32)
    else:
        version, flags, numbers = _PLAIN, _UTF8, (entry.crc, entry.packed, entry.size)
    fixed = (version, flags, _DEFLATED, *_dos_time(at), *numbers, len(name), len(extra))
    return pack("<4s5H3L2H", b"PK\x03\x04", *fixed) + name + extra


def descriptor(entry: Entry) -> bytes:
    """What stands after the data of a member whose numbers were unknown before (4.3.9)."""
    return pack("<4sL2Q", b"PK\x07\x08", entry.crc, entry.packed, entry.size)


def directory(entries: Sequence[Entry], at: datetime, offset: int) -> bytes:
    """What stands after all members (4.3.12 to 4.3.16).

    Args:
        entries: The members, in their order.
        at: When they were written.
        offset: Where the directory begins.
    """
    listed = b"".join(_listed(entry, at) for entry in entries)
    count, size = len(entries), len(listed)
    end = b""
    if count >= _MAX_16 or size >= _MAX_32 or offset >= _MAX_32:
        sizes = (count, count, size, offset)
        end += pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, _MADE_BY, _ZIP64, 0, 0, *sizes)
        end += pack("<4sLQL", b"PK\x06\x07", 0, offset + size, 1)
    few, short = min(count, _MAX_16), (min(size, _MAX_32), min(offset, _MAX_32))
    return listed + end + pack("<4s4H2LH", b"PK\x05\x06", 0, 0, few, few, *short, 0)


def _listed(entry: Entry, at: datetime) -> bytes:
    """A member's header in the directory (4.3.12)."""
    name, numbers = entry.path.encode(), (entry.size, entry.packed, entry.offset)
    long = [one for one in numbers if one >= _MAX_32]
    wide = pack(f"<2H{len(long)}Q", 1, 8 * len(long), *long) if long else b""
    size, packed, offset = (min(one, _MAX_32) for one in numbers)
    extra = wide + _extended_time(at)
    version = _ZIP64 if entry.streamed or long else _PLAIN
    flags = _UTF8 | _DESCRIBED_AFTER if entry.streamed else _UTF8
    fixed = (_MADE_BY, version, flags, _DEFLATED, *_dos_time(at), entry.crc, packed, size)
    lengths = (len(name), len(extra), 0, 0, 0, _MODE, offset)
    return pack("<4s6H3L5H2L", b"PK\x01\x02", *fixed, *lengths) + name + extra


def _dos_time(at: datetime) -> tuple[int, int]:
    """Time and date in MS-DOS's way (4.4.6), which knows no zone, and no year before 1980."""
    at = max(at.astimezone(UTC), datetime(1980, 1, 1, tzinfo=UTC))
    time = at.hour << 11 | at.minute << 5 | at.second // 2
    return time, (at.year - 1980) << 9 | at.month << 5 | at.day


def _extended_time(at: datetime) -> bytes:
    """The time in UTC, to the second (Info-ZIP's extra field 0x5455); it has 31 bits."""
    seconds = int(at.timestamp())
    return pack("<2HBl", 0x5455, 5, 1, seconds) if 0 <= seconds < 1 << 31 else b""
