"""The SQL of a dataset: how many rows there are, where a page ends, and a page's lines.

Each statement is built once for a dataset and a database, because building one takes as long as
reading a few hundred rows; a worker builds all of them before it forks (`prepare`).
"""

from functools import cache
from itertools import product
from typing import Any

import sqlalchemy as sa

from chalicelib.exports.datasets import Dataset, Field, Kind
from chalicelib.exports.lines import Text, line_of

Statement = sa.Select[*tuple[Any, ...]]

BETWEEN = b",\n"
"""What stands between two lines of a document."""

WIDE = {Kind.TEXT, Kind.JSON}
"""What people write; everything else takes a few bytes."""

Period = tuple[bool, bool]
"""Whether only rows from a time on are asked for, and only those before a time."""

WHOLE: Period = (False, False)

_AGGREGATES = {"postgresql": "string_agg", "sqlite": "group_concat"}

DATABASES = tuple(_AGGREGATES)


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
    line: Text = line_of(dataset, database, row)
    fits: sa.ColumnElement[bool] = sa.true()
    wide = [_size(field, row.c[field.name]) for field in dataset.columns if field.kind in WIDE]
    if wide and database == "postgresql":
        is_small = sum(wide[1:], wide[0]) <= sa.bindparam("most", type_=sa.Integer)
        line, fits = sa.case((is_small, line)), sa.func.bool_and(is_small)
    # `aggregate_strings` would have SQLAlchemy write the separator into the text at each execution.
    aggregated: Text = sa.Function(
        _AGGREGATES[database], line, sa.literal_column(f"'{BETWEEN.decode()}'"), type_=sa.Text()
    )
    return sa.select(
        _as_bytes(aggregated, database).label("lines"),
        sa.func.count().label("rows"),
        fits.label("fits"),
    ).execution_options(lines_as_bytes=True)


def _mine(dataset: Dataset, period: Period) -> list[sa.ColumnElement[bool]]:
    snapshot, time, (since, until) = dataset.snapshot_column, dataset.time_column, period
    found = [*dataset.mine, snapshot <= sa.bindparam("snapshot", type_=snapshot.type)]
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
