"""Transactions on PostgreSQL that wait for as few answers as they can.

libpq's pipeline mode sends a statement before the one before it is answered. SQLAlchemy knows
nothing of it, so here BEGIN and COMMIT are statements like others: BEGIN is sent with the first,
COMMIT with the last, and whatever is executed by `unanswered` with the one after it. Every other
statement waits for its own answer, which is all that SQLAlchemy notices.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import orm as so

STATEMENTS_AT_ONCE = 64
"""With a Sync of their own, so that the server works while the next are made."""

_PIPELINE = "pipeline"
_UNANSWERED = "unanswered"


def unanswered(session: so.Session, statement: sa.UpdateBase, values: Mapping[str, Any]) -> None:
    """Execute a statement of which nobody needs to know what came of it, but that it succeeded.

    If it fails, the next statement raises its error, or the commit, and nothing is committed.
    """
    session.execute(statement, values, execution_options={_UNANSWERED: True})


class Pipelined:
    """Makes such transactions.

    Args:
        engine: An engine for PostgreSQL.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        sa.event.listen(self._engine, "begin", _begin)
        sa.event.listen(self._engine, "after_cursor_execute", _wait)

    @contextmanager
    def session(self) -> Iterator[so.Session]:
        """A transaction: committed at the end, rolled back on an exception."""
        with (
            self._engine.connect() as connection,
            so.Session(connection, expire_on_commit=False) as session,
        ):
            driver = _driver(connection)
            try:
                with ExitStack() as stack:
                    connection.info[_PIPELINE] = stack.enter_context(driver.pipeline())
                    yield session
                    session.flush()
                    if session.in_transaction():
                        connection.dialect.do_commit(cast("Any", _Commit(driver, stack)))
            except driver_error(connection) as error:
                raise _as_others("COMMIT", error, connection) from error
            finally:
                if not driver.closed:
                    driver.rollback()  # says nothing to the server after a commit


@dataclass(frozen=True)
class _Commit:
    """What the dialect commits by: the end of the pipeline waits for all that was sent."""

    connection: Any
    pipeline: ExitStack

    def commit(self) -> None:
        self.connection.execute("COMMIT")
        self.pipeline.close()


def driver_error(connection: sa.Connection) -> Any:
    """What the driver raises, which SQLAlchemy has not seen."""
    return connection.dialect.loaded_dbapi.Error


def _as_others(statement: str, error: Exception, connection: sa.Connection) -> sa.exc.DBAPIError:
    made = sa.exc.DBAPIError.instance(
        statement,
        None,
        error,
        driver_error(connection),
        connection_invalidated=bool(_driver(connection).closed),
        dialect=connection.dialect,
    )
    return cast("sa.exc.DBAPIError", made)


def _begin(connection: sa.Connection) -> None:
    driver, pipeline = _driver(connection), connection.info[_PIPELINE]
    try:
        driver.execute("BEGIN")
        # The server begins while the statement is still made here.
        driver.wait(type(pipeline)._communicate_gen(pipeline))  # noqa: SLF001
    except driver_error(connection) as error:
        raise _as_others("BEGIN", error, connection) from error


def _wait(
    connection: sa.Connection,
    _cursor: object,
    _statement: str,
    _parameters: object,
    context: Any,
    _many: bool,
) -> None:
    if not context.execution_options.get(_UNANSWERED):
        connection.info[_PIPELINE].sync()


def say_all_at_once(pipeline: Any) -> None:
    """Have a pipeline send statements only with a Sync, as one message, and nothing after it.

    The server counts a client's silence from a Sync to whatever comes next. The locks of one that
    is stopped, or cut off, after a statement before its Sync, or after a Flush behind it, would
    never be given back; psycopg sends each statement by itself, and a Flush at the end.

    Args:
        pipeline: One of psycopg's, also one that it makes for `executemany`.
    """
    pipeline._communicate_gen = partial(_send, pipeline)  # noqa: SLF001
    pipeline._fetch_gen = partial(_fetch, pipeline)  # noqa: SLF001


def _send(pipeline: Any) -> Iterator[Any]:
    if len(pipeline.command_queue) == STATEMENTS_AT_ONCE:
        pipeline._enqueue_sync()  # noqa: SLF001
    if pipeline.command_queue and pipeline.command_queue[-1] == pipeline.pgconn.pipeline_sync:
        while pipeline.command_queue:
            pipeline.command_queue.popleft()()
        yield from type(pipeline)._communicate_gen(pipeline)  # noqa: SLF001


def _fetch(pipeline: Any, *, flush: bool) -> Iterator[Any]:
    if flush and pipeline.result_queue and pipeline.result_queue[-1] is not None:
        pipeline._enqueue_sync()  # noqa: SLF001
        yield from _send(pipeline)
    yield from type(pipeline)._fetch_gen(pipeline, flush=False)  # noqa: SLF001


def _driver(connection: sa.Connection) -> Any:
    return connection.connection.driver_connection
