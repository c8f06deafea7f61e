"""The edge to SQL: engines, sessions, and the database's own clock.

Two databases are supported: SQLite in WAL mode for one machine, PostgreSQL through psycopg 3 for
everything else. What differs between them stands here and nowhere else.
"""

import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.functions import FunctionElement

from chalicelib.adapters.secrets_manager import Credentials, Secret, SecretError
from chalicelib.db.clock import DatabaseClock
from chalicelib.db.pipelines import Pipelined
from chalicelib.db.sqlite_memory import is_uncounted
from chalicelib.db.types import to_json

BUSY_TIMEOUT_S = 30
"""How long a SQLite writer waits for the other writers; a bulk load holds the lock for seconds."""

CONNECT_TIMEOUT_S = 5
"""How long connecting to PostgreSQL may take."""

SILENCE_S = 30
"""How long a transaction may wait for its client. All are short; one that waits longer belongs to a
machine that is gone or stopped, and its locks would stop a user, and every sweep, for hours."""

CLIENT_GONE = {"tcp_keepalives_idle": 60, "tcp_keepalives_interval": 15, "tcp_keepalives_count": 4}
"""After two minutes the server, too, gives up a machine that acknowledges nothing: it counts no
silence in the midst of a message or a COPY. By itself it would take the kernel's two hours.

https://www.postgresql.org/docs/current/runtime-config-connection.html
"""

ANSWER_S = 45
"""How long a statement of a process that serves may take, unless it is `unhurried`."""

PING_ANSWER_S = 5
"""How long a connection is asked whether it still leads anywhere."""

TRUSTED_S = 2.0
"""How long a pooled connection to PostgreSQL may have been idle and is used without a question. One
that the server closed is noticed at once, without one; a network may also drop one silently."""


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """An aware UTC datetime: `timestamptz` on PostgreSQL, ISO text of fixed width on SQLite."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Refuse naive times; SQLite's text carries no zone, so it is always UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetime; times are aware UTC")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Give SQLite's naive times their zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class db_clock(FunctionElement[datetime]):  # noqa: N801 - it reads as an SQL function
    """The database's clock, `offset_s` seconds from now.

    Leases go by this clock alone: the workers' own clocks may be an hour apart.
    """

    type = UtcDateTime()
    inherit_cache = True
    name = "db_clock"

    def __init__(self, offset_s: float | sa.ColumnElement[float] = 0) -> None:
        super().__init__(
            offset_s if isinstance(offset_s, sa.ColumnElement) else sa.literal(offset_s, sa.Float)
        )


@compiles(db_clock, "postgresql")
def _postgresql_clock(element: db_clock, compiler: Any, **kwargs: Any) -> str:
    seconds = compiler.process(element.clauses, **kwargs)
    return f"(clock_timestamp() + make_interval(secs => {seconds}))"


@compiles(db_clock, "sqlite")
def _sqlite_clock(element: db_clock, compiler: Any, **kwargs: Any) -> str:
    seconds = compiler.process(element.clauses, **kwargs)
    # Milliseconds are all that SQLite's clock has; six digits keep the column's text comparable.
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', ({seconds}) || ' seconds') || '000')"


NEWS = "news"
"""Where a session notes the users to whom its transaction makes something happen."""


class Database:
    """An engine and the ways to use it.

    Args:
        engine: The engine.
        pipelines: Whether statements may be sent before the ones before them are answered.

    Attributes:
        on_news: Called after a commit with the ids of the users to whom something happened.
    """

    def __init__(self, engine: sa.Engine, *, pipelines: bool = False) -> None:
        self.engine = engine
        self.on_news: Callable[[set[int]], None] = lambda _user_ids: None
        self._clock = DatabaseClock(engine)
        self._write = so.sessionmaker(engine, expire_on_commit=False)
        # PostgreSQL's statements see each what is committed as they begin, in a transaction or
        # not; without one there is no BEGIN and no ROLLBACK to wait for.
        sqlite = engine.dialect.name == "sqlite"
        reading = {"begin": "BEGIN"} if sqlite else {"isolation_level": "AUTOCOMMIT"}
        self._read = so.sessionmaker(engine.execution_options(**reading), expire_on_commit=False)
        self._pipelined = pipelines and Pipelined(engine)

    @property
    def is_postgresql(self) -> bool:
        """Whether it can change several tables in one statement, and is a round trip away."""
        return self.engine.dialect.name == "postgresql"

    @contextmanager
    def write(self) -> Iterator[so.Session]:
        """A transaction that may write: committed at the end, rolled back on an exception."""
        with self._write.begin() as session:
            yield session
        self._tell(session)

    @contextmanager
    def pipeline(self) -> Iterator[so.Session]:
        """A transaction like `write`, for a few short statements, with fewer round trips.

        On PostgreSQL its beginning travels with the first statement, its commit with the last, and
        what is executed by `unanswered` with the next. Nothing of it may use COPY or a cursor of
        the server's.
        """
        with self._pipelined.session() if self._pipelined else self._write.begin() as session:
            yield session
        self._tell(session)

    @contextmanager
    def single(self) -> Iterator[so.Session]:
        """One writing statement, which is committed with its own round trip on PostgreSQL.

        Give it no second one: on SQLite both would be one transaction, on PostgreSQL two.
        """
        with self._read() if self.is_postgresql else self._write.begin() as session:
            yield session
        self._tell(session)

    def _tell(self, session: so.Session) -> None:
        if news := session.info.get(NEWS):
            self.on_news(news)

    @contextmanager
    def read(self) -> Iterator[so.Session]:
        """Only read; on SQLite this sees one state, waits for no writer and stops none."""
        with self._read() as session:
            yield session

    def now(self) -> datetime:
        """The time by the database's clock; it is seldom asked."""
        return self._clock.now()

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()

    def forget(self) -> None:
        """Drop connections that a forked process inherited, without closing the parent's."""
        self.engine.dispose(close=False)


