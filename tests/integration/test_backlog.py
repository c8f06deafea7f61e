import logging
from datetime import timedelta

import pytest

from chalicelib.db.engine import Database
from chalicelib.db.models import OutboxMessage
from chalicelib.operations.backlog import Backlog, measure, publish
from chalicelib.outbox import messages
from chalicelib.wiring import Wiring
from infra.local.stack import free_port
from tests.conftest import Rewire, both_databases
from tests.harness.ledgers import claim, fail, launch, make_user, now, put


@both_databases
def test_what_counts(wiring: Wiring, database: Database) -> None:
    """Tasks that run or could run, and messages that are due; not what waits for its time."""
    assert measure(database, wiring.queue) == Backlog(0, 0, 0)
    users = [make_user(database, name) for name in ("susan", "david", "john", "mary")]
    later, before = (now() + timedelta(seconds=seconds) for seconds in (60, -60))
    running, waiting, failed, pausing = (launch(database, user) for user in users)
    claim(database, running)
    put(database, waiting, due_at=before)
    fail(database, failed)  # its email is due
    put(database, pausing, due_at=later)
    with database.write() as session:
        for due_at in (before, later):
            address = "a@example.com"
            message_id = messages.put(session, users[0], "reset", {}, now=now(), address=address)
            session.get_one(OutboxMessage, message_id).due_at = due_at
    found = measure(database, wiring.queue)
    assert (found.unfinished, found.workers) == (4, 0)
    assert 59 < found.oldest_s < 70


def published(backlog: Backlog, caplog: pytest.LogCaptureFixture) -> dict[str, float]:
    """The metrics that CloudWatch would make of a measurement."""
    caplog.clear()
    with caplog.at_level(logging.INFO):
        publish(backlog, queue="q")
    (record,) = caplog.records
    facts = vars(record)
    (directive,) = facts["_aws"]["CloudWatchMetrics"]
    assert (directive["Dimensions"], facts["queue"]) == ([["queue"]], "q")
    return {one["Name"]: facts[one["Name"]] for one in directive["Metrics"]}


def test_metrics(caplog: pytest.LogCaptureFixture) -> None:
    """All four, or two while nobody knows how many workers there are: then nothing scales."""
    every = {"Unfinished": 30, "OldestWaiting": 1.5, "Workers": 4, "BacklogPerWorker": 7.5}
    assert published(Backlog(30, 1.5, 4), caplog) == every
    assert published(Backlog(30, 1.5, None), caplog) == {"Unfinished": 30, "OldestWaiting": 1.5}


def test_redis_away(database: Database, rewire: Rewire) -> None:
    """What is to be done is known without Redis."""
    launch(database, make_user(database))
    away = rewire(REDIS_URL=f"redis://127.0.0.1:{free_port()}")
    found = measure(database, away.queue)
    assert (found.unfinished, found.workers) == (1, None)
