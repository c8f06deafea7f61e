"""A dataset: one kind of a user's rows, declared once.

Everything that an export needs is derived from the declaration: the SQL of its pages on both
databases, the cursor and the snapshot in a checkpoint, the JSON of a row, and what `verify` expects
of one. A declaration that would fail later is refused at once, and the error says what to do.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import cache, cached_property
from types import MappingProxyType
from typing import Any, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import orm as so
from sqlalchemy.dialects import postgresql, sqlite

from chalicelib.db.engine import UtcDateTime
from chalicelib.db.types import ExactDecimal, Json, JsonObject, SortableText, UuidText
from chalicelib.errors import DeclarationError
from chalicelib.values.fields import format_time, parse_time

MEMBERS_BEFORE = ("version", "user", "exported_at")
MEMBERS_AFTER = ("count",)
"""The members of every document, around the one that holds a dataset's rows."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_POSTGRESQL, _SQLITE = postgresql.dialect(), sqlite.dialect()  # type: ignore[no-untyped-call]

Attribute = so.InstrumentedAttribute[Any] | sa.Column[Any]
"""A column, as the model has it (`Post.body`) or as the table has it."""

Cursor = tuple[Any, ...]
"""The key of a row: an export goes on after it."""


class Kind(StrEnum):
    """What a column holds, and so how it is written."""

    TEXT = "text"
    ENUM = "enum"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    TIME = "time"
    DATE = "date"
    UUID = "uuid"
    DECIMAL = "decimal"
    JSON = "json"


_TEXT = r"(?:VARCHAR(?:\(\d+\))?|TEXT)"
_KINDS: tuple[tuple[type[sa.types.TypeEngine[Any]], Kind, str, str], ...] = (
    (UtcDateTime, Kind.TIME, "TIMESTAMP WITH TIME ZONE", "DATETIME"),
    (ExactDecimal, Kind.DECIMAL, r"NUMERIC\(.+\)", "BIGINT"),
    (SortableText, Kind.TEXT, f'{_TEXT} COLLATE "C"', _TEXT),
    (UuidText, Kind.TEXT, _TEXT, _TEXT),
    (Json, Kind.JSON, "JSON", "TEXT"),
    (JsonObject, Kind.JSON, "JSON", "JSON"),
    (sa.Boolean, Kind.BOOLEAN, "BOOLEAN", "BOOLEAN"),
    (sa.Integer, Kind.INTEGER, "(?:SMALL|BIG)?INT(?:EGER)?", "(?:SMALL|BIG)?INT(?:EGER)?"),
    (sa.Date, Kind.DATE, "DATE", "DATE"),
    (sa.Uuid, Kind.UUID, "UUID", r"CHAR\(32\)"),
    (sa.Enum, Kind.ENUM, ".+", _TEXT),
    (sa.String, Kind.TEXT, _TEXT, _TEXT),
)
"""Types that both databases write alike, each with what the column is declared as on PostgreSQL and
on SQLite: a variant for one of them may make it another type altogether."""

_INSTEAD: tuple[tuple[type[sa.types.TypeEngine[Any]], str], ...] = (
    (sa.Float, "the databases write floats differently; use chalicelib.db.types.ExactDecimal"),
    (sa.Numeric, "SQLite rounds it; use chalicelib.db.types.ExactDecimal"),
    (sa.LargeBinary, "JSON has no bytes; keep them as text (base64), or leave the field out"),
    (sa.JSON, "the databases store it differently; use chalicelib.db.types.Json"),
    (sa.DateTime, "SQLite forgets its zone; use chalicelib.db.engine.UtcDateTime"),
    (sa.Time, "keep it as text"),
    (sa.Interval, "keep it as a whole number of a unit that the name tells"),
    (sa.CHAR, "PostgreSQL pads it with spaces; use sqlalchemy.String"),
    (sa.NCHAR, "PostgreSQL pads it with spaces; use sqlalchemy.String"),
    (sa.UUID, "SQLite takes it for a number; use sqlalchemy.Uuid()"),
    (sa.Uuid, "the databases store it differently; use sqlalchemy.Uuid()"),
    (sa.ARRAY, "SQLite has no arrays; use chalicelib.db.types.Json"),
)
"""What to use instead of a type that the databases would not write alike."""

