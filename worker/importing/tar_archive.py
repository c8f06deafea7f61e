"""Tar files (POSIX pax, ustar, GNU) of strangers, read in flat memory.

`tarfile` reads a member's extended header into memory, however long it is, and keeps every member.
Here headers pass by. What may stand in an archive follows `tarfile`'s own data filter (PEP 706): a
leading slash does not count, and neither a path nor a link may lead out of the archive.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from chalicelib.errors import ImportRefused
from worker.importing.members import Candidates, Member, check_path, clean_name
from worker.importing.reading import Content, Limits, Progress, refused
from worker.importing.unpacking import CHUNK_BYTES

BLOCK_BYTES = 512
MAGIC = slice(257, 262), b"ustar"
"""What the first header has, and where."""

_LONGEST_HEADER = 64 * 1024
"""Of an extended header: a path, a link and a few times."""

_REGULAR = {b"0", b"\0", b"7"}
_LINKS = {b"1", b"2"}
_SYMBOLIC = b"2"


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says of a member, and where its bytes are in the archive."""

    name: str
    kind: bytes
    target: str
    bytes: int
    offset: int


def is_tar(head: bytes) -> bool:
    """Whether an archive begins with these bytes."""
    place, magic = MAGIC
    return head[place] == magic and _is_header(head[:BLOCK_BYTES])


def members_of(archive: Content, limits: Limits) -> list[Member]:
    """The members that may hold posts, once all of them are known to do no harm.

    Raises:
        ImportRefused: The archive is damaged or dangerous.
    """
    candidates = Candidates()
    for number, header in enumerate(_headers(archive), 1):
        if number > limits.members:
            raise refused("too_many_members")
        _check(header)
        if header.kind in _REGULAR:
            place = (header.name, header.offset, header.bytes)
            candidates.offer(header.name, partial(member_at, archive, *place))
    return candidates.members()


def member_at(archive: Content, name: str, offset: int, size: int) -> Member:
    """A member whose bytes are at a place in the archive."""
    return Member(name, TarMember(archive, offset, size), (name, offset, size))


def _check(header: Header) -> None:
    check_path(header.name)
    if header.kind not in _LINKS:
        return
    if header.target.startswith("/"):
        raise refused("path_escapes")
    folder = header.name.rpartition("/")[0] if header.kind == _SYMBOLIC else ""
    check_path(f"{folder}/{header.target}")


def _headers(archive: Content) -> Iterator[Header]:
    """Every member's header; those that only say more of the next one are put into it."""
    archive.open()
    at, more = 0, dict[str, str]()
    while (block := _read(archive, BLOCK_BYTES)).strip(b"\0"):
        at += BLOCK_BYTES
        if len(block) < BLOCK_BYTES or not _is_header(block):
            raise refused("malformed")
        kind, size = block[156:157], _number(block[124:136])
        if kind in b"LKxg":
            data = _extended(archive, size)
            more |= {} if kind == b"g" else _said(kind, data)
        else:
            size = _size(more, size)
            yield _header(block, kind, size, at, more)
            more = {}
        at += -(-size // BLOCK_BYTES) * BLOCK_BYTES
        archive.open(at)
    while archive.read(CHUNK_BYTES):
        pass  # what is packed has its checksum at the very end


def _is_header(block: bytes) -> bool:
    """Whether the sum of a header's bytes is what it says; its own place counts as spaces."""
    try:
        return sum(block) - sum(block[148:156]) + 8 * ord(" ") == _number(block[148:156])
    except ImportRefused:
        return False


def _header(block: bytes, kind: bytes, size: int, at: int, more: dict[str, str]) -> Header:
    prefix, name = _string(block[345:500]), _string(block[:100])
    is_posix = block[257:263] == b"ustar\0"  # GNU has times where POSIX has the prefix
    path = more.get("path") or (f"{prefix}/{name}" if prefix and is_posix else name)
    target = more.get("linkpath") or _string(block[157:257])
    return Header(clean_name(path), kind, clean_name(target), size, at)


def _extended(archive: Content, size: int) -> bytes:
    if size > _LONGEST_HEADER:
        raise refused("malformed")
    return _read(archive, size)


def _said(kind: bytes, data: bytes) -> dict[str, str]:
    """What an extended header says of the member that follows."""
    if kind in b"LK":
        return {"path" if kind == b"L" else "linkpath": _string(data)}
    return dict(_records(data))


def _records(data: bytes) -> Iterator[tuple[str, str]]:
    """Of pax: `LENGTH NAME=VALUE` and a line break, the length being that of all of it."""
    while data.strip(b"\0"):
        digits, space, _ = data.partition(b" ")
        if not space or not digits.isdigit() or len(digits) > len(str(_LONGEST_HEADER)):
            raise refused("malformed")
        length = int(digits)
        name, equals, value = data[len(digits) + 1 : length - 1].partition(b"=")
        if not equals:
            raise refused("malformed")
        yield name.decode("utf-8", "replace"), value.decode("utf-8", "replace")
        data = data[length:]


def _size(more: dict[str, str], size: int) -> int:
    said = more.get("size", "")
    return int(said) if said.isascii() and said.isdigit() and len(said) < 20 else size  # noqa: PLR2004


def _number(field: bytes) -> int:
    """Octal digits, or a large number in bytes (GNU)."""
    if field[0] & 0x80:
        number = int.from_bytes(field[1:])
        if field[0] == 0xFF:  # noqa: PLR2004 - negative
            raise refused("malformed")
        return number
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        raise refused("malformed") from None


def _string(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "replace")


def _read(archive: Content, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := archive.read(size - len(data))):
        data += more
    return data


class TarMember(Content):
    """What a member of a tar file holds.

    Args:
        archive: The tar file.
        offset: Where in it the member's bytes begin.
        size: How many there are.
    """

    def __init__(self, archive: Content, offset: int, size: int) -> None:
        self._archive = archive
        self._start = offset
        self._size = size
        self._offset = 0

    def open(self, offset: int = 0) -> None:  # noqa: D102 - see Content
        self._archive.open(self._start + offset)
        self._offset = offset

    def read(self, size: int) -> bytes:  # noqa: D102
        wanted = min(size, self._size - self._offset)
        data = self._archive.read(wanted) if wanted > 0 else b""
        if wanted > 0 and not data:
            raise refused("malformed")
        self._offset += len(data)
        return data

    @property
    def progress(self) -> Progress:  # noqa: D102
        return Progress(self._offset, self._size)
