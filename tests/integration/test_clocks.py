"""The clock of a worker may be an hour off: what it waits for goes by the database's clock."""

import time
from datetime import datetime, timedelta, tzinfo
from typing import Any

import pytest
import sqlalchemy as sa

from chalicelib.db import clock
from chalicelib.db.engine import Database, connect
from chalicelib.db.models import Notification, Removal
from chalicelib.exports import files
from chalicelib.outbox import messages
from chalicelib.tasks import leases
from chalicelib.tasks.leases import Lease
from chalicelib.values.fields import parse_time
from chalicelib.wiring import Wiring
from infra.local.stack import free_port
from tests.conftest import Join, both_databases, on_postgresql
from tests.harness.ledgers import LEASE_S, fail, launch, make_user, now, the_task
from worker.attempts import perform

HOUR = timedelta(hours=1)
OFF = pytest.mark.parametrize("off", [HOUR, -HOUR], ids=["fast", "slow"])
NEARLY = timedelta(seconds=20)


def claim_by_clock(database: Database, task_id: str, off: timedelta) -> Lease:
    """Claim a task by a clock that is off."""
    claimed = leases.claim(database, task_id, worker="w", lease_s=LEASE_S, now=now() + off)
    assert claimed is not None
    return claimed.lease


def left(database: Database, task_id: str) -> timedelta:
    """How long the lease still lasts; all tests run on the database's machine."""
    until = the_task(database, task_id).lease_until
    assert until is not None
    return until - now()


@OFF
@both_databases
def test_leases(database: Database, off: timedelta) -> None:
    """A lease is neither longer nor shorter than any other, from the claim on."""
    task_id = launch(database, make_user(database))
    lease = claim_by_clock(database, task_id, off)
    whole = timedelta(seconds=LEASE_S)
    assert whole - NEARLY < left(database, task_id) < whole + NEARLY
    lease.report(1, 2, now=now() + off)
    assert whole - NEARLY < left(database, task_id) < whole + NEARLY
    lease.renew()
    assert whole - NEARLY < left(database, task_id) < whole + NEARLY


@OFF
@both_databases
def test_pauses(database: Database, off: timedelta) -> None:
    """A released task can be claimed at once, whatever the clock of the worker that had it."""
    task_id = launch(database, make_user(database))
    claim_by_clock(database, task_id, off).release(now=now() + off)
    claim_by_clock(database, task_id, -off)


@OFF
@both_databases
def test_recoveries(database: Database, off: timedelta) -> None:
    """A reconciler whose clock is off takes no worker for dead that is alive."""
    task_id = launch(database, make_user(database))
    lease = claim_by_clock(database, task_id, timedelta(0))
    assert not lease.recover(now=now() + off, overdue=True)


@OFF
@both_databases
def test_senders(database: Database, off: timedelta) -> None:
    """A reconciler whose clock is off takes no sender for dead that is alive."""
    task_id = launch(database, make_user(database))
    fail(database, task_id)
    (message,) = messages.claim_due(database, lease_s=LEASE_S)
    assert message.lease.task_id == task_id
    assert messages.recover(database, now=now() + off, most=10) == 0


@pytest.fixture
def wrong_clock(monkeypatch: pytest.MonkeyPatch, off: timedelta) -> None:
    """This process's idea of the time, by whatever way it is asked, is off."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + off.total_seconds())

    class Off(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + off

    monkeypatch.setattr("chalicelib.db.clock.datetime", Off)


@OFF
@both_databases
@pytest.mark.usefixtures("wrong_clock")
def test_the_time(wiring: Wiring) -> None:
    """What a process calls now is the database's time, whatever its own clock says."""
    for _ in range(2):
        assert abs(wiring.now() - now()) < NEARLY


@OFF
@both_databases
@pytest.mark.usefixtures("wrong_clock")
def test_every_time_of_a_task(
    join: Join, wiring: Wiring, monkeypatch: pytest.MonkeyPatch, off: timedelta
) -> None:
    """Requests, starts, ends, expiries, removals and what pages show: all are the database's."""
    assert off
    monkeypatch.setattr("worker.attempts.process_wiring", lambda: wiring)
    susan = join("susan")
    began = now() - NEARLY
    task_id = susan.post("/v1/exports", {}).json_body["id"]
    perform(task_id, wiring)
    with wiring.database.write() as session:
        files.remove_file(session, task_id, lease_s=LEASE_S, now=wiring.now())
    task = susan.get(f"/v1/tasks/{task_id}").json_body
    assert task["status"] == "succeeded"
    until = now() + NEARLY
    for name in ("created_at", "started_at", "finished_at", "last_seen_at"):
        assert began < parse_time(task[name]) < until, name
    result = task["result"]
    ttl = timedelta(seconds=wiring.settings.export_ttl_s)
    assert began < parse_time(result["expires_at"]) - ttl < until
    assert began < parse_time(result["mail"]["sent_at"]) < until
    with wiring.database.read() as session:
        for removal in session.query(Removal):
            assert began < removal.due_at < until + timedelta(seconds=3 * LEASE_S)
        for news in session.query(Notification):
            assert began < news.timestamp < until


@on_postgresql
def test_the_database_is_asked_seldom(wiring: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once with a new connection, then once a minute, and again when the wall's clock jumps."""
    asked: list[str] = []
    real = clock.DatabaseClock._look

    def look(self: clock.DatabaseClock, connection: Any) -> None:
        before = self._reading
        real(self, connection)
        asked.extend([] if self._reading is before else ["asked"])

    monkeypatch.setattr(clock.DatabaseClock, "_look", look)
    for _ in range(5):
        assert abs(wiring.now() - now()) < NEARLY
        with wiring.database.read() as session:
            session.execute(sa.text("SELECT 1"))
    assert len(asked) == 1
    monkeypatch.setattr(clock, "TRUSTED_S", 0)
    with wiring.database.read() as session:
        session.execute(sa.text("SELECT 1"))
    assert len(asked) == 2
    monkeypatch.setattr(clock, "TRUSTED_S", 60)
    real_time = time.time
    monkeypatch.setattr(time, "time", lambda: real_time() + 3600)
    assert abs(wiring.now() - now()) < NEARLY
    assert len(asked) == 3


def test_a_database_that_is_away() -> None:
    """The time is told nevertheless, and the database is not asked again for a while."""
    away = connect(f"postgresql+psycopg://x@127.0.0.1:{free_port()}/x", pool_size=1)
    assert abs(away.now() - now()) < NEARLY
    began = time.monotonic()
    for _ in range(1000):
        away.now()
    assert time.monotonic() - began < 5
    away.close()
