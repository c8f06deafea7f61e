"""Transactions on PostgreSQL that wait for few answers, and are transactions all the same."""

import socket
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import sqlalchemy as sa

from chalicelib.db.engine import Database, connect
from chalicelib.db.models import Pause
from chalicelib.db.pipelines import unanswered
from tests.harness.proxies import Proxy

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

PAUSE = sa.insert(Pause).values(created_at=sa.func.now())
LATE = sa.insert(cast("sa.Table", Pause.__table__)).from_select(
    ["name", "created_at"],
    sa.select(sa.bindparam("name", type_=sa.String()), sa.func.now()).select_from(
        sa.func.pg_sleep(0.1)
    ),
)
"""The same, answered when something else is sent already."""

SYNC = b"S\0\0\0\4"

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


@pytest.mark.parametrize("first", [sa.orm.Session.execute, unanswered])
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


class Noted(socket.socket):
    """A connection to the server that notes each message."""

    messages: list[bytes]

    def sendall(self, data: Any, *options: Any) -> None:
        """Send a message, and note it."""
        self.messages.append(bytes(data))
        super().sendall(data, *options)


def test_a_statement_and_its_sync_are_one_message(database_url: str) -> None:
    """Nobody can be cut off between them: the server would count no silence, and keep its locks.

    psycopg's own names are used for that; a new version of it may want others.
    """
    url = sa.make_url(database_url)
    messages: list[bytes] = []

    def noted() -> socket.socket:
        connection = Noted(socket.AF_UNIX)
        connection.messages = messages
        connection.connect(f"{url.query['host']}/.s.PGSQL.{url.port or 5432}")
        return connection

    proxy = Proxy(noted)
    through = url.set(host="127.0.0.1", port=proxy.port, query={})
    database = connect(through.render_as_string(hide_password=False))
    with database.pipeline() as session:
        session.execute(NAMES)
        messages.clear()
        unanswered(session, PAUSE, {"name": "one"})
        session.execute(PAUSE, {"name": "two"})
        (message,) = messages
        session.rollback()
    database.close()
    proxy.close()
    assert b"one" in message
    assert b"two" in message
    assert message.endswith(SYNC)