def connect(
    url: str,
    *,
    pool_size: int = 5,
    secret: Secret | None = None,
    pooler: bool = False,
    answer_s: float | None = None,
) -> Database:
    """Prepare a database; nothing is connected before the first use.

    Args:
        url: `sqlite:///…` or `postgresql+psycopg://…`.
        pool_size: How many connections are kept; 0 opens one for each transaction.
        secret: User and password on PostgreSQL, where the URL has none.
        pooler: Whether a pooler such as RDS Proxy or PgBouncer shares the server's connections
            among transactions. The role that signs in must then bring the session's settings.
        answer_s: How long an answer of PostgreSQL may take, in seconds; None for any time.
    """
    # A statement in an error message comes without its parameters: they hold what users wrote.
    options: dict[str, Any] = {"hide_parameters": True, "json_serializer": to_json}
    if pool_size:
        options |= {"pool_size": pool_size, "pool_timeout": 10}
    else:
        options |= {"poolclass": NullPool}
    if url.startswith("sqlite"):
        is_uncounted()  # before the engine imports the driver
        engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, **options)
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        return Database(engine)
    connect_args: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "client_encoding": "UTF8",  # an export takes text as the bytes that are sent
    }
    if pooler:
        # A pooler refuses options, and whatever a session sets or prepares pins it to one of the
        # server's connections (RDS Proxy) or reaches another session (PgBouncer).
        connect_args["prepare_threshold"] = None
    else:
        session = {
            "timezone": "UTC",
            "idle_in_transaction_session_timeout": SILENCE_S * 1000,
            **CLIENT_GONE,
        }
        settings = (f"-c {name}={value}" for name, value in session.items())
        connect_args["options"] = " ".join(settings)
    engine = sa.create_engine(url, connect_args=connect_args, **options)
    _watch_pool(engine)
    sa.event.listen(engine, "do_connect", _sign_in_by(secret, answer_s))
    # A pooler may look at each message on its way, and wait for its answer.
    return Database(engine, pipelines=not pooler)


