"""Transactions on PostgreSQL that wait for few answers, and are transactions all the same."""

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import pytest
import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db import engine
from chalicelib.db.engine import Database, connect
from chalicelib.db.models import Pause
from chalicelib.db.pipelines import STATEMENTS_AT_ONCE, unanswered
from tests.harness.proxies import Proxy
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

PAUSE = sa.insert(Pause).values(created_at=sa.func.now())
LATE = sa.insert(cast("sa.Table", Pause.__table__)).from_select(
    ["name", "created_at"],
    sa.select(sa.bindparam("name", type_=sa.String()), sa.func.now()).select_from(
        sa.func.pg_sleep(0.1)
    ),
)
"""The same, answered when something else is sent already."""

MANY = [{"name": f"{number:03}"} for number in range(2 * STATEMENTS_AT_ONCE)]

Transaction = Callable[[Database], AbstractContextManager[so.Session]]
in_both_ways = pytest.mark.parametrize("transaction", [Database.pipeline, Database.write])

NAMES = sa.select(Pause.name).order_by(Pause.name)


@pytest.fixture(autouse=True)
def one_connection(database: Database) -> Iterator[None]:
    """Every transaction ends with its connection as it found it."""
    yield
    with database.write() as session:
        assert session.scalar(sa.text("SELECT now() = now()"))


def names(database: Database) -> list[str]:
    """What is committed."""
    with database.read() as session:
        return list(session.scalars(NAMES))


def test_committed_at_the_end(database: Database) -> None:
    """It sees what it has written, and nobody else does before its end."""
    with database.pipeline() as session:
        session.execute(PAUSE, {"name": "one"})
        unanswered(session, PAUSE, {"name": "two"})
        assert list(session.scalars(NAMES)) == ["one", "two"]
        assert names(database) == []
    assert names(database) == ["one", "two"]


def test_undone_by_an_exception(database: Database) -> None:
    """What was written is gone."""

    def fail() -> None:
        with database.pipeline() as session:
            session.execute(PAUSE, {"name": "one"})
            unanswered(session, PAUSE, {"name": "two"})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert names(database) == []


@pytest.mark.parametrize("first", [so.Session.execute, unanswered])
@pytest.mark.parametrize("statement", [PAUSE, LATE], ids=["at once", "late"])
@pytest.mark.parametrize("looks", [True, False])
def test_undone_by_what_failed(
    database: Database, first: Callable[..., object], statement: sa.Insert, *, looks: bool
) -> None:
    """A statement says so itself, or the next one does, or the commit."""

    def fail() -> None:
        with database.pipeline() as session:
            session.execute(PAUSE, {"name": "one"})
            first(session, statement, {"name": "one"})
            if looks:
                session.execute(NAMES)

    with pytest.raises(sa.exc.IntegrityError):
        fail()
    assert names(database) == []


def test_begun_anew_after_a_rollback(database: Database) -> None:
    """Whatever comes after is a transaction of its own."""

    def fail() -> None:
        with database.pipeline() as session:
            session.rollback()
            session.execute(PAUSE, {"name": "three"})
            raise RuntimeError

    with database.pipeline() as session:
        session.execute(PAUSE, {"name": "one"})
        session.rollback()
        session.execute(PAUSE, {"name": "two"})
        assert names(database) == []
    with pytest.raises(RuntimeError):
        fail()
    assert names(database) == ["two"]


def test_nothing_to_do(database: Database) -> None:
    """One without a statement says nothing to anybody."""
    with database.pipeline():
        pass
    assert names(database) == []


def test_killed_by_the_server(database: Database) -> None:
    """A connection that is lost in the midst is an error like others, and is replaced."""

    def fail() -> None:
        with database.pipeline() as session, database.read() as other:
            pid = session.scalar(sa.text("SELECT pg_backend_pid()"))
            other.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            unanswered(session, PAUSE, {"name": "one"})

    with pytest.raises(sa.exc.DBAPIError):
        fail()
    assert names(database) == []


def test_lost_before_it_begins(database: Database) -> None:
    """A connection that is gone before the first statement is an error like others."""

    def fail() -> None:
        with database.pipeline() as session:
            connection = session.get_bind()
            assert isinstance(connection, sa.Connection)
            driver: Any = connection.connection.driver_connection
            driver.pgconn.finish()
            session.execute(NAMES)

    with pytest.raises(sa.exc.DBAPIError, match="BEGIN"):
        fail()
    assert names(database) == []


