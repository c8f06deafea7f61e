"""The database's clock, as a process knows it without asking each time.

The clocks of two machines may be an hour apart, and users see what one wrote beside what another
did. So every time that decides something or is shown is the database's: asked for with a new
connection and once a minute after that, and carried on in between by a clock that never jumps.
"""

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

TRUSTED_S = 60.0
"""How long one answer is carried on: quartz strays by some milliseconds in a minute."""

JUMP_S = 1.0
"""By how much the wall's clock may go on otherwise than the steady one does. More is a step, or the
machine was frozen, as a Lambda function is between its calls; then the database is asked again."""

RETRY_S = 5.0
"""How long a database that did not respond is not asked again: each attempt may take long."""


@dataclass(frozen=True)
class Reading:
    """What the database answered, and when, by the clocks of this process."""

    moment: datetime
    steady_s: float
    wall_s: float


class DatabaseClock:
    """Tells the time of the database behind an engine.

    SQLite's is that of this machine, whatever Python has been told about it.

    Args:
        engine: The engine; its pool is where the clock is looked at.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._reading: Reading | None = None
        self._failed_at_s = float("-inf")
        self._is_sqlite = engine.dialect.name == "sqlite"
        if not self._is_sqlite:
            sa.event.listen(engine, "connect", lambda connection, _record: self._look(connection))
            sa.event.listen(engine, "checkout", lambda connection, *_rest: self._look(connection))

    def now(self) -> datetime:
        """The time; while the database does not respond, as well as it is known."""
        if self._is_sqlite:
            return datetime.fromtimestamp(time.clock_gettime(time.CLOCK_REALTIME), UTC)
        if self._reading is None or self._has_jumped(self._reading):
            self._reading = None
            self._connect()
        if self._reading is None:
            return datetime.now(UTC)
        passed_s = time.monotonic() - self._reading.steady_s
        return self._reading.moment + timedelta(seconds=passed_s)

    def _connect(self) -> None:
        """Whoever connects looks at the clock."""
        if time.monotonic() - self._failed_at_s < RETRY_S:
            return
        try:
            with self._engine.connect():
                pass
        except sa.exc.SQLAlchemyError:
            self._failed_at_s = time.monotonic()

    def _look(self, connection: Any) -> None:
        """Ask over a connection that nobody uses at the moment, in one round trip."""
        if self._reading and time.monotonic() - self._reading.steady_s < TRUSTED_S:
            return
        # Who uses a connection that has just died is told so in the usual way.
        with suppress(self._engine.dialect.loaded_dbapi.Error):
            connection.autocommit = True  # or there would be a transaction, in two more
            began_s = time.monotonic()
            row = connection.execute("SELECT clock_timestamp()", prepare=False).fetchone()
            middle_s = (began_s + time.monotonic()) / 2
            connection.autocommit = False
            self._reading = Reading(row[0].astimezone(UTC), middle_s, time.time())

    @staticmethod
    def _has_jumped(reading: Reading) -> bool:
        steady_s, wall_s = time.monotonic() - reading.steady_s, time.time() - reading.wall_s
        return abs(steady_s - wall_s) > JUMP_S
