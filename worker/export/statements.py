"""The SQL of a dataset: how many rows there are, where a page ends, and a page's lines.

Each statement is built once for a dataset and a database, because building one takes as long as
reading a few hundred rows; a worker builds all of them before it forks (`prepare`).
"""

from collections.abc import Callable, Mapping
from functools import cache
from itertools import groupby, product
from typing import Any, cast

import sqlalchemy as sa

from chalicelib.db.types import ExactDecimal
from chalicelib.exports.datasets import Dataset, Field, Kind

Statement = sa.Select[*tuple[Any, ...]]
Text = sa.ColumnElement[Any]
"""An expression whose value is text."""

BETWEEN = b",\n"
"""What stands between two lines of a document."""

WIDE = {Kind.TEXT, Kind.JSON}
"""What people write; everything else takes a few bytes."""

Period = tuple[bool, bool]
"""Whether only rows from a time on are asked for, and only those before a time."""

WHOLE: Period = (False, False)

DATABASES = ("postgresql", "sqlite")

_UUID_GROUPS = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))
"""Where the groups of a UUID begin in its digits, and how long they are."""


def prepare(dataset: Dataset) -> None:
    """Build every statement of a dataset, so that no export waits for one."""
    count_statement(dataset, WHOLE)
    for after, to in product((False, True), repeat=2):
        last_statement(dataset, WHOLE, after, to)
        for database in DATABASES:
            page_statement(dataset, WHOLE, database, after, to)


@cache
def count_statement(dataset: Dataset, period: Period) -> Statement:
    """How many rows there are of a user, in a period, up to a snapshot."""
    return sa.select(sa.func.count()).select_from(dataset.table).where(*_mine(dataset, period))


@cache
def last_statement(dataset: Dataset, period: Period, after: bool, to: bool) -> Statement:
    """The key of the row `offset` rows further on.

    Args:
        dataset: Which rows.
        period: Whether there is a time to begin at, and one to end before.
        after: Whether there is a cursor to begin after.
        to: Whether there is a cursor to end at.
    """
    found = _between(dataset, period, after, to, *dataset.key_columns)
    return found.offset(sa.bindparam("offset", type_=sa.Integer)).limit(1)


@cache
def page_statement(
    dataset: Dataset, period: Period, database: str, after: bool, to: bool
) -> Statement:
    """A page: its lines, how many they are, and whether all rows were small enough.

    SQLite itself gives up on too large a value. On PostgreSQL the statement leaves out the text of
    rows above a size, and `fits` tells that there were some.

    Args:
        dataset: Which rows.
        period: Whether there is a time to begin at, and one to end before.
        database: The dialect's name.
        after: Whether there is a cursor to begin after.
        to: Whether there is a cursor to end at.
    """
    columns = (field.column.label(field.name) for field in dataset.columns)
    limit = sa.bindparam("limit", type_=sa.Integer)
    row = _between(dataset, period, after, to, *columns).limit(limit).subquery()
    line: Text = _line(dataset, database, row)
    fits: sa.ColumnElement[bool] = sa.true()
    wide = [_size(field, row.c[field.name]) for field in dataset.columns if field.kind in WIDE]
    if wide and database == "postgresql":
        is_small = sum(wide[1:], wide[0]) <= sa.bindparam("most", type_=sa.Integer)
        line, fits = sa.case((is_small, line)), sa.func.bool_and(is_small)
    lines = sa.func.aggregate_strings(line, BETWEEN.decode())
    return sa.select(
        _as_bytes(lines, database).label("lines"),
        sa.func.count().label("rows"),
        fits.label("fits"),
    ).execution_options(lines_as_bytes=True)


def _mine(dataset: Dataset, period: Period) -> list[sa.ColumnElement[bool]]:
    snapshot, time, (since, until) = dataset.snapshot_column, dataset.time_column, period
    found = [
        dataset.owner_column == sa.bindparam("of"),
        snapshot <= sa.bindparam("snapshot", type_=snapshot.type),
    ]
    if time is not None and since:
        found.append(time >= sa.bindparam("since", type_=time.type))
    if time is not None and until:
        found.append(time < sa.bindparam("until", type_=time.type))
    return found


def _between(dataset: Dataset, period: Period, after: bool, to: bool, *columns: Any) -> Statement:
    key = _tuple(dataset.key_columns)
    found = sa.select(*columns).where(*_mine(dataset, period))
    if after:
        found = found.where(key > _cursor(dataset, "after"))
    if to:
        found = found.where(key <= _cursor(dataset, "to"))
    return found.order_by(*dataset.key_columns)


def _cursor(dataset: Dataset, name: str) -> sa.ColumnElement[Any]:
    columns = enumerate(dataset.key_columns)
    return _tuple([sa.bindparam(f"{name}_{number}", type_=one.type) for number, one in columns])


def _tuple(parts: Any) -> sa.ColumnElement[Any]:
    return sa.tuple_(*parts) if len(parts) > 1 else parts[0]


def _size(field: Field, value: Text) -> Text:
    """How many bytes PostgreSQL keeps of a value."""
    text = sa.cast(value, sa.Text) if field.kind is Kind.JSON else value
    size = sa.func.octet_length(text)
    return sa.func.coalesce(size, 0) if field.nullable else size


def _as_bytes(lines: Text, database: str) -> Text:
    """Text as the bytes that it is stored as, so that nothing decodes it to encode it again."""
    if database == "sqlite":
        return sa.cast(lines, sa.LargeBinary)
    return sa.type_coerce(lines, sa.LargeBinary)  # the driver is told to leave it


Written = tuple[str, Text, str]
"""JSON: an expression, and what stands before and after it."""

Writers = Mapping[Kind, Callable[[Field, Text], Written]]
"""How the JSON of a value is made that is not null; of null, the expression is null."""


