"""Pooled connections: kept between requests, and never the reason for a failure."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from chalicelib.db import engine
from chalicelib.db.engine import Database
from tests.harness import ledgers
from tests.harness.proxies import Proxy, to_socket
from tests.harness.waiting import wait_until
from worker import transient_errors

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def read(database: Database) -> int:
    """Ask the server for the number of its process."""
    with database.read() as session:
        return session.scalar(sa.text("SELECT pg_backend_pid()")) or 0


def write(database: Database) -> int:
    """Ask the same in a transaction that may write."""
    with database.write() as session:
        return session.scalar(sa.text("SELECT pg_backend_pid()")) or 0


def kill(url: str, pid: int) -> None:
    """Have the server end a connection, as a failover ends all of them."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as operator:
        operator.execute("SELECT pg_terminate_backend(%s)", [pid])
        gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = %s"
        wait_until(lambda: (operator.execute(gone, [pid]).fetchone() or [0])[0], "it is gone")


@on_postgresql
@pytest.mark.parametrize("use", [read, write])
def test_kept(database: Database, use: Callable[[Database], int]) -> None:
    """One use after another has the same connection."""
    assert use(database) == use(database) == read(database)


@on_postgresql
@pytest.mark.parametrize("use", [read, write])
def test_killed_by_the_server(
    database: Database, database_url: str, use: Callable[[Database], int]
) -> None:
    """A connection that the server ended is replaced before anybody notices."""
    before = use(database)
    kill(database_url, before)
    assert use(database) != before


@on_postgresql
def test_closed_by_the_driver(database: Database) -> None:
    """A connection that libpq itself gave up on is replaced as well."""
    drivers: list[psycopg.Connection] = []
    sa.event.listen(database.engine, "checkout", lambda driver, *_: drivers.append(driver))
    before = read(database)
    drivers[0].close()
    assert read(database) != before


@on_postgresql
def test_all_are_replaced_at_once(database: Database, database_url: str) -> None:
    """What ended one connection ended the others: the pool asks once, not for each."""
    with database.read() as one, database.read() as other:
        pids = [session.scalar(sa.text("SELECT pg_backend_pid()")) for session in (one, other)]
    for pid in pids:
        kill(database_url, pid or 0)
    assert {read(database), read(database)}.isdisjoint(pids)


@on_postgresql
def test_asked_after_a_silence(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was idle for long is asked for a sign of life: a network may have forgotten it."""
    asked: list[object] = []
    before = read(database)
    ping = database.engine.dialect.do_ping

    def note(connection: object) -> bool:
        asked.append(connection)
        return ping(connection)  # type: ignore[arg-type]

    monkeypatch.setattr(database.engine.dialect, "do_ping", note)
    monkeypatch.setattr(engine, "TRUSTED_S", 3600)
    assert (read(database), len(asked)) == (before, 0)
    monkeypatch.setattr(engine, "TRUSTED_S", 0)
    assert (read(database), len(asked)) == (before, 1)


@pytest.fixture
def line(database_url: str) -> Iterator[Proxy]:
    """A proxy before PostgreSQL."""
    parts = sa.make_url(database_url)
    proxy = Proxy(to_socket(f"{parts.query['host']}/.s.PGSQL.{parts.port or 5432}"))
    yield proxy
    proxy.close()


@pytest.fixture
def behind(line: Proxy, database_url: str) -> Iterator[Database]:
    """The same database through the proxy."""
    parts = sa.make_url(database_url).set(host="127.0.0.1", port=line.port, query={})
    url = parts.render_as_string(hide_password=False) + "?sslmode=disable&gssencmode=disable"
    database = engine.connect(url, answer_s=60)
    yield database
    database.close()


@on_postgresql
@pytest.mark.parametrize("use", [read, write])
def test_half_open(line: Proxy, behind: Database, use: Callable[[Database], int]) -> None:
    """Nobody says that the other end is gone: one statement fails in time, the next succeeds."""
    drivers: list[Any] = []
    sa.event.listen(behind.engine, "connect", lambda driver, _record: drivers.append(driver))
    before = use(behind)
    line.freeze()
    assert drivers[0].answer_s == 60
    drivers[0].answer_s = 0.2
    with pytest.raises(sa.exc.OperationalError, match="did not respond in time") as caught:
        use(behind)
    assert transient_errors.transient(caught.value)
    assert use(behind) != before


@on_postgresql
def test_half_open_after_a_silence(
    line: Proxy, behind: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was idle is asked, and replaced before anybody notices."""
    monkeypatch.setattr(engine, "PING_ANSWER_S", 3)
    before = read(behind)
    line.freeze()
    monkeypatch.setattr(engine, "TRUSTED_S", 0)
    assert read(behind) != before


@on_postgresql
def test_a_machine_that_is_gone(database: Database) -> None:
    """The kernel gives up on who acknowledges nothing, in seconds instead of hours."""
    with database.engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        given = driver.info.get_parameters()
    assert int(given["tcp_user_timeout"]) <= 30_000
    probes = int(given["keepalives_interval"]) * int(given["keepalives_count"])
    assert int(given["keepalives_idle"]) + probes <= 30


@on_postgresql
def test_reading_begins_no_transaction(database: Database) -> None:
    """A statement that only reads waits for no BEGIN, and leaves nothing to roll back."""
    ledgers.make_user(database)
    with database.read() as session:
        first = session.scalar(sa.text("SELECT now()"))
        assert session.scalar(sa.text("SELECT now()")) > first
    with database.write() as session:
        first = session.scalar(sa.text("SELECT now()"))
        assert session.scalar(sa.text("SELECT now()")) == first


@on_postgresql
def test_a_silent_transaction(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that stood still within a transaction has its work tried again, not ended."""
    monkeypatch.setattr(engine, "SILENCE_S", 0.1)
    database = engine.connect(database_url)
    with pytest.raises(sa.exc.DBAPIError) as caught:
        stand_still(database, database_url)
    database.close()
    assert transient_errors.transient(caught.value) is not None


def stand_still(database: Database, url: str) -> None:
    """Begin a transaction, and do nothing in it until the server ends it."""
    with database.write() as session:
        pid = session.scalar(sa.text("SELECT pg_backend_pid()"))
        wait_until(lambda: pid not in processes(url), "the server ends it")


def processes(url: str) -> set[int]:
    """The numbers of the server's processes, one for each connection."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as operator:
        return {row[0] for row in operator.execute("SELECT pid FROM pg_stat_activity")}


@on_postgresql
def test_the_server_looks_whether_its_client_is_there(database: Database) -> None:
    """Not for two hours: in the midst of a COPY it has no other way to notice."""
    asked = sa.text(
        "SELECT name FROM pg_settings WHERE name LIKE 'tcp_keepalives%' AND source = 'client'"
    )
    with database.read() as session:
        assert set(session.scalars(asked)) == set(engine.CLIENT_GONE)


def test_a_database_that_is_locked(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits too long for SQLite's other writers has an error like others."""
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_S", 0.05)
    other = engine.connect(database_url)
    with database.write() as session:
        session.connection()
        with pytest.raises(sa.exc.OperationalError, match="locked") as error:
            write(other)
    other.close()
    assert transient_errors.transient(error.value)
