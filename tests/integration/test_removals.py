"""Removals against the clock: what is worthless goes, what is published meanwhile stays."""

from chalicelib.accounts import accounts
from chalicelib.exports import removals
from chalicelib.wiring import Wiring
from tests.harness.fakes import FakeObjectStore
from tests.harness.ledgers import LEASE_S, launch, make_user, now, publish


def test_a_slow_removal_spares_what_was_published_meanwhile(wiring: Wiring) -> None:
    """Who is stopped in mid-removal asks the ledger what to keep when it goes on, not before."""
    user_id = make_user(wiring.database)
    task_id = launch(wiring.database, user_id)
    storage = FakeObjectStore()
    vars(wiring)["object_store"] = storage
    keys: list[str] = []

    def meanwhile(operation: str) -> None:
        if operation == "clear" and not keys:
            keys.append(publish(wiring, task_id))

    storage.before = meanwhile
    removals.execute(wiring.database, storage, user_id)
    assert list(storage.objects) == keys


def test_an_erased_account_leaves_no_file(wiring: Wiring) -> None:
    """Files of an account that is gone go with the next sweep, though no task names them."""
    user_id = make_user(wiring.database)
    key = publish(wiring, launch(wiring.database, user_id))
    with wiring.database.write() as session:
        accounts.erase(session, user_id, lease_s=LEASE_S, now=now())
    assert wiring.object_store.size(key) is not None
    wiring.reconciler.sweep(now=now())
    assert wiring.object_store.size(key) is None