def _watch_pool(engine: sa.Engine) -> None:
    """Replace pooled connections that are dead, at the cost of a round trip only after a silence.

    As SQLAlchemy's `pool_pre_ping` does, which asks each time. The clock is the wall's: it goes on
    while the machine sleeps, as a Lambda function does between its calls.
    """

    def note(_connection: Any, record: Any) -> None:
        record.info["used_at"] = time.time()

    def check(connection: Any, record: Any, _proxy: Any) -> None:
        trusted = 0 <= time.time() - record.info["used_at"] < TRUSTED_S
        if (trusted and not _has_word(connection)) or _answers(engine, connection):
            return
        raise sa.exc.InvalidatePoolError  # all that are as old; the pool tries a new one

    sa.event.listen(engine, "connect", note)
    sa.event.listen(engine, "checkin", note)
    sa.event.listen(engine, "checkout", check)


def _has_word(connection: Any) -> bool:
    """Whether the server sent something unasked, such as its farewell, or libpq gave up on it."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _answers(engine: sa.Engine, connection: Any) -> bool:
    answer_s, connection.answer_s = connection.answer_s, PING_ANSWER_S
    try:
        return engine.dialect.do_ping(connection)
    except engine.dialect.loaded_dbapi.Error:
        return False
    finally:
        connection.answer_s = answer_s


def _sign_in_by(secret: Secret | None, answer_s: float | None) -> Any:
    """What makes a connection, and asks for the secret again when it is not let in."""
    from chalicelib.db.bounded import open_connection  # noqa: PLC0415 - SQLite needs no psycopg

    def sign_in(dialect: Any, _record: Any, args: Any, options: dict[str, Any]) -> Any:
        def attempt(known: Credentials) -> Any:
            given = {"user": known.username, "password": known.password}
            return open_connection(args, options | given, answer_s=answer_s)

        if secret is None:
            return open_connection(args, options, answer_s=answer_s)

        refusal = dialect.loaded_dbapi.OperationalError
        try:
            known = secret.read()
            try:
                return attempt(known)
            except refusal:  # libpq does not tell a wrong password from the rest but in words
                if (other := secret.read_again(known)) is None:
                    raise
                return attempt(other)
        except SecretError as error:
            raise refusal("nobody says how to sign in") from error

    return sign_in


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transactions begin too late for a snapshot and too weak for a writer, so
    # they are switched off and `_begin_sqlite` begins them.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    # A deferred transaction that turns into a writer fails at once when another one wrote in
    # between (SQLITE_BUSY_SNAPSHOT), whatever the time limit; an immediate one waits its turn.
    # By way of the driver: SQLAlchemy's own way takes longer than most statements.
    begin = connection.get_execution_options().get("begin", "BEGIN IMMEDIATE")
    driver = connection.dialect.loaded_dbapi
    try:
        connection.connection.cursor().execute(begin)
    except driver.Error as error:
        raise sa.exc.DBAPIError.instance(begin, None, error, driver.Error) from error


@contextmanager
def unhurried(session: so.Session) -> Iterator[None]:
    """Give statements on millions of rows the time that they take."""
    driver: Any = session.connection().connection.driver_connection
    if dialect(session) == "sqlite":
        yield
        return
    answer_s, driver.answer_s = driver.answer_s, None
    try:
        yield
    finally:
        driver.answer_s = answer_s


def dialect(session: so.Session) -> str:
    """What the session's database speaks: `sqlite` or `postgresql`."""
    return session.get_bind().dialect.name


def insert(dialect: str, table: type[so.DeclarativeBase]) -> Any:
    """An INSERT that knows `ON CONFLICT`, in the words of a database."""
    words = postgresql if dialect == "postgresql" else sqlite
    return words.insert(table.__table__)