class Noted(socket.socket):
    """A connection to the server that notes each message."""

    messages: list[bytes]

    def sendall(self, data: Any, *options: Any) -> None:
        """Send a message, and note it."""
        self.messages.append(bytes(data))
        super().sendall(data, *options)


@pytest.fixture
def messages(database_url: str) -> Iterator[tuple[Database, list[bytes]]]:
    """A database, and what is sent to its server."""
    url = sa.make_url(database_url)
    sent: list[bytes] = []

    def noted() -> socket.socket:
        connection = Noted(socket.AF_UNIX)
        connection.messages = sent
        connection.connect(f"{url.query['host']}/.s.PGSQL.{url.port or 5432}")
        return connection

    proxy = Proxy(noted)
    through = url.set(host="127.0.0.1", port=proxy.port, query={})
    database = connect(through.render_as_string(hide_password=False))
    yield database, sent
    database.close()
    proxy.close()


def kinds(sent: Iterable[bytes]) -> str:
    """The types of the messages, which follow each other: one byte, then a length.

    https://www.postgresql.org/docs/current/protocol-message-formats.html
    """
    found, rest = "", b"".join(sent)
    while rest:
        found += chr(rest[0])
        rest = rest[1 + int.from_bytes(rest[1:5]) :]
    return found


def test_a_statement_and_its_sync_are_one_message(
    messages: tuple[Database, list[bytes]],
) -> None:
    """Nobody can be cut off between them: the server would count no silence, and keep its locks.

    psycopg's own names are used for that; a new version of it may want others.
    """
    database, sent = messages
    with database.pipeline() as session:
        session.execute(NAMES)
        sent.clear()
        unanswered(session, PAUSE, {"name": "one"})
        session.execute(PAUSE, {"name": "two"})
        (message,) = sent
        session.rollback()
    assert b"one" in message
    assert b"two" in message
    assert kinds([message])[-1] == "S"


@pytest.mark.parametrize("ends_well", [True, False])
@in_both_ways
def test_nothing_follows_a_sync(
    messages: tuple[Database, list[bytes]],
    transaction: Transaction,
    *,
    ends_well: bool,
) -> None:
    """After a Flush, which asks for nothing more, the server would count no silence either."""
    database, sent = messages

    def write() -> None:
        with transaction(database) as session:
            session.execute(NAMES)
            sent.clear()
            session.execute(PAUSE, MANY)
            if not ends_well:
                raise KeyError

    with nullcontext() if ends_well else pytest.raises(KeyError):
        write()
    assert set(kinds(sent)) <= set("PBDESQC")
    assert len(names(database)) == (len(MANY) if ends_well else 0)
    assert {kinds([one])[-1] for one in sent} <= set("SQ")


@in_both_ways
def test_the_server_counts_the_silence_of_its_client(
    database: Database,
    database_url: str,
    transaction: Transaction,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever is stopped after statements that it sent together keeps its locks for no longer."""
    monkeypatch.setattr(engine, "SILENCE_S", 1)
    silent = connect(database_url)

    def is_gone(pid: int | None) -> bool:
        there = sa.text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
        with database.read() as session:
            return not session.scalar(there, {"pid": pid})

    def fall_silent() -> None:
        with transaction(silent) as session:
            pid = session.scalar(sa.text("SELECT pg_backend_pid()"))
            session.execute(PAUSE, [{"name": "one"}, {"name": "two"}])
            wait_until(lambda: is_gone(pid), "the server gives up on it", within_s=20)

    with pytest.raises(sa.exc.DBAPIError):
        fall_silent()
    silent.close()


@in_both_ways
@pytest.mark.parametrize("second", [1, len(MANY)])
def test_undone_by_one_of_many(
    database: Database,
    transaction: Transaction,
    second: int,
) -> None:
    """Its error is raised, whatever was sent after it, and the connection can be used again."""
    rows = [*MANY[:second], MANY[0], *MANY[second:]]

    def fail() -> None:
        with transaction(database) as session:
            session.execute(PAUSE, rows)

    with pytest.raises(sa.exc.IntegrityError):
        fail()
    assert names(database) == []


def test_statements_sent_together_may_return(database: Database) -> None:
    """Somebody who wants answers within a pipeline gets them."""
    driver: Any
    with database.write() as session:
        driver = session.connection().connection.driver_connection
        cursor = driver.cursor()
        cursor.executemany("SELECT %s", [(1,), (2,)], returning=True)
        assert cursor.fetchone() == (1,)
        assert cursor.nextset()
        assert cursor.fetchone() == (2,)
