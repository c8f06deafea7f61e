"""The clock of a worker may be an hour off: what it waits for goes by the database's clock."""

from datetime import timedelta

import pytest

from chalicelib.db.engine import Database
from chalicelib.outbox import messages
from chalicelib.tasks import leases
from chalicelib.tasks.leases import Lease
from tests.conftest import both_databases
from tests.harness.ledgers import LEASE_S, fail, launch, make_user, now, the_task

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
