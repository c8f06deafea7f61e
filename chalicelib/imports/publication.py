"""The one moment in which an import becomes visible: everything or nothing.

What an account holds already is not added again: of equal rows it holds as many as the file, or as
many as before if those were more. One statement finds what is missing and adds it. An account that
holds nothing of the file's time lacks all of it. Otherwise, where few rows of a file share a
moment, as they do in most, the statement counts the equal ones by the indexes, row by row; where
many do, that would take quadratic time, and it sorts them together with those of the account at the
same moments. Either way the time is that of the file, however much the account holds.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.engine import dialect
from chalicelib.db.models import ImportRow
from chalicelib.exports.datasets import Attribute, column_of

LOCK = 0x636172_0000000000
"""The first bytes of the advisory locks: "car"; a user's number follows."""

CROWD = 16
"""Up to so many rows of one moment are compared each with each."""

LARGE = 10_000
"""From so many rows on PostgreSQL sorts, in half of the time. Few are counted by the indexes, since
a planner without statistics of fresh rows may begin with all that the account holds."""

SORT_MEMORY = "64MB"
"""What PostgreSQL may sort in before it goes to the disk."""


@dataclass(frozen=True)
class Target:
    """The table that imported rows go to.

    Attributes:
        owner: The column with the number of the user whose row it is.
        body: The column of the text.
        timestamp: The column of the time.
    """

    owner: Attribute
    body: Attribute
    timestamp: Attribute

    @property
    def table(self) -> sa.Table:
        """The table itself."""
        return column_of(self.owner).table


def publish(session: so.Session, target: Target, *, user_id: int, number: int) -> int:
    """Add what is missing, in the order of time, then of the file.

    Two imports of one user do so one after another, or each would add what the other adds.

    Args:
        session: A writing session.
        target: Where the rows go.
        user_id: Whose they become.
        number: The import's.

    Returns:
        How many rows were added.
    """
    postgresql = dialect(session) == "postgresql"
    if postgresql:
        session.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK | user_id)))
        session.execute(sa.text(f"SET LOCAL work_mem TO '{SORT_MEMORY}'"))
    missing = _missing(session, target, user_id=user_id, number=number)
    owner = sa.bindparam("owner", type_=column_of(target.owner).type)
    found = sa.select(owner, missing.c.body, missing.c.timestamp).order_by(
        missing.c.timestamp, missing.c.position
    )
    names = [column_of(one).name for one in (target.owner, target.body, target.timestamp)]
    statement = sa.insert(target.table).from_select(names, found)
    statement = statement.execution_options(preserve_rowcount=True)
    added = session.execute(statement, {"owner": user_id, "number": number})
    return int(added.rowcount)  # type: ignore[attr-defined]


MINE = ImportRow.number == sa.bindparam("number", type_=sa.BigInteger)

_STAGED = sa.select(ImportRow.timestamp, ImportRow.body, ImportRow.position).where(MINE)


def _missing(session: so.Session, target: Target, *, user_id: int, number: int) -> sa.Subquery:
    """The file's rows that the account lacks, found in the way that is the fastest for them."""
    if not _meets(session, target, user_id=user_id, number=number):
        return _STAGED.subquery()
    postgresql = dialect(session) == "postgresql"
    if not (postgresql and _is_large(session, number)) and _crowd(session, number) <= CROWD:
        return _by_counting(target)
    return _by_sorting(target, postgresql=postgresql)


def _meets(session: so.Session, target: Target, *, user_id: int, number: int) -> bool:
    """Whether the account holds anything of the time from the file's first row to its last."""
    present = sa.select(sa.literal(1)).where(
        column_of(target.owner) == user_id, _is_of_its_time(target)
    )
    return session.scalar(present.limit(1), {"number": number}) is not None


def _is_of_its_time(target: Target) -> sa.ColumnElement[bool]:
    """Whether a row of the account is not before the file's first row nor after its last."""
    first, last = (
        sa.select(edge(ImportRow.timestamp)).where(MINE).scalar_subquery()
        for edge in (sa.func.min, sa.func.max)
    )
    return column_of(target.timestamp).between(first, last)


def _is_large(session: so.Session, number: int) -> bool:
    """Whether the file has so many rows that PostgreSQL is faster when it sorts them."""
    some = sa.select(ImportRow.position).where(MINE).limit(LARGE).subquery()
    counted = sa.select(sa.func.count()).select_from(some)
    return session.scalar(counted, {"number": number}) == LARGE


