"""The SQL of a row's line: the database itself writes the JSON of a dataset's rows.

Both databases write the same bytes, and a row is one value for whoever reads it. The worker's pages
are made of lines; their sizes tell how large an export will be.
"""

from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any, cast

import sqlalchemy as sa

from chalicelib.db.types import ExactDecimal
from chalicelib.exports.datasets import Dataset, Field, Kind

Text = sa.ColumnElement[Any]
"""An expression whose value is text."""

_UUID_GROUPS = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))
"""Where the groups of a UUID begin in its digits, and how long they are."""

Written = tuple[str, Text, str]
"""JSON: an expression, and what stands before and after it."""

Writers = Mapping[Kind, Callable[[Field, Text], Written]]
"""How the JSON of a value is made that is not null; of null, the expression is null."""


def line_of(dataset: Dataset, database: str, row: Any) -> Text:
    """A row's line of the document, byte for byte as orjson would write it; tests compare."""
    parts: list[Text | str] = []
    for number, field in enumerate(dataset.columns):
        parts.append(f'{"," if number else "{"}"{field.name}":')
        parts += _member(field, _WRITERS[database], row.c[field.name])
    return _joined([*parts, "}"])


def size_of_line(dataset: Dataset, database: str, row: Any) -> Text:
    """How many bytes a row's line is, without making it where that can be told otherwise."""
    names = sum(len(field.name) + len('"":,') for field in dataset.columns)
    sizes = (_member_size(field, database, row.c[field.name]) for field in dataset.columns)
    return sum(sizes, sa.literal(names + len("{}") - len(",")))


def _member_size(field: Field, database: str, value: Text) -> Text:
    size: Any = _LONG.get(field.kind)
    if field.kind is Kind.TIME:
        size = sa.case((_WHOLE_SECONDS[database](value), len('"2026-01-02T03:04:05Z"')), else_=size)
    elif size is None:
        written = _joined([*_WRITERS[database][field.kind](field, value)])
        size = sa.func.length(sa.cast(written, sa.LargeBinary))
        if database == "postgresql":
            size = sa.func.octet_length(written)
    return sa.case((value.is_(None), len("null")), else_=size) if field.nullable else size


_LONG: Mapping[Kind, int] = {
    Kind.TIME: len('"2026-01-02T03:04:05.678901Z"'),
    Kind.DATE: len('"2026-01-02"'),
    Kind.UUID: len('"0b9e8e6c-6f0e-4d3e-9d3f-1a2b3c4d5e6f"'),
}
"""How long the JSON of a value is where all are as long; a time without a fraction is shorter."""


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

_WHOLE_SECONDS: Mapping[str, Callable[[Text], sa.ColumnElement[bool]]] = {
    "postgresql": lambda value: sa.func.date_trunc("second", value) == value,
    "sqlite": lambda value: _stored(value).like("%.000000"),
}