# How the value of a key or snapshot becomes JSON in a checkpoint, and comes back.
_SORTABLE: Mapping[Kind, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    Kind.TEXT: (str, str),
    Kind.INTEGER: (int, int),
    Kind.TIME: (format_time, parse_time),
    Kind.DATE: (date.isoformat, date.fromisoformat),
    Kind.UUID: (str, UUID),
    Kind.DECIMAL: (str, Decimal),
}

_BYTES: tuple[Callable[[Any], Any], Callable[[Any], Any]] = (bytes.hex, bytes.fromhex)
"""The same for bytes, by which rows may be sorted though JSON has none: a digest, mostly."""


@dataclass(frozen=True)
class Field:
    """A column as it stands in an export.

    Attributes:
        name: What it is called there.
        column: Where it is kept.
        kind: What it holds.
    """

    name: str
    column: sa.Column[Any]
    kind: Kind

    @property
    def nullable(self) -> bool:
        """Whether it may be null."""
        return bool(self.column.nullable)


@dataclass(frozen=True)
class Activity:
    """How the rows of a dataset are told in ActivityStreams 2.0: each is a note that was created.

    Attributes:
        number: The column that tells a note from all others of its owner; part of its address.
        content: The field with its text.
        published: The field with its time.
    """

    number: Attribute
    content: str
    published: str


@dataclass(frozen=True, eq=False)
class Dataset:
    """One kind of a user's rows.

    Attributes:
        name: What it is called in files, addresses and checkpoints: `posts`.
        title: What people read, in English; wrapped in `N_` it is translated.
        owner: The column with the number of the user whose row it is.
        key: The columns by which rows are sorted; among a user's rows they are unique together, and
            an index begins with the owner and these.
        snapshot: A column that is larger in rows that are added later. An export holds the rows
            up to the largest value when its first attempt begins; an index begins with it, or with
            the owner and it.
        fields: What is exported, by name, in this order.
        accepts: By name of a field, what its text must be beyond the column's type, as a type of
            `values.fields`: what the API accepts is what `verify` accepts.
        time: The column with the time of a row, for exports of a period; None when no row is of
            one time, so that a period leaves out none.
        activity: How its rows are told in ActivityStreams; None when they are not.
        where: What a row must be to be exported. Rows that go on changing are left out this way,
            the row of the export's own task among them: an attempt that goes on after a crash would
            find others than the first one did.

    Raises:
        DeclarationError: Everything that is wrong with the declaration.
    """

    name: str
    _: KW_ONLY
    title: str
    owner: Attribute
    key: Sequence[Attribute]
    snapshot: Attribute
    fields: Mapping[str, Attribute]
    accepts: Mapping[str, Any] = field(default_factory=dict)
    time: Attribute | None = None
    activity: Activity | None = None
    where: Sequence[sa.ColumnElement[bool]] = ()

    def __post_init__(self) -> None:
        # The declaration may come with a list or a dict that its author goes on to use.
        object.__setattr__(self, "key", tuple(self.key))
        object.__setattr__(self, "where", tuple(self.where))
        for name in ("fields", "accepts"):
            # Plain strings: a column's own name is of a subclass that other libraries refuse.
            given = {str(one): value for one, value in getattr(self, name).items()}
            object.__setattr__(self, name, MappingProxyType(given))
        if complaints := list(_complaints(self)):
            raise DeclarationError("; ".join(f"dataset {self.name!r}: {one}" for one in complaints))

    @cached_property
    def table(self) -> sa.Table:
        """Where the rows are."""
        return column_of(self.owner).table

    @cached_property
    def owner_column(self) -> sa.Column[Any]:
        """The number of the user whose row it is."""
        return column_of(self.owner)

    @cached_property
    def key_columns(self) -> tuple[sa.Column[Any], ...]:
        """The columns by which rows are sorted."""
        return tuple(map(column_of, self.key))

    @cached_property
    def snapshot_column(self) -> sa.Column[Any]:
        """The column that is larger in rows that are added later."""
        return column_of(self.snapshot)

    @cached_property
    def time_column(self) -> sa.Column[Any] | None:
        """The column with the time of a row."""
        return None if self.time is None else column_of(self.time)

    @cached_property
    def mine(self) -> tuple[sa.ColumnElement[bool], ...]:
        """Which rows are those of the user whose number the parameter `of` is."""
        return self.owner_column == sa.bindparam("of"), *self.where

    @cached_property
    def columns(self) -> tuple[Field, ...]:
        """What is exported, in its order."""
        found = ((name, column_of(attribute)) for name, attribute in self.fields.items())
        return tuple(Field(name, column, kind_of(column)) for name, column in found)

    def snapshot_query(self) -> sa.ScalarSelect[Any]:
        """The largest value of `snapshot` now; NULL when there is none.

        One step into an index, so that it may be part of the statement that claims a task. Where
        the index begins with the owner, the value is that of the user whose number the parameter
        `of` is, else it is whosesoever row has the largest.
        """
        newest = self.snapshot_column
        conditions = self.where if _has_index(self, (newest,)) else self.mine
        found = sa.select(newest).where(*conditions).order_by(newest.desc())
        return found.limit(1).scalar_subquery()

    def snapshot_to_json(self, value: Any) -> Any:
        """A snapshot as the ledger keeps it; None stays None."""
        return None if value is None else _to_json(self.snapshot_column, value)

    def snapshot_from_json(self, value: Any) -> Any:
        """A snapshot out of the ledger."""
        return None if value is None else _from_json(self.snapshot_column, value)

    def cursor_to_json(self, cursor: Cursor) -> list[Any]:
        """A cursor as a checkpoint keeps it."""
        return [_to_json(*one) for one in zip(self.key_columns, cursor, strict=True)]

    def cursor_from_json(self, value: Sequence[Any]) -> Cursor:
        """A cursor out of a checkpoint."""
        return tuple(_from_json(*one) for one in zip(self.key_columns, value, strict=True))


