"""The audit: every event once, in its order, for good, and in numbers alone."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from chalicelib.accounts import accounts
from chalicelib.db.models import AuditEntry, ExportFile
from chalicelib.exports import files
from chalicelib.outbox import messages
from chalicelib.outbox.messages import Final
from chalicelib.tasks import requests as task_requests
from chalicelib.tasks.leases import Lease
from chalicelib.wiring import Wiring
from tests.conftest import both_databases
from tests.harness.ledgers import LEASE_S, claim, fail, launch, make_user, now, publish, the_task


def succeed(wiring: Wiring, task_id: str) -> None:
    publish(wiring, task_id)


def be_told(wiring: Wiring, task_id: str, state: Final) -> None:
    """Settle the email about a task."""
    (message,) = messages.claim_of_task(wiring.database, task_id, lease_s=LEASE_S)
    message.lease.settle(state, now=now())


def cancel(wiring: Wiring, task_id: str) -> None:
    with wiring.database.write() as session:
        task_requests.cancel_task(session, task_id, lease_s=LEASE_S, now=now())


def retry(wiring: Wiring, task_id: str) -> None:
    with wiring.database.write() as session:
        task_requests.retry_task(session, task_id, now=now())


def delete(wiring: Wiring, task_id: str) -> None:
    with wiring.database.write() as session:
        files.remove_file(session, task_id, lease_s=LEASE_S, now=now())


def expire(wiring: Wiring, task_id: str) -> None:
    """Let the file's time be over, and the reconciler see it."""
    with wiring.database.write() as session:
        session.get_one(ExportFile, task_id).expires_at = now()
    wiring.reconciler.sweep(now=now())


def download(wiring: Wiring, task_id: str) -> None:
    with wiring.database.write() as session:
        files.note_download(session, the_task(wiring.database, task_id))


Step = Callable[[Wiring, str], object]

STEPS: dict[str, tuple[list[Step], str]] = {
    "sent and deleted": (
        [succeed, lambda wiring, task_id: be_told(wiring, task_id, "sent"), download, delete],
        "started succeeded published emailed downloaded deleted",
    ),
    "expired": (
        [succeed, lambda wiring, task_id: be_told(wiring, task_id, "unknown"), expire],
        "started succeeded published email_unknown expired",
    ),
    "failed and tried again": (
        [
            lambda wiring, task_id: fail(wiring.database, task_id),
            lambda wiring, task_id: be_told(wiring, task_id, "failed"),
            retry,
            succeed,
        ],
        "started failed email_failed requested started succeeded published",
    ),
    "withdrawn": ([succeed, delete], "started succeeded published email_failed deleted"),
    "returned": (
        [lambda wiring, task_id: claim(wiring.database, task_id).release(now=now()), cancel],
        "started returned cancelled",
    ),
    "cancelled while it ran": (
        [
            lambda wiring, task_id: claim(wiring.database, task_id),
            cancel,
            lambda wiring, task_id: Lease(wiring.database, task_id, 1, LEASE_S).cancel(now=now()),
        ],
        "started cancelling cancelled",
    ),
}
"""What happens to a task that was requested, and what the audit says of it then."""


def events_of(wiring: Wiring, user_id: int) -> list[str]:
    """What the audit says of a user, in the order of its entries."""
    with wiring.database.read() as session:
        entries = sa.select(AuditEntry.event).where(AuditEntry.user_id == user_id)
        return list(session.scalars(entries.order_by(AuditEntry.id)))


@both_databases
@pytest.mark.parametrize("steps", STEPS)
def test_everything_is_noted(wiring: Wiring, steps: str) -> None:
    """The database itself writes an entry for each change, in the transaction of the change."""
    user_id = make_user(wiring.database)
    task_id = launch(wiring.database, user_id)
    done, events = STEPS[steps]
    for step in done:
        step(wiring, task_id)
    assert events_of(wiring, user_id) == ["requested", *events.split()]


@both_databases
def test_it_outlives_the_account(wiring: Wiring) -> None:
    """What happened to an account that was erased stays, and that it was erased."""
    user_id = make_user(wiring.database)
    launch(wiring.database, user_id)
    with wiring.database.write() as session:
        accounts.erase(session, user_id, lease_s=LEASE_S, now=now())
    assert events_of(wiring, user_id) == ["requested", "erased"]


@both_databases
@pytest.mark.parametrize(
    "statement", [sa.update(AuditEntry).values(event="x"), sa.delete(AuditEntry)], ids=str
)
def test_nobody_changes_it(wiring: Wiring, statement: sa.UpdateBase) -> None:
    """An entry can neither be changed nor deleted."""
    user_id = make_user(wiring.database)
    launch(wiring.database, user_id)

    def change() -> None:
        with wiring.database.write() as session:
            session.execute(statement)

    with pytest.raises(sa.exc.DBAPIError):
        change()
    assert events_of(wiring, user_id) == ["requested"]
