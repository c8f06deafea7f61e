"""The clock of a worker may be an hour off: what it waits for goes by the database's clock."""

from datetime import timedelta

import pytest

from chalicelib.db.engine import Database
from chalicelib.tasks import leases
from chalicelib.tasks.leases import Holder
from tests.conftest import both_databases
from tests.harness.ledgers import LEASE_S, launch, make_user, now, the_task

HOUR = timedelta(hours=1)
OFF = pytest.mark.parametrize("off", [HOUR, -HOUR], ids=["fast", "slow"])
NEARLY = timedelta(seconds=20)


def take_with_clock(database: Database, task_id: str, off: timedelta) -> Holder:
    """Claim a task by a clock that is off."""
    taken = leases.take(database, task_id, worker="w", lease_s=LEASE_S, now=now() + off)
    assert taken is not None
    return taken[0]


def lease(database: Database, task_id: str) -> timedelta:
    """How long the lease still lasts; all tests run on the database's machine."""
    until = the_task(database, task_id).lease_until
    assert until is not None
    return until - now()


@OFF
@both_databases
def test_leases(database: Database, off: timedelta) -> None:
    """A lease is neither longer nor shorter than any other, from the claim on."""
    task_id = launch(database, make_user(database))
    holder = take_with_clock(database, task_id, off)
    whole = timedelta(seconds=LEASE_S)
    assert whole - NEARLY < lease(database, task_id) < whole + NEARLY
    holder.report(1, 2, now=now() + off)
    assert whole - NEARLY < lease(database, task_id) < whole + NEARLY
    holder.renew()
    assert whole - NEARLY < lease(database, task_id) < whole + NEARLY


@OFF
@both_databases
def test_pauses(database: Database, off: timedelta) -> None:
    """A task that is handed back can be taken at once, whatever the clock of who had it."""
    task_id = launch(database, make_user(database))
    take_with_clock(database, task_id, off).hand_back(now=now() + off)
    take_with_clock(database, task_id, -off)


@OFF
@both_databases
def test_burials(database: Database, off: timedelta) -> None:
    """A sweeper whose clock is off takes nobody for dead who is alive."""
    task_id = launch(database, make_user(database))
    holder = take_with_clock(database, task_id, timedelta(0))
    assert not holder.bury(now=now() + off, overdue=True)
