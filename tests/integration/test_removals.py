"""Removals against the clock: what is worthless goes, what is published meanwhile stays."""

from chalicelib import removals
from chalicelib.wiring import Wiring
from tests.fakes import FakeStorage
from tests.ledgers import launch, make_user, publish


def test_a_slow_removal_spares_what_was_published_meanwhile(wiring: Wiring) -> None:
    """Who is stopped in mid-removal asks the ledger what to keep when it goes on, not before."""
    user_id = make_user(wiring.database)
    task_id = launch(wiring.database, user_id)
    storage = FakeStorage()
    vars(wiring)["storage"] = storage
    keys: list[str] = []

    def meanwhile(operation: str) -> None:
        if operation == "clear":
            keys.append(publish(wiring, task_id))

    storage.before = meanwhile
    removals.carry_out(wiring.database, storage, removals.user_prefix(user_id))
    assert list(storage.objects) == keys
