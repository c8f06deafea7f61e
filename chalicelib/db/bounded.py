"""Connections to PostgreSQL that do not wait for ever.

TCP notices a machine that is gone only while something is on its way to it, and a proxy on the way
may go on acknowledging. Who waits for an answer then waits for as long as the process lives. This
module imports psycopg, and whoever uses SQLite does not import it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors

from chalicelib.db.pipelines import say_all_at_once

GIVE_UP_S = 25
"""After how long a machine that acknowledges nothing is gone, in seconds."""

KEEP_ALIVE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": GIVE_UP_S * 1000,
}
"""libpq's names; its defaults are the kernel's, which are two hours and a quarter of one.

https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
"""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that closes itself when an answer takes too long.

    Attributes:
        answer_s: How long one may take, in seconds; None for any time.
    """

    answer_s: float | None = None

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait as psycopg does, for `answer_s` where it would wait for ever.

        Raises:
            OperationalError: The database did not respond in time.
        """
        if timeout is not None or self.answer_s is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.answer_s)
        except errors._WaitTimeout as error:  # noqa: SLF001 - the only name it has
            self.pgconn.finish()  # what is still to come belongs to nobody
            raise errors.OperationalError("the database did not respond in time") from error

    @contextmanager
    def pipeline(self) -> Iterator[psycopg.Pipeline]:
        """Send statements before others are answered, so that the server counts any silence."""
        with super().pipeline() as pipeline:
            say_all_at_once(pipeline)
            yield pipeline

    @contextmanager
    def _pipeline_nolock(self) -> Iterator[psycopg.Pipeline]:
        with super()._pipeline_nolock() as pipeline:
            say_all_at_once(pipeline)
            yield pipeline


def open_connection(args: Any, options: Any, *, answer_s: float | None) -> BoundedConnection:
    """Connect as `psycopg.connect` does."""
    connection = BoundedConnection.connect(*args, **KEEP_ALIVE | options)
    connection.answer_s = answer_s
    return connection
