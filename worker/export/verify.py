"""Checks an exported document in one pass and flat memory, strict by the letter.

A right file is JSON by RFC 8259 in the form of `document`, with any white space that JSON allows,
and perhaps with members that nobody knows yet. Rows of a known dataset must be what its declaration
says. The rows of another application are in the last array before `count`, and must be objects.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from chalicelib.exports.datasets import MEMBERS_AFTER, MEMBERS_BEFORE, Dataset, is_name
from chalicelib.values.fields import Username, flaw, format_time, parse_time
from worker.export.document import VERSION
from worker.export.json_reader import CHUNK_BYTES, Array, JsonReader, Number, UnreadableError, Value
from worker.export.row_checks import Faults, RowChecker

MAX_MEMBERS = 1000
"""A document has five; a file with more than this is no export."""

_MAX_DIGITS = 18
_ABOUT = ("user", "exported_at")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What an export file holds and what is wrong with it.

    Attributes:
        name: The member that holds the rows; None when there is none.
        is_known: Whether its dataset is one of those that are known.
        about: Its `user` and `exported_at`, as far as they are right.
        rows: How many were found, as far as the file could be read.
        bytes: The size of the whole file.
        sha256: The digest of the whole file, in hexadecimal.
        faults: In plain English, about in the file's order; none when the file is right, and no
            more than `row_checks.MAX_FAULTS` and a remark that there are others.
    """

    name: str | None
    is_known: bool
    about: Mapping[str, Value] = field(default_factory=dict, compare=False)
    rows: int
    bytes: int
    sha256: str
    faults: tuple[str, ...]


def verify(
    file: BinaryIO,
    datasets: Sequence[Dataset],
    *,
    progress: Callable[[int], None] | None = None,
) -> Verdict:
    """Check form, order and count of an export.

    Args:
        file: Opened in binary mode; read from where it stands to its end.
        datasets: Those that are known.
        progress: Called after each chunk with the number of bytes read so far.

    Returns:
        The verdict; a broken file makes for faults, never for an exception.
    """
    source = _Source(file, progress)
    document = _Document(datasets)
    try:
        document.read(JsonReader(source.read))
    except UnreadableError as error:
        document.stop(str(error))
    while source.read(CHUNK_BYTES):
        pass  # size and digest are those of the whole file
    return Verdict(
        name=document.rows.name if document.rows else None,
        is_known=document.rows is not None and document.rows.is_known,
        about=document.about,
        rows=document.rows.count if document.rows else 0,
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

    def read(self, size: int) -> bytes:
        chunk = self._file.read(size)
        self.bytes += len(chunk)
        self.digest.update(chunk)
        if self._progress and chunk:
            self._progress(self.bytes)
        return chunk


class _Document:
    """Reads a document and notes what does not fit.

    Attributes:
        rows: Those that `count` is about, as far as one can tell.
        faults: What is wrong.
        about: The `user` and `exported_at` that it says, where they are right.
    """

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        self.rows: RowChecker | None = None
        self.faults = Faults()
        self.about: dict[str, Value] = {}
        self._datasets = {dataset.name: dataset for dataset in datasets}
        self._seen: set[str] = set()
        self._is_settled = False

    def read(self, reader: JsonReader) -> None:
        """Read all of it.

        Raises:
            UnreadableError: It is no JSON, or something in it is too long.
        """
        if reader.peek() != b"{":
            reader.value()
            reader.end()
            self.faults.note("not a JSON object")
            return
        for name in reader.members():
            self._read_member(name, reader)
            if len(self._seen) > MAX_MEMBERS:
                raise UnreadableError(f"more than {MAX_MEMBERS} members")
        reader.end()
        self._settle()
        self._note_missing()

    def stop(self, fault: str) -> None:
        """Note why nothing more can be read."""
        self._settle()
        self.faults.note(fault)

    def _read_member(self, name: str, reader: JsonReader) -> None:
        is_new = name not in self._seen
        self._seen.add(name)
        if is_new and reader.peek() == b"[" and self._may_be_rows(name):
            self.rows = RowChecker(name, self._datasets.get(name))
            self.rows.read(reader)
            return
        value = reader.value()
        if not is_new:
            is_known = name in {*MEMBERS_BEFORE, *MEMBERS_AFTER, *self._datasets}
            self.faults.note(f"{name if is_known else 'a member'} stands there twice")
        elif name in _FLAWS and (detail := _FLAWS[name](value)):
            self.faults.note(f"{name} {detail}")
        elif name in _ABOUT:
            self.about[name] = value
        elif name in self._datasets and self.rows is None and not isinstance(value, Array):
            self.faults.note(f"{name} is not an array")
        elif name == "count":
            self._compare_count(value)

    def _may_be_rows(self, name: str) -> bool:
        """Whether an array can be what `count` is about: a known dataset, or else the last one."""
        if self._is_settled or not is_name(name):
            return False
        return self.rows is None or not self.rows.is_known

    def _settle(self) -> None:
        """What the rows are is known from here on; what is wrong with them counts."""
        if self.rows and not self._is_settled:
            for fault in self.rows.faults:
                self.faults.note(fault)
        self._is_settled = True

    def _compare_count(self, value: Value) -> None:
        self._settle()
        if self.rows is None:
            if not self._seen & self._datasets.keys():
                self.faults.note(f"count comes before {self._expected}")
        elif not isinstance(value, Number) or not value.is_integer:
            self.faults.note("count is not a whole number")
        elif len(value.text) > _MAX_DIGITS or int(value.text) != self.rows.count:
            shown = value.text[:_MAX_DIGITS]
            self.faults.note(f"count is {shown}, but there are {self.rows.count} rows")

    def _note_missing(self) -> None:
        for name in MEMBERS_BEFORE:
            if name not in self._seen:
                self.faults.note(f"{name} is missing")
        if self.rows is None and not self._seen & self._datasets.keys():
            self.faults.note(f"{self._expected} is missing")
        for name in MEMBERS_AFTER:
            if name not in self._seen:
                self.faults.note(f"{name} is missing")

    @property
    def _expected(self) -> str:
        return " or ".join(self._datasets) or "an array of rows"


def _version_flaw(value: Value) -> str | None:
    return None if value == Number(str(VERSION)) else f"is not {VERSION}"


def _user_flaw(value: Value) -> str | None:
    return flaw(value, Username) if isinstance(value, str) else "must be a string"


def _time_flaw(value: Value) -> str | None:
    if not isinstance(value, str):
        return "must be a string"
    try:
        is_ours = format_time(parse_time(value)) == value
    except ValueError as error:
        return f"is no time: {error}"
    return None if is_ours else "has a fraction of zero"


_FLAWS: dict[str, Callable[[Value], str | None]] = {
    "version": _version_flaw,
    "user": _user_flaw,
    "exported_at": _time_flaw,
}