def _crowd(session: so.Session, number: int) -> int:
    """How many rows of the file share a moment, at most."""
    sizes = sa.select(sa.func.count().label("size")).where(MINE).group_by(ImportRow.timestamp)
    largest = sa.select(sa.func.max(sizes.subquery().c.size))
    return session.scalar(largest, {"number": number}) or 0


def _by_counting(target: Target) -> sa.Subquery:
    """The file's rows that the account lacks: more equal ones stand before them than it holds."""
    other = so.aliased(ImportRow)
    body, timestamp = column_of(target.body), column_of(target.timestamp)
    held = sa.select(sa.func.count()).where(
        column_of(target.owner) == sa.bindparam("owner", type_=column_of(target.owner).type),
        timestamp == ImportRow.timestamp,
        body == ImportRow.body,
    )
    before = sa.select(sa.func.count()).where(
        other.number == ImportRow.number,
        other.timestamp == ImportRow.timestamp,
        other.position < ImportRow.position,
        other.body == ImportRow.body,
    )
    enough = held.correlate(ImportRow).scalar_subquery()
    return (
        sa.select(ImportRow.timestamp, ImportRow.body, ImportRow.position)
        .where(MINE, enough <= before.correlate(ImportRow).scalar_subquery())
        .subquery()
    )


def _by_sorting(target: Target, *, postgresql: bool) -> sa.Subquery:
    """The same for any number of rows of one moment.

    Of equal rows, those of the account come first. After `held` of those, the next `held` rows of
    the file are the same ones again; what follows is missing.
    """
    rows = _both(target)
    body: sa.ColumnElement[Any] = rows.c.body
    if postgresql:
        body = sa.collate(body, "C")  # compares bytes, as SQLite does: by far the fastest way
    # One window for both, so that the rows are sorted once; up to a row of the file it has counted
    # all of the account's.
    window: dict[str, Any] = {
        "partition_by": (rows.c.timestamp, body),
        "order_by": rows.c.position.nulls_first(),
    }
    rank = sa.func.row_number().over(**window)
    held = sa.func.sum(sa.case((rows.c.position.is_(None), 1), else_=0)).over(**window)
    ranked = sa.select(
        rows.c.timestamp, rows.c.body, rows.c.position, rank.label("rank"), held.label("held")
    ).subquery()
    return (
        sa.select(ranked)
        .where(ranked.c.position.is_not(None), ranked.c.rank > 2 * ranked.c.held)
        .subquery()
    )


def _both(target: Target) -> sa.Subquery:
    """The account's rows at the file's moments, whose position is NULL, and the file's own."""
    moments = sa.select(ImportRow.timestamp).where(MINE)
    body, timestamp = column_of(target.body), column_of(target.timestamp)
    present = sa.select(
        timestamp.label("timestamp"),
        body.label("body"),
        sa.cast(sa.null(), sa.BigInteger).label("position"),
    ).where(
        column_of(target.owner) == sa.bindparam("owner", type_=column_of(target.owner).type),
        # The range alone keeps PostgreSQL from reading all of the account first.
        _is_of_its_time(target),
        timestamp.in_(moments),
    )
    return sa.union_all(present, _STAGED).subquery()


def bytes_of(session: so.Session, target: Target, *, user_id: int) -> int:
    """How many bytes the text of a user's rows takes in UTF-8."""
    body = column_of(target.body)
    if dialect(session) == "postgresql":
        size = sa.func.octet_length(body)
    else:
        size = sa.func.length(sa.cast(body, sa.LargeBinary))
    total = sa.select(sa.func.coalesce(sa.func.sum(size), 0))
    return int(session.scalar(total.where(column_of(target.owner) == user_id)) or 0)


def analyze(session: so.Session, target: Target) -> None:
    """Bring PostgreSQL's statistics up to date, which otherwise takes it minutes.

    Until then an export would sort each page. Only the owner of a table may; others are warned.
    """
    if dialect(session) == "postgresql":
        session.execute(sa.text(f"ANALYZE {target.table.name}"))


@dataclass(frozen=True)
class Outcome:
    """What the worker made of a file, for publication.

    Attributes:
        number: The import's.
        import_id: The same, as people call it.
        format: What the content was told to be.
        read: How many entries the file has.
        rejected: How many were left out.
        report_key: Where the report is in the bucket; None where there is no bucket.
        expires_at: Until when the report is kept.
        quota_bytes: How much of the user's text there may be; 0 for any amount.
    """

    number: int
    import_id: str
    format: str
    read: int
    rejected: int
    report_key: str | None
    expires_at: datetime
    quota_bytes: int