def is_name(name: str) -> bool:
    """Whether a dataset can have a name: a document has no other member of it."""
    return bool(_NAME.fullmatch(name)) and name not in (*MEMBERS_BEFORE, *MEMBERS_AFTER)


def column_of(attribute: Attribute) -> sa.Column[Any]:
    """The table's column behind a model's attribute."""
    if isinstance(attribute, sa.Column):
        return attribute
    # Without configuring the mappers: a declaration may stand before the last model is known.
    model = cast("type[Any]", attribute.class_)
    return so.class_mapper(model, configure=False).columns[attribute.key]


@cache  # asked for each page of an export
def kind_of(column: sa.Column[Any]) -> Kind:
    """What a column holds.

    Raises:
        DeclarationError: The two databases would not write it alike.
    """
    for known, kind, *patterns in _KINDS:
        if not isinstance(column.type, known):
            continue
        declared = [column.type.compile(dialect=one) for one in (_POSTGRESQL, _SQLITE)]
        if all(map(re.fullmatch, patterns, declared)) and getattr(column.type, "as_uuid", True):
            return kind
        break
    instead = (say for known, say in _INSTEAD if isinstance(column.type, known))
    reason = next(instead, "its type is not the same on SQLite and PostgreSQL")
    raise DeclarationError(f"{column.name} ({column.type!r}) cannot be exported: {reason}")


def _to_json(column: sa.Column[Any], value: Any) -> Any:
    return _codec(column)[0](value)


def _from_json(column: sa.Column[Any], value: Any) -> Any:
    return _codec(column)[1](value)


def _codec(column: sa.Column[Any]) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    return _BYTES if isinstance(column.type, sa.LargeBinary) else _SORTABLE[kind_of(column)]


def _complaints(dataset: Dataset) -> Iterator[str]:
    """Everything that is wrong with a declaration, as sentences."""
    yield from _bad_names(dataset)
    columns = [dataset.owner, *dataset.key, dataset.snapshot, *dataset.fields.values()]
    columns += [] if dataset.time is None else [dataset.time]
    columns += [] if dataset.activity is None else [dataset.activity.number]
    if strangers := {one.key for one in columns if column_of(one).table is not dataset.table}:
        yield f"{', '.join(sorted(strangers))} must be columns of {dataset.table.name}"
        return
    if not isinstance(dataset.owner_column.type, sa.Integer):
        yield f"{dataset.owner_column.name} must hold the number of a user"
    for column in dict.fromkeys(map(column_of, dataset.fields.values())):
        yield from _bad_type(column)
    for column in dict.fromkeys((*dataset.key_columns, dataset.snapshot_column)):
        yield from _bad_order(column, present=f"{column.name} IS NOT NULL" in _conditions(dataset))
    yield from _bad_indexes(dataset)
    if dataset.time_column is not None and not isinstance(dataset.time_column.type, UtcDateTime):
        yield f"{dataset.time_column.name} must be a time (chalicelib.db.engine.UtcDateTime)"
    yield from _bad_activity(dataset)


