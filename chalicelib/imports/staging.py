"""Staged rows: what was read of a file and nobody sees yet.

They are written in the commit of the checkpoint that covers them, and deleted, some at a time, when
the import is over.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.engine import Database, dialect
from chalicelib.db.models import (
    ROWS_TO_DELETE,
    ImportRejection,
    ImportRow,
    ImportUpload,
)

DELETED_AT_ONCE = 20_000
"""How many rows one transaction deletes: on SQLite nobody else writes meanwhile."""

StagedRow = tuple[int, str, datetime]
"""Position, body, aware timestamp."""

Rejection = tuple[int, str]
"""Position, reason."""


def stage(
    session: so.Session,
    number: int,
    rows: Iterable[StagedRow],
    rejections: Sequence[Rejection],
) -> None:
    """Store rows in the caller's transaction, by the fastest way that each database has.

    Args:
        session: A writing session.
        number: The import's.
        rows: In the file's order.
        rejections: What is left out.
    """
    if dialect(session) == "postgresql":
        _copy(session, number, rows)
    else:
        _insert(session, number, rows)
    if rejections:
        values = [
            {"number": number, "position": position, "reason": reason}
            for position, reason in rejections
        ]
        session.execute(sa.insert(ImportRejection), values)


def _copy(session: so.Session, number: int, rows: Iterable[StagedRow]) -> None:
    driver = session.connection().connection.driver_connection
    statement = 'COPY import_rows (number, "position", timestamp, body) FROM STDIN (FORMAT binary)'
    with driver.cursor() as cursor, cursor.copy(statement) as copy:  # type: ignore[union-attr]
        copy.set_types(["int8", "int8", "timestamptz", "text"])
        for position, body, timestamp in rows:
            copy.write_row((number, position, timestamp, body))


def _insert(session: so.Session, number: int, rows: Iterable[StagedRow]) -> None:
    # Past SQLAlchemy's types: a time is the text that they would make of it.
    values = [(number, position, _text(timestamp), body) for position, body, timestamp in rows]
    if values:
        statement = (
            "INSERT INTO import_rows (number, position, timestamp, body) VALUES (?, ?, ?, ?)"
        )
        session.connection().exec_driver_sql(statement, values)


def _text(moment: datetime) -> str:
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(" ", "microseconds")[:-6]  # without "+00:00"


def mark_staged(session: so.Session, number: int) -> None:
    """Note that there are staged rows to delete one day."""
    staged = sa.update(ImportUpload).where(ImportUpload.number == number).values(staged=True)
    session.execute(staged)


def count(session: so.Session, number: int) -> int:
    """How many rows are staged."""
    statement = sa.select(sa.func.count()).select_from(ImportRow).where(ImportRow.number == number)
    return session.scalar(statement) or 0


def rejections(session: so.Session, number: int, *, after: int, most: int) -> Sequence[Rejection]:
    """Some rejections in the file's order: those after a position."""
    statement = (
        sa.select(ImportRejection.position, ImportRejection.reason)
        .where(ImportRejection.number == number, ImportRejection.position > after)
        .order_by(ImportRejection.position)
        .limit(most)
    )
    return [(row[0], row[1]) for row in session.execute(statement)]


def delete_rows(database: Database, number: int) -> None:
    """Delete all that an import has staged, some rows in each transaction."""
    for table in (ImportRow, ImportRejection):
        while not _delete_all(database, table, number) and _delete_some(database, table, number):
            pass
    with database.write() as session:
        staged = sa.update(ImportUpload).where(ImportUpload.number == number)
        session.execute(staged.values(staged=False))


def _delete_all(database: Database, table: type[ImportRow | ImportRejection], number: int) -> bool:
    """Empty the table, if it is SQLite's and holds nothing else: it drops the pages unread.

    https://www.sqlite.org/lang_delete.html, the truncate optimization.
    """
    ends = [sa.select(edge(table.number)) for edge in (sa.func.min, sa.func.max)]
    with database.write() as session:
        if dialect(session) != "sqlite":
            return False
        if {session.scalar(end) for end in ends} - {number, None}:
            return False
        session.execute(sa.delete(table).execution_options(synchronize_session=False))
    return True


def _delete_some(database: Database, table: type[ImportRow | ImportRejection], number: int) -> bool:
    """Delete some rows, in the order of their key; return whether more follow."""
    keys = table.__table__.primary_key.columns  # type: ignore[attr-defined]
    rest = sa.tuple_(*[one for one in keys if one.name != "number"])
    following = sa.select(*rest.clauses).where(table.number == number).order_by(*keys)
    with database.write() as session:
        end = session.execute(following.offset(DELETED_AT_ONCE).limit(1)).one_or_none()
        statement = sa.delete(table).where(table.number == number)
        if end is not None:
            statement = statement.where(rest < tuple(end))
        session.execute(statement.execution_options(synchronize_session=False))
    return end is not None


def delete_due(database: Database, *, most: int) -> int:
    """Delete the rows of imports that are over; return of how many imports."""
    statement = (
        sa.select(ImportUpload.number)
        .where(ROWS_TO_DELETE)
        .order_by(ImportUpload.upload_gone_at)
        .limit(most)
    )
    with database.read() as session:
        numbers = session.scalars(statement).all()
    for number in numbers:
        delete_rows(database, number)
    return len(numbers)