def _line(dataset: Dataset, database: str, row: sa.Subquery) -> Text:
    """A row's line of the document, byte for byte as orjson would write it; tests compare."""
    parts: list[Text | str] = []
    for number, field in enumerate(dataset.columns):
        parts.append(f'{"," if number else "{"}"{field.name}":')
        parts += _member(field, _WRITERS[database], row.c[field.name])
    return _joined([*parts, "}"])


def _member(field: Field, writers: Writers, value: Text) -> list[Text | str]:
    written = writers[field.kind](field, value)
    if not field.nullable:
        return [*written]
    return [sa.func.coalesce(_joined([*written]), _literal("null"))]


def _joined(parts: list[Text | str]) -> Text:
    """One text of several; literals that follow each other become one."""
    joined: list[Text] = []
    for literal, group in groupby(parts, lambda part: isinstance(part, str)):
        if not literal:
            joined += cast("list[Text]", [*group])
        elif text := "".join(cast("list[str]", [*group])):
            joined.append(_literal(text))
    return _concatenated(joined)


def _concatenated(parts: list[Text]) -> Text:
    """One text of several, in brackets by halves.

    So a long text is copied a few times, and not once for each part that follows or goes before.
    """
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    left, right = _concatenated(parts[:half]), _concatenated(parts[half:])
    return left.op("||", return_type=sa.Text())(right)


def _literal(text: str) -> Text:
    escaped = text.replace("'", "''")
    return sa.literal_column(f"'{escaped}'", sa.Text)


def _call(function: str, *arguments: Any) -> Text:
    return cast("Text", getattr(sa.func, function)(*arguments, type_=sa.Text()))


def _json_string(text: Text) -> Text:
    return sa.cast(_call("to_json", text), sa.Text)


def _with_point(value: Text, field: Field) -> Text:
    """A decimal number, of the whole number of units that SQLite keeps."""
    units = sa.type_coerce(value, sa.BigInteger)
    scale = cast("ExactDecimal", field.column.type).scale
    if not scale:
        return sa.cast(units, sa.Text)
    size = sa.func.abs(units, type_=sa.BigInteger)
    sign = sa.case((units < 0, _literal("-")), else_=_literal(""))
    form = _literal(f"%s%d.%0{scale}d")
    written = _call("printf", form, sign, size // 10**scale, size % 10**scale)
    return sa.case((units.is_not(None), written))  # printf takes null for 0


def _on_one_line(json: Text, character: str) -> Text:
    """Within a JSON text only white space can be a line break."""
    for number in (10, 13):
        json = _call("replace", json, _call(character, number), _literal(""))
    return json


def _dashed(digits: Text) -> Text:
    """A UUID, of the digits that SQLite keeps."""
    groups = [_call("substr", digits, first, length) for first, length in _UUID_GROUPS]
    return _concatenated([part for one in groups for part in (_literal("-"), one)][1:])


def _time(iso: Text) -> Text:
    """A time as the API writes it: six digits of fraction, or none."""
    return _call("replace", iso, _literal(".000000Z"), _literal("Z"))


def _postgresql_time(moment: Text) -> Text:
    form = _literal('YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    return _time(_call("to_char", moment.op("AT TIME ZONE")(_literal("UTC")), form))


def _sqlite_time(text: Text) -> Text:
    return _time(_call("replace", text, _literal(" "), _literal("T")).op("||")(_literal("Z")))


def _sqlite_boolean(value: Text) -> Text:
    unknown, true = (value.is_(None), sa.null()), (value, _literal("true"))
    return sa.case(unknown, true, else_=_literal("false"))


def _stored(value: Text) -> Text:
    """What SQLite keeps, whatever Python makes of it."""
    return sa.type_coerce(value, sa.Text)


_POSTGRESQL: Writers = {
    Kind.TEXT: lambda _, value: ("", _json_string(value), ""),
    Kind.ENUM: lambda _, value: ("", _json_string(sa.cast(value, sa.Text)), ""),
    Kind.INTEGER: lambda _, value: ("", sa.cast(value, sa.Text), ""),
    Kind.BOOLEAN: lambda _, value: ("", sa.cast(value, sa.Text), ""),
    Kind.JSON: lambda _, value: ("", _on_one_line(sa.cast(value, sa.Text), "chr"), ""),
    Kind.UUID: lambda _, value: ('"', sa.cast(value, sa.Text), '"'),
    Kind.DECIMAL: lambda _, value: ('"', sa.cast(value, sa.Text), '"'),
    Kind.DATE: lambda _, value: ('"', _call("to_char", value, _literal("YYYY-MM-DD")), '"'),
    Kind.TIME: lambda _, value: ('"', _postgresql_time(value), '"'),
}

_SQLITE: Writers = {
    Kind.TEXT: lambda _, value: ("", _call("json_quote", _stored(value)), ""),
    Kind.ENUM: lambda _, value: ("", _call("json_quote", _stored(value)), ""),
    Kind.INTEGER: lambda _, value: ("", _call("json_quote", value), ""),
    Kind.BOOLEAN: lambda _, value: ("", _sqlite_boolean(value), ""),
    Kind.JSON: lambda _, value: ("", _on_one_line(_stored(value), "char"), ""),
    Kind.UUID: lambda _, value: ('"', _dashed(_stored(value)), '"'),
    Kind.DECIMAL: lambda field, value: ('"', _with_point(value, field), '"'),
    Kind.DATE: lambda _, value: ('"', _stored(value), '"'),
    Kind.TIME: lambda _, value: ('"', _sqlite_time(_stored(value)), '"'),
}

_WRITERS = {"postgresql": _POSTGRESQL, "sqlite": _SQLITE}
