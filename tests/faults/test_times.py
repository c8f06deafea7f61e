"""What the lab takes for a call, and how time passes in it."""

from collections import Counter
from datetime import timedelta

import pytest
import sqlalchemy as sa

from chalicelib.db.engine import Database
from chalicelib.db.models import Removal, Task, User
from chalicelib.tasks import leases
from tests.conftest import both_databases
from tests.faults.calls import Calls, _install_sql
from tests.faults.times import MARGIN, pass_time
from tests.harness.ledgers import LEASE_S, launch, make_user, now, the_task


@pytest.fixture
def task(database: Database) -> Task:
    """A task with a lease, and a removal that is due when two of those are over."""
    user_id = make_user(database)
    task_id = launch(database, user_id)
    assert leases.claim(database, task_id, worker="w", lease_s=LEASE_S, now=now())
    return the_task(database, task_id)


@both_databases
def test_time_passes_until_something_is_due(database: Database, task: Task) -> None:
    """What is due next is due now, and what comes after it comes as long after it as before."""
    assert task.lease_until is not None
    later = timedelta(seconds=LEASE_S)
    with database.write() as session:
        session.add(Removal(user_id=task.user_id, due_at=task.lease_until + later))
    assert LEASE_S / 2 < pass_time(database) < LEASE_S + 2 * MARGIN.total_seconds()
    with database.read() as session:
        assert leases.overdue(session, most=2) == [(task.id, task.claim)]
        due_at = session.scalars(sa.select(Removal.due_at)).one()
    assert due_at - (the_task(database, task.id).lease_until or due_at) == later


@both_databases
def test_no_time_passes_while_something_is_due(database: Database, task: Task) -> None:
    """A removal that nobody has executed yet keeps the lease from being over."""
    with database.write() as session:
        session.add(Removal(user_id=task.user_id, due_at=now() - MARGIN))
    assert pass_time(database, unless_due=True) == 0
    assert the_task(database, task.id).lease_until == task.lease_until
    assert pass_time(database) > 0


def test_nothing_is_awaited(database: Database) -> None:
    """Where nothing is due later, no time passes."""
    assert pass_time(database) == 0


@both_databases
def test_only_what_is_said_to_the_database_is_a_call(database: Database) -> None:
    """Of the ends of transactions that SQLAlchemy makes, those count that the driver passes on."""
    calls, statement = Calls(), sa.select(User.id)
    with database.read() as session:  # who connects for the first time asks for more
        session.execute(statement)
    _install_sql(calls, database.engine.dialect)
    with database.read() as session:
        session.execute(statement)
    with database.write() as session:
        session.execute(statement)
    said = Counter(call.what for call in calls.seen)
    reading = 0 if database.is_postgresql else 1
    assert (said["SELECT users"], said["COMMIT"], said["ROLLBACK"]) == (2, 1, reading)
