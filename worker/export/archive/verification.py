"""Checks an archive whole, in flat memory: the container, the manifest, and the rows themselves."""

import csv
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, BinaryIO, cast

import msgspec

from chalicelib.exports.datasets import Dataset
from chalicelib.values.fields import Time, Username, flaw
from worker.export import verify as document
from worker.export.archive.archive import MANIFEST, VERSION
from worker.export.archive.reader import (
    CHUNK_BYTES,
    DamagedError,
    Directory,
    Listed,
    MemberReader,
    check_gap,
    read_directory,
)
from worker.export.json_reader import JsonReader, Number, UnreadableError
from worker.export.row_checks import Faults, RowChecker

MAX_MANIFEST_BYTES = 64 * 1024 * 1024
"""More than an archive of a terabyte needs."""

BEGINNINGS = (b"PK\x03\x04", b"PK\x05\x06")
"""How an archive begins; the second one has no members."""

Read = Callable[[int], bytes]
Count = Annotated[int, msgspec.Meta(ge=0)]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]


class ListedMember(msgspec.Struct):
    """A member as the manifest lists it."""

    path: str
    media_type: str
    dataset: str | None
    rows: Count | None
    bytes: Count
    pieces: list[tuple[Count, Digest]]


class ListedDataset(msgspec.Struct):
    """A dataset as the manifest lists it."""

    name: str
    rows: Count