def _bad_activity(dataset: Dataset) -> Iterator[str]:
    activity = dataset.activity
    if activity is None:
        return
    yield from _bad_order(column_of(activity.number), present=False)
    for name, kind in ((activity.content, Kind.TEXT), (activity.published, Kind.TIME)):
        given = dataset.fields.get(name)
        if given is None or kind_of(column_of(given)) is not kind:
            yield f"`activity` needs a field {name} that holds {kind}"


def _bad_names(dataset: Dataset) -> Iterator[str]:
    if not is_name(dataset.name):
        taken = ", ".join((*MEMBERS_BEFORE, *MEMBERS_AFTER))
        yield f"its name must be lower-case letters, digits and _, and none of {taken}"
    if bad := [name for name in dataset.fields if not _FIELD.fullmatch(name)]:
        yield f"{', '.join(bad)}: a field's name must be letters, digits and _"
    if unknown := dataset.accepts.keys() - dataset.fields.keys():
        yield f"`accepts` names {', '.join(sorted(unknown))}, which it has no field for"
    if not dataset.fields or not dataset.key:
        yield "it needs at least one field, and a key"


def _bad_type(column: sa.Column[Any]) -> Iterator[str]:
    try:
        kind_of(column)
    except DeclarationError as error:
        yield str(error)


def _bad_order(column: sa.Column[Any], *, present: bool) -> Iterator[str]:
    """What keeps rows from being sorted by a column, in the same order on both databases."""
    if column.nullable and not present:
        yield f"{column.name} must not be nullable: rows without it would be left out"
    if isinstance(column.type, sa.LargeBinary):
        return
    if complaint := list(_bad_type(column)):
        yield from complaint
    elif (kind := kind_of(column)) not in _SORTABLE:
        yield f"rows cannot be sorted by {column.name}: it holds {kind}"
    elif kind is Kind.TEXT and not isinstance(column.type, SortableText | UuidText):
        yield (
            f"the databases sort {column.name} differently; declare it as"
            " chalicelib.db.types.SortableText"
        )


def _bad_indexes(dataset: Dataset) -> Iterator[str]:
    known = {dataset.owner_column, *dataset.key_columns}
    if not any(unique and set(columns) <= known for unique, columns in _indexes(dataset)):
        yield "its key must be unique; end it with the primary key"
    wanted = tuple(dict.fromkeys((dataset.owner_column, *dataset.key_columns)))
    if not _has_index(dataset, wanted):
        yield f"{dataset.table.name} needs an index that begins with {_listed(wanted)}"
    newest = (dataset.snapshot_column,)
    if not _has_index(dataset, newest) and not _has_index(dataset, (wanted[0], *newest)):
        yield f"{dataset.table.name} needs an index that begins with {_listed(newest)}"


def _conditions(dataset: Dataset) -> set[str]:
    """What `where` says, in the words of an index of the table."""
    return {str(one).replace(f"{dataset.table.name}.", "") for one in dataset.where}


def _listed(columns: Sequence[sa.Column[Any]]) -> str:
    return f"({', '.join(column.name for column in columns)})"


def _has_index(dataset: Dataset, columns: tuple[sa.Column[Any], ...]) -> bool:
    """Whether an index of all rows that are exported begins with some columns."""
    return any(found[: len(columns)] == columns for _, found in _indexes(dataset))


def _indexes(dataset: Dataset) -> Iterator[tuple[bool, tuple[sa.Column[Any], ...]]]:
    """Every index of all rows that are exported: whether it is unique, and its columns."""
    for constraint in dataset.table.constraints:
        if isinstance(constraint, sa.PrimaryKeyConstraint | sa.UniqueConstraint):
            yield True, tuple(constraint.columns)
    told = _conditions(dataset)
    for index in dataset.table.indexes:
        options = (index.dialect_options[name].get("where") for name in ("postgresql", "sqlite"))
        if all(where is None or str(where) in told for where in options):
            expressions = index.expressions
            if all(isinstance(one, sa.Column) for one in expressions):
                yield index.unique, cast("tuple[sa.Column[Any], ...]", tuple(expressions))
