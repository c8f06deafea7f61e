"""Whether the ledger can be written: a disk that is full still lets everybody read."""

from datetime import timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa

from chalicelib.db import engine
from chalicelib.db.engine import BUSY_TIMEOUT_S, Database, db_clock
from chalicelib.db.models import LedgerProbe

MIN_AGE = timedelta(seconds=5)
"""How long an answer is good for."""

SQLITE_BUSY = 5
"""https://www.sqlite.org/rescode.html#busy; the module that names it is slow to import."""


def is_writable(database: Database) -> bool:
    """Write a row, and say whether that worked; whoever is busy writing can."""
    with database.engine.connect() as connection:
        statement = _probe(connection.dialect.name)
        try:
            if connection.dialect.name == "sqlite":
                _write_at_once(connection, statement)
            else:
                with connection.begin():
                    connection.execute(statement)
        except sa.exc.DBAPIError as error:
            return getattr(error.orig, "sqlite_errorcode", None) == SQLITE_BUSY
    return True


def _write_at_once(connection: sa.Connection, statement: Any) -> None:
    """Wait for no other writer."""
    driver: Any = connection.connection.driver_connection
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        with connection.begin():
            connection.execute(statement)
    finally:
        driver.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")


@cache
def _probe(dialect: str) -> Any:
    statement = engine.insert(dialect, LedgerProbe).values(id=1, at=db_clock())
    return statement.on_conflict_do_update(index_elements=["id"], set_={"at": db_clock()})