class Manifest(msgspec.Struct, rename={"since": "from", "until": "to"}):
    """The manifest; members of it that nobody knows yet are passed over."""

    version: int
    user: Username
    task_id: str | None
    exported_at: str
    since: str | None
    until: str | None
    datasets: list[ListedDataset]
    members: list[ListedMember]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What an archive holds and what is wrong with it.

    Attributes:
        rows: By dataset, how many rows the manifest says there are.
        members: How many files are in it.
        bytes: The size of the whole file.
        sha256: The digest of the whole file, in hexadecimal.
        faults: In plain English; none when the archive is right.
    """

    rows: Mapping[str, int]
    members: int
    bytes: int
    sha256: str
    faults: tuple[str, ...]


def is_archive(beginning: bytes) -> bool:
    """Whether a file that begins with these four bytes or more is an archive."""
    return beginning.startswith(BEGINNINGS)


def verify(
    file: BinaryIO, datasets: Sequence[Dataset], *, progress: Callable[[int], object] | None = None
) -> Verdict:
    """Check an archive.

    Args:
        file: Opened in binary mode; it can be read at any place.
        datasets: Those that are known.
        progress: Called now and then with the number of bytes read, each of which is read twice.

    Returns:
        The verdict; a broken file makes for faults, never for an exception.
    """
    size, sha256 = _digest(file, progress)
    check = _Check(file, size, {one.name: one for one in datasets}, progress)
    try:
        check.run()
    except DamagedError as error:
        check.faults.note(str(error))
    manifest = check.manifest
    return Verdict(
        rows={one.name: one.rows for one in manifest.datasets} if manifest else {},
        members=len(check.directory.members),
        bytes=size,
        sha256=sha256,
        faults=tuple(check.faults),
    )


def _digest(file: BinaryIO, progress: Callable[[int], object] | None) -> tuple[int, str]:
    file.seek(0)
    digest, size = hashlib.sha256(), 0
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
        if progress:
            progress(size)
    return size, digest.hexdigest()


@dataclass
class _Check:
    """One run over an archive.

    Attributes:
        faults: What is wrong with it.
        directory: Its members.
        manifest: What it says of itself.
    """

    file: BinaryIO
    size: int
    datasets: Mapping[str, Dataset]
    progress: Callable[[int], object] | None
    faults: Faults = field(default_factory=Faults)
    directory: Directory = field(default_factory=lambda: Directory((), 0))
    manifest: Manifest | None = None

    def run(self) -> None:
        """Look at everything.

        Raises:
            DamagedError: Nothing more can be read.
        """
        self.directory = read_directory(self.file, self.size)
        members = self.directory.members
        if not members or members[-1].path != MANIFEST.path:
            self.faults.note(f"{MANIFEST.path} is not the last member")
        self.manifest = self._read_manifest()
        said = {one.path: one for one in self.manifest.members} if self.manifest else {}
        counted: dict[str, int] = {}
        for number, listed in enumerate(members):
            following = members[number + 1].offset if number + 1 < len(members) else None
            rows = self._member(listed, said.get(listed.path), following)
            if rows is not None:
                counted.setdefault(*rows)
            if self.progress:
                self.progress(self.size + listed.offset + listed.packed)
        if members and members[0].offset:
            self.faults.note("something stands before the first member")
        if self.manifest:
            self._compare(self.manifest, counted)

    def _read_manifest(self) -> Manifest | None:
        listed = next((one for one in self.directory.members if one.path == MANIFEST.path), None)
        if listed is None:
            self.faults.note(f"{MANIFEST.path} is missing")
            return None
        if listed.size > MAX_MANIFEST_BYTES:
            self.faults.note(f"{MANIFEST.path}: it is too large")
            return None
        try:
            reader = MemberReader(self.file, listed)
            data = b"".join(iter(lambda: reader.read(CHUNK_BYTES), b""))
            manifest = msgspec.json.decode(data, type=Manifest)
        except (DamagedError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.faults.note(f"{MANIFEST.path}: {error}")
            return None
        for about, value, kind in (
            ("exported_at", manifest.exported_at, Time),
            ("from", manifest.since, Time | None),
            ("to", manifest.until, Time | None),
        ):
            if detail := flaw(value, kind):
                self.faults.note(f"{MANIFEST.path}: {about} {detail}")
        if manifest.version != VERSION:
            self.faults.note(f"{MANIFEST.path}: version is not {VERSION}")
        return manifest

    def _member(
        self, listed: Listed, said: ListedMember | None, following: int | None
    ) -> tuple[str, int] | None:
        """Check a member; return the name of its dataset and how many rows it really has."""
        note = _noting(self.faults, listed.path)
        try:
            reader = MemberReader(self.file, listed)
            pieces = _Pieces(reader.read, said)
            rows = self._content(listed.path, said, pieces.read, note)
            while pieces.read(CHUNK_BYTES):
                pass  # what a reader of the rows has left, and the numbers at the end
            end = self.directory.offset if following is None else following
            check_gap(self.file, listed, reader.end, end)
        except DamagedError as error:
            note(str(error))
            return None
        if said is None:
            if listed.path != MANIFEST.path and self.manifest:
                note(f"it is not in {MANIFEST.path}")
            return None
        for fault in pieces.faults():
            note(fault)
        if said.dataset is None or rows is None:
            return None
        if rows != said.rows:
            note(f"it has {rows} rows, not {said.rows} as {MANIFEST.path} says")
        return said.dataset, rows

    def _content(
        self, path: str, said: ListedMember | None, read: Read, note: Callable[[str], None]
    ) -> int | None:
        """Check what a member holds by what it is; return how many rows, where that is known."""
        folder, _, name = path.rpartition("/")
        stem, _, suffix = name.rpartition(".")
        if said is None or said.dataset is None:
            return None
        dataset = self.datasets.get(said.dataset)
        try:
            if (folder, suffix) == ("data", "json"):
                return self._document(stem, read, note)
            if (folder, suffix) == ("data", "ndjson"):
                return _lines(said.dataset, dataset, read, note)
            if (folder, suffix) == ("spreadsheets", "csv"):
                return _table(dataset, read, note)
            if path == "activitypub/outbox.json":
                return _outbox(read, note)
        except UnreadableError as error:
            note(str(error))
        return None

    def _document(self, stem: str, read: Read, note: Callable[[str], None]) -> int:
        verdict = document.verify(_as_file(read), [*self.datasets.values()])
        for fault in verdict.faults:
            note(fault)
        if verdict.name not in {stem, None}:
            note(f"its rows are {verdict.name}")
        if self.manifest:
            said = {"user": self.manifest.user, "exported_at": self.manifest.exported_at}
            for name, value in verdict.about.items():
                if said[name] != value:
                    note(f"its {name} is not that of {MANIFEST.path}")
        return verdict.rows

    def _compare(self, manifest: Manifest, counted: Mapping[str, int]) -> None:
        """Compare the manifest as a whole with what there is."""
        listed = [one.path for one in self.directory.members if one.path != MANIFEST.path]
        said, there = [one.path for one in manifest.members], set(listed)
        for path in said:
            if path not in there:
                self.faults.note(f"{path}: it is missing, and {MANIFEST.path} lists it")
        if sorted(said) == sorted(listed) and said != listed:
            self.faults.note(f"the members do not stand in the order of {MANIFEST.path}")
        if len(there) < len(listed):
            self.faults.note("two members have one name")
        for one in manifest.datasets:
            if counted.get(one.name, one.rows) != one.rows:
                found = counted[one.name]
                self.faults.note(
                    f"{MANIFEST.path}: {one.name} has {found} rows, not {one.rows} as it says"
                )


class _Pieces:
    """Passes a member's bytes on, and compares them with the manifest's pieces on the way."""

    def __init__(self, read: Read, said: ListedMember | None) -> None:
        self._read = read
        self._said = said
        self._pieces = iter(said.pieces if said else ())
        self._faults: list[str] = []
        self._number = self._left = self._size = 0
        self._expected = ""
        self._digest: Any = None

    def read(self, size: int) -> bytes:
        data = self._read(size)
        self._size += len(data)
        view = memoryview(data)
        while view and self._begin():
            part = view[: self._left]
            self._digest.update(part)
            self._left -= len(part)
            view = view[len(part) :]
            if not self._left:
                self._end()
        return data

    def faults(self) -> Iterator[str]:
        """What is wrong, when all of it was read."""
        if self._said is None:
            return
        self._begin()
        yield from self._faults
        if self._size != self._said.bytes or self._left or next(self._pieces, None):
            yield (
                f"it has {self._size} bytes, not {self._said.bytes}, or other pieces than"
                f" {MANIFEST.path} says"
            )
        elif sum(size for size, _ in self._said.pieces) != self._size:
            yield f"its pieces in {MANIFEST.path} are not all of it"

    def _begin(self) -> bool:
        """Whether there is a piece to go on with."""
        while not self._left:
            found = next(self._pieces, None)
            if found is None:
                return False
            self._left, self._expected = found
            self._number += 1
            self._digest = hashlib.sha256()
            if not self._left:
                self._end()
        return True

    def _end(self) -> None:
        if self._digest.hexdigest() != self._expected:
            self._faults.append(f"piece {self._number} is not what {MANIFEST.path} says")


def _noting(faults: Faults, path: str) -> Callable[[str], None]:
    return lambda fault: faults.note(f"{path}: {fault}")


class _Stream(io.RawIOBase):
    """What a function reads, as a file."""

    def __init__(self, read: Read) -> None:
        self._next = read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._next(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _as_file(read: Read) -> BinaryIO:
    return cast("BinaryIO", io.BufferedReader(_Stream(read), CHUNK_BYTES))


def _lines(name: str, dataset: Dataset | None, read: Read, note: Callable[[str], None]) -> int:
    """Check NDJSON: the same rows as in the document, which has commas between them."""
    checker = RowChecker(name, dataset)
    reader = JsonReader(_Rejoined(read).read)
    checker.read(reader)
    reader.end()
    for fault in checker.faults:
        note(fault)
    return checker.count


class _Rejoined:
    """NDJSON as the array that it would be; a line break within a row makes it none."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._ready = b"["
        self._is_empty = True
        self._ends_line = True
        self._is_over = False

    def read(self, size: int) -> bytes:
        """The next bytes, at most so many."""
        while not self._ready and not self._is_over:
            self._ready = self._joined(self._read(CHUNK_BYTES))
        data, self._ready = self._ready[:size], self._ready[size:]
        return data

    def _joined(self, data: bytes) -> bytes:
        if not data:
            self._is_over = True
            # Every line ends with a line break; NUL is none, and no JSON either.
            return b"]" if self._ends_line else b"\0"
        # The line break at the end stands before a row only if another one follows.
        before = b"" if self._is_empty else b",\n" if self._ends_line else b""
        if self._is_empty and data.startswith(b"\n"):
            before = b","  # a blank line is no row, and this no JSON
        self._is_empty, self._ends_line = False, data.endswith(b"\n")
        return before + data.removesuffix(b"\n").replace(b"\n", b",\n")


def _table(dataset: Dataset | None, read: Read, note: Callable[[str], None]) -> int | None:
    """Check a table: its header, and as many cells in each record."""
    usual = csv.field_size_limit(1 << 30)
    try:
        text = io.TextIOWrapper(_as_file(read), "utf-8", newline="")
        records = csv.reader(text, strict=True)
        header = next(records, [])
        if dataset and header != [one.name for one in dataset.columns]:
            note("its header is not the names of the fields")
        rows = 0
        for record in records:
            rows += 1
            if len(record) != len(header):
                note(f"row {rows}: {len(record)} cells, not {len(header)}")
    except (csv.Error, UnicodeDecodeError) as error:
        note(f"it is no CSV: {error}")
        return None
    finally:
        csv.field_size_limit(usual)
    return rows


def _outbox(read: Read, note: Callable[[str], None]) -> int | None:
    """Check an outbox: JSON, and as many activities as it says."""
    reader, rows, said = JsonReader(read), RowChecker("orderedItems", None), None
    for name in reader.members():
        if name == "orderedItems":
            rows.read(reader)
            continue
        value = reader.value()
        if name == "totalItems" and isinstance(value, Number) and value.is_integer:
            said = int(value.text)
    reader.end()
    for fault in rows.faults:
        note(fault)
    if said != rows.count:
        note(f"totalItems is not {rows.count}")
    return rows.count
