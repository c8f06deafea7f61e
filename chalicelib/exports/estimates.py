"""How much there is of a user's rows, told in milliseconds however many there are.

Up to `EXACT_ROWS` everything is counted and measured. Beyond, rows are counted in the index as far
as that is quick, and the size is that of an even sample. Of still more rows the table itself is
sampled: by its numbers, in windows spread evenly over all of them. How much neighbouring windows
differ tells how far off the result may be; when it may be too far, everything is counted after all.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import sqrt
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa

from chalicelib.db.engine import Database
from chalicelib.exports.datasets import Dataset
from chalicelib.exports.lines import size_of_line

EXACT_ROWS = 10_000
"""Up to so many rows the size is measured, too."""

COUNTED_ROWS = 50_000
"""Up to so many rows are counted in any case: some milliseconds."""

SAMPLE_ROWS = 2_000
"""About how many rows are measured where there are too many: posts of which one in a hundred is as
long as it may be still give a size within a quarter of the true one."""

WINDOWS = 500
WINDOW_ROWS = 48
"""How many windows of a table are looked at, and for how many numbers each."""

MAX_ERROR = 0.04
"""The standard error that a sample may have, of the whole. It is told for rows that lie about by
chance; of long runs, which windows meet more evenly, it is less by half."""

MIN_HITS = 500
"""How many rows the windows must have met for their sizes to be those of all."""

START_S = 0.5
ROWS_PER_S = 600_000
BYTES_PER_S = 80_000_000
"""What the first row waits for, and how fast a worker writes a compressed file (`make bench`)."""

_FRAME = len(
    '{"version":1,"user":"","exported_at":"2026-01-02T03:04:05.678901Z","":[],"count":}'
) + len("\n\n")
"""How long a document is but for its user, the name of its dataset, its rows and their number."""

# What the planner may not do: a user's rows are read by an index, in the index's order. Of a table
# that was filled just now it knows nothing, and would sort or read everything.
_BY_INDEX = "; ".join(
    f"SET LOCAL {way} = off" for way in ("enable_sort", "enable_seqscan", "enable_bitmapscan")
)


@dataclass(frozen=True)
class Estimate:
    """How much there is of a dataset.

    Attributes:
        rows: How many rows.
        bytes: How large they are as a document of their own.
    """

    rows: int
    bytes: int

    @property
    def seconds(self) -> float:
        """How long a worker takes to write that, roughly."""
        return round(START_S + self.rows / ROWS_PER_S + self.bytes / BYTES_PER_S, 1)


def estimate(
    database: Database, user_id: int, username: str, datasets: Sequence[Dataset]
) -> list[Estimate]:
    """How much there is of each dataset: exact up to `EXACT_ROWS` rows."""
    with _reading(database) as connection:
        reader = _Reader(connection, user_id)
        counted = reader.count(datasets)
        return [
            reader.estimate(dataset, rows, username)
            for dataset, rows in zip(datasets, counted, strict=True)
        ]


def estimate_rows(database: Database, user_id: int, datasets: Sequence[Dataset]) -> list[int]:
    """How many rows there are of each dataset: exact up to `COUNTED_ROWS`."""
    with _reading(database) as connection:
        reader = _Reader(connection, user_id)
        counted = reader.count(datasets)
        return [
            reader.rows(dataset, rows)[0] for dataset, rows in zip(datasets, counted, strict=True)
        ]


@contextmanager
def _reading(database: Database) -> Iterator[sa.Connection]:
    """A transaction in which indexes are used."""
    with database.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.execution_options(begin="BEGIN")
        with connection.begin():
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(_BY_INDEX)
            yield connection


@dataclass(frozen=True)
class _Windows:
    """Where the windows of a table begin: in each of `WINDOWS` equal parts, at another place."""

    first: int
    part: int

    @classmethod
    def of(cls, first: int, last: int) -> "_Windows | None":
        """Those of a table; None when the windows would leave out little of it."""
        part = (last - first + 1) // WINDOWS
        return cls(first, part) if part >= 2 * WINDOW_ROWS else None

    def values(self, width: int) -> dict[str, int]:
        """The parameters of a statement."""
        return {"first": self.first, "part": self.part, "width": width}


@dataclass(frozen=True)
class _Reader:
    """Asks about one user."""

    connection: sa.Connection
    user_id: int

    def count(self, datasets: Sequence[Dataset]) -> Sequence[int]:
        """How many rows there are of each, at most `COUNTED_ROWS` + 1."""
        counted: Sequence[int] = ()
        if datasets:
            counted = self._one(_count_statement(tuple(datasets)))
        return counted

    def rows(self, dataset: Dataset, counted: int) -> tuple[int, _Windows | None]:
        """How many rows there are, and the windows of the table if they hold enough of them."""
        if counted <= COUNTED_ROWS:
            return counted, None
        windows = self._windows(dataset) if _has_numbers(dataset) else None
        if windows is not None:
            found = self._all(_hits_statement(dataset), windows.values(WINDOW_ROWS))
            hits = [row[0] for row in found]
            near = round(sum(hits) * windows.part / WINDOW_ROWS)
            windows = windows if sum(hits) >= MIN_HITS else None
            if _error(hits) <= MAX_ERROR:
                return near, windows
        return int(self._one(_count_all_statement(dataset))[0]), windows

    def estimate(self, dataset: Dataset, counted: int, username: str) -> Estimate:
        """How much there is of a dataset of which so many rows were counted."""
        rows, windows = self.rows(dataset, counted)
        size = _FRAME + len(username) + len(dataset.name) + len(str(rows)) + 2 * rows
        if rows:
            size += self._size(dataset, rows, windows) - 1
        return Estimate(rows, size)

    def _size(self, dataset: Dataset, rows: int, windows: _Windows | None) -> int:
        """How large the lines of all rows are together."""
        dialect = self.connection.dialect.name
        if rows <= EXACT_ROWS:
            return int(self._one(_size_statement(dataset, dialect))[0])
        if windows is None:
            step = max(1, rows // SAMPLE_ROWS)
            found = self._one(_sample_statement(dataset, dialect), {"step": step})
        else:
            share = rows / (windows.part * WINDOWS)
            width = max(1, min(WINDOW_ROWS, round(SAMPLE_ROWS / (share * WINDOWS))))
            found = self._one(_window_size_statement(dataset, dialect), windows.values(width))
        measured, size = found
        return round(float(size) * rows / float(measured))

    def _windows(self, dataset: Dataset) -> _Windows | None:
        first, last = self._one(_ends_statement(dataset))
        return None if first is None else _Windows.of(first, last)

    def _one(self, statement: Any, values: dict[str, Any] | None = None) -> Any:
        return self.connection.execute(statement, {"of": self.user_id, **(values or {})}).one()

    def _all(self, statement: Any, values: dict[str, Any]) -> Any:
        return self.connection.execute(statement, {"of": self.user_id, **values}).all()


def _error(hits: Sequence[int]) -> float:
    """The standard error of the sum, of the whole; by the differences of neighbours.

    So what changes slowly over the table, such as one long run of a user's rows, counts for little.
    """
    total = sum(hits)
    if not total:
        return 1.0
    differences = sum((after - before) ** 2 for before, after in pairwise(hits))
    return sqrt(differences / 2 * len(hits) / (len(hits) - 1)) / total


def _has_numbers(dataset: Dataset) -> bool:
    """Whether the table can be sampled by the numbers of its rows."""
    number = dataset.snapshot_column
    is_key = [*dataset.table.primary_key.columns] == [number]
    return is_key and isinstance(number.type, sa.Integer) and not dataset.where


@cache
def _count_statement(datasets: tuple[Dataset, ...]) -> Any:
    return sa.select(*[_counted(one, limit=COUNTED_ROWS + 1).label(one.name) for one in datasets])


@cache
def _count_all_statement(dataset: Dataset) -> Any:
    return sa.select(_counted(dataset, limit=None))


def _counted(dataset: Dataset, *, limit: int | None) -> Any:
    # In the order of the key, so that it is read out of the index, which has it already.
    rows = sa.select(sa.literal(1)).select_from(dataset.table).where(*dataset.mine)
    if limit is not None:
        rows = rows.order_by(*dataset.key_columns).limit(limit)
    return sa.select(sa.func.count()).select_from(rows.subquery()).scalar_subquery()


@cache
def _size_statement(dataset: Dataset, dialect: str) -> Any:
    size = _size_of_line(dataset, dialect, dataset.table)
    return sa.select(sa.func.coalesce(sa.func.sum(size), 0)).where(*dataset.mine)


@cache
def _sample_statement(dataset: Dataset, dialect: str) -> Any:
    """How many rows were measured, each `step`-th, and how large they are."""
    keys = [*dataset.table.primary_key.columns]
    number = sa.func.row_number().over(order_by=dataset.key_columns).label("number")
    row = sa.select(*keys, number).where(*dataset.mine).subquery()
    other = dataset.table.alias()
    size = (
        sa.select(_size_of_line(dataset, dialect, other))
        .where(*[other.c[key.name] == row.c[key.name] for key in keys])
        .scalar_subquery()
    )
    sampled = sa.case((row.c.number % sa.bindparam("step", type_=sa.Integer) == 0, size))
    sizes = sa.select(sampled.label("size")).subquery()
    return sa.select(sa.func.count(sizes.c.size), sa.func.sum(sizes.c.size))


@cache
def _ends_statement(dataset: Dataset) -> Any:
    number = dataset.snapshot_column
    ends = (sa.select(end(number)).scalar_subquery() for end in (sa.func.min, sa.func.max))
    return sa.select(*ends)


@cache
def _hits_statement(dataset: Dataset) -> Any:
    """How many rows of the user are in each window."""
    number, (parts, start) = dataset.snapshot_column, _starts()
    row = (
        sa.select(dataset.owner_column.label("owner"))
        .where(*_within(number, start))
        .order_by(number)
        .limit(WINDOW_ROWS)
        .correlate(parts)
        .subquery()
    )
    hits = sa.select(sa.func.count()).select_from(row).where(row.c.owner == sa.bindparam("of"))
    return sa.select(hits.scalar_subquery()).select_from(parts).order_by(parts.c.part)


@cache
def _window_size_statement(dataset: Dataset, dialect: str) -> Any:
    """How many of the user's rows are in all windows, and how large they are."""
    parts, start = _starts()
    # Not by the index of the owner's rows: of a window's, which are few, all are looked at.
    mine = dataset.owner_column + 0 == sa.bindparam("of")
    size = sa.func.sum(_size_of_line(dataset, dialect, dataset.table))
    rows = parts.join(dataset.table, sa.and_(*_within(dataset.snapshot_column, start)))
    return sa.select(sa.func.count(), size).select_from(rows).where(mine)


def _starts() -> tuple[sa.CTE, sa.ColumnElement[int]]:
    """A table of the windows, and the first number of each."""
    zero = sa.select(sa.literal(0, sa.BigInteger).label("part")).cte("parts", recursive=True)
    parts = zero.union_all(sa.select(zero.c.part + 1).where(zero.c.part < WINDOWS - 1))
    first, part, width = map(_number, ("first", "part", "width"))
    # Anywhere in its part: users who write by turns would be met always, or never.
    jitter = parts.c.part * 7919 % (part - width)
    return parts, first + parts.c.part * part + jitter


def _within(number: sa.Column[Any], start: sa.ColumnElement[int]) -> Iterator[Any]:
    yield number >= start
    yield number < start + _number("width")


def _number(name: str) -> sa.BindParameter[int]:
    return sa.bindparam(name, type_=sa.BigInteger)


def _size_of_line(dataset: Dataset, dialect: str, table: Any) -> Any:
    """How many bytes the line of a row is."""
    row = SimpleNamespace(c={one.name: table.c[one.column.name] for one in dataset.columns})
    return size_of_line(dataset, dialect, row)
