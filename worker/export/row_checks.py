"""Checks the rows of a document: what each holds, and their order.

msgspec reads rows in the worker's own layout, many at once. It accepts some text that is not JSON,
and does not tell how a value was written; so `RowChecker` writes the rows again, and accepts them
only if that gives the same bytes. All other rows are read value by value, which takes longer and
tells what is wrong.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from itertools import pairwise, starmap
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from chalicelib.exports.datasets import Dataset, Field, Kind
from chalicelib.values.fields import flaw, format_time, parse_time
from worker.export.json_reader import Array, JsonReader, Number, Object, Value

MAX_FAULTS = 20
"""Enough to see what is wrong; a file may hold a million of them."""

MAX_ROW_BYTES = 4 * 1024 * 1024
"""A row is never longer: as much as a page of an export."""

# More digits than any whole number of a database has.
_MAX_DIGITS = 20
_LARGEST = 2**63 - 1

_TYPES: Mapping[Kind, Any] = {
    Kind.INTEGER: Annotated[int, msgspec.Meta(ge=-_LARGEST - 1, le=_LARGEST)],
    Kind.BOOLEAN: bool,
    Kind.JSON: Any,
    # Written by msgspec just as the databases write them.
    Kind.TIME: Annotated[datetime, msgspec.Meta(tz=True)],
    Kind.DATE: date,
    Kind.UUID: UUID,
}

# Strings of one form: what reads them and what writes them.
_FORMS: Mapping[Kind, tuple[Callable[[str], Any], Callable[[Any], str]]] = {
    Kind.TIME: (parse_time, format_time),
    Kind.DATE: (date.fromisoformat, date.isoformat),
    Kind.UUID: (UUID, str),
}


class Faults(list[str]):
    """What is wrong, as sentences; no more than anybody reads."""

    def note(self, fault: str) -> None:
        """Add one, unless there are many."""
        if len(self) < MAX_FAULTS:
            self.append(fault)
        elif len(self) == MAX_FAULTS:
            self.append("there are further faults")


@dataclass(frozen=True)
class _Column:
    """What a field of a row must be.

    Attributes:
        name: What it is called.
        kind: What it holds.
        type: What that is for msgspec.
        nullable: Whether it may be null.
    """

    name: str
    kind: Kind
    type: Any
    nullable: bool

    def parse(self, value: Value) -> Any:
        """The value as rows are sorted by it.

        Raises:
            ValueError: It is not what the field may hold.
        """
        if self.kind is Kind.JSON or (value is None and self.nullable):
            return None
        if self.kind in _FORMS:
            return _parse(value, *_FORMS[self.kind])
        plain = _plain(value)
        if detail := flaw(plain, self.type):
            raise ValueError(detail)
        return Decimal(plain) if self.kind is Kind.DECIMAL else plain


class RowChecker:
    """Checks one array of rows.

    Args:
        name: The member that holds it.
        dataset: What its rows are; None when that is not known, and any object is right.

    Attributes:
        count: How many rows were read.
        faults: What is wrong with them.
    """

    def __init__(self, name: str, dataset: Dataset | None) -> None:
        self.name = name
        self.is_known = dataset is not None
        self.count = 0
        self.faults = Faults()
        self._columns = _columns_of(dataset) if dataset else []
        self._order, is_unique = _order_of(dataset) if dataset else ([], False)
        self._in_order = operator.lt if is_unique else operator.le
        self._last: Any = None
        self._decoder = _decoder_of(dataset)
        self._encoder = msgspec.json.Encoder()

    def read(self, reader: JsonReader) -> None:
        """Read the array.

        Raises:
            UnreadableError: It is no JSON, or a row is too long.
        """
        reader.expect(b"[")
        if reader.peek() == b"]":
            reader.expect(b"]")
            return
        one_by_one_until = 0
        while True:
            reader.peek()
            if reader.offset >= one_by_one_until:
                lines = reader.lines()
                if lines and self._check_lines(lines):
                    reader.advance(len(lines) + len(b",\n"))
                    continue
                one_by_one_until = reader.offset + (len(lines) if lines else reader.ahead)
            self._check_row(reader)
            if reader.expect(b",]") == b"]":
                return

    def _check_lines(self, lines: bytes) -> bool:
        """Whether lines are rows as we write them, and all are right; if not, nothing is noted."""
        # A text with NUL is JSON, and yet none that the API accepts.
        if self.is_known and rb"\u0000" in lines:
            return False
        try:
            rows = self._decoder.decode(b"[" + lines + b"]")
            written = self._encoder.encode_lines(rows)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return False
        if written.replace(b"\n", b",\n") != lines + b",\n":
            return False
        keys = self._keys_of(rows)
        last = [] if self._last is None else [self._last]
        if not all(starmap(self._in_order, pairwise([*last, *keys]))):
            return False
        self._last = keys[-1] if keys else None
        self.count += len(rows)
        return True

    def _keys_of(self, rows: Sequence[Any]) -> list[Any]:
        """By what rows are sorted."""
        if not self._order:
            return []
        kinds = {column.name: column.kind for column in self._columns}
        values = [list(map(operator.attrgetter(_attribute(name)), rows)) for name in self._order]
        for number, name in enumerate(self._order):
            if kinds[name] is Kind.DECIMAL:
                values[number] = list(map(Decimal, values[number]))
        return values[0] if len(values) == 1 else list(zip(*values, strict=True))

    def _check_row(self, reader: JsonReader) -> None:
        self.count += 1
        if reader.peek() != b"{":
            reader.value()
            self._fault("not an object")
            return
        pairs = reader.pairs(max_bytes=MAX_ROW_BYTES)
        members = dict(pairs)
        if len(members) < len(pairs):
            self._fault("a member stands there twice")
        elif self.is_known:
            self._check_members(members)

    def _check_members(self, members: Mapping[str, Value]) -> None:
        names = [column.name for column in self._columns]
        if members.keys() != set(names):
            self._fault(f"expected exactly {' and '.join(names)}")
            return
        values: dict[str, Any] = {}
        for column in self._columns:
            try:
                values[column.name] = column.parse(members[column.name])
            except ValueError as error:
                self._fault(f"{column.name}: {error}")
        if self._order and values.keys() >= set(self._order):
            self._check_order([values[name] for name in self._order])

    def _check_order(self, values: list[Any]) -> None:
        key = values[0] if len(values) == 1 else tuple(values)
        if self._last is not None and not self._in_order(self._last, key):
            self._fault(f"not in the order of {' and '.join(self._order)}")
        self._last = key

    def _fault(self, text: str) -> None:
        self.faults.note(f"row {self.count}: {text}")


def _parse(value: Value, read: Callable[[str], Any], write: Callable[[Any], str]) -> Any:
    """A value out of its string, of which there is one right form.

    Raises:
        ValueError: The string has another one.
    """
    if not isinstance(value, str):
        raise ValueError("must be a string")  # noqa: TRY004 - a fault of the file
    parsed = read(value)
    if write(parsed) != value:
        raise ValueError("is not written as an export writes it")
    return parsed


def _plain(value: Value) -> Any:
    """A value as `fields.flaw` knows it; what an array or an object holds does not matter."""
    if isinstance(value, Number):
        is_whole = value.is_integer and len(value.text) <= _MAX_DIGITS
        return int(value.text) if is_whole else float("inf")
    if isinstance(value, Array | Object):
        return [] if isinstance(value, Array) else {}
    return value


def _order_of(dataset: Dataset) -> tuple[list[str], bool]:
    """The fields by which rows are seen to be sorted, and whether no two rows have the same."""
    exported = {field.column: field.name for field in dataset.columns}
    names: list[str] = []
    for column in dataset.key_columns:
        if column is dataset.owner_column:  # the same in all of them
            continue
        if column not in exported:
            return names, False
        names.append(exported[column])
    return names, True


def _columns_of(dataset: Dataset) -> list[_Column]:
    return [
        _Column(one.name, one.kind, dataset.accepts.get(one.name) or _type_of(one), one.nullable)
        for one in dataset.columns
    ]


def _type_of(field: Field) -> Any:
    declared: Any = field.column.type
    match field.kind:
        case Kind.TEXT:
            return Annotated[str, msgspec.Meta(max_length=declared.length)]
        case Kind.ENUM:
            return Literal[tuple(declared.enums)]
        case Kind.DECIMAL:
            return Annotated[str, msgspec.Meta(pattern=_decimal(declared.scale))]
    return _TYPES[field.kind]


def _decimal(scale: int) -> str:
    """A decimal number of so many digits after the point; there is one way to write each."""
    fraction = rf"\.[0-9]{{{scale}}}" if scale else ""
    return rf"^(?!-[0.]+$)-?(?:0|[1-9][0-9]*){fraction}$(?!\n)"


@cache
def _decoder_of(dataset: Dataset | None) -> msgspec.json.Decoder[list[Any]]:
    """What reads many rows at once."""
    if dataset is None:
        return msgspec.json.Decoder(list[dict[str, Any]])
    fields, names = [], {}
    for column in _columns_of(dataset):
        attribute = _attribute(column.name)
        names[attribute] = column.name
        fields.append((attribute, column.type | None if column.nullable else column.type))
    # Rows hold no cycles, and live for a moment: the garbage collector need not look at them.
    row = msgspec.defstruct("Row", fields, rename=names, forbid_unknown_fields=True, gc=False)
    return msgspec.json.Decoder(list[row])  # type: ignore[valid-type]


def _attribute(name: str) -> str:
    # A field may be called as no attribute may.
    return f"field_{name}"
