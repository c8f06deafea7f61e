"""The outbox: one send a claim, whoever is slow, dies or comes back."""

from datetime import datetime
from threading import Barrier, Thread
from typing import Literal

import pytest

from chalicelib.db.models import OutboxMessage, User
from chalicelib.exports import files
from chalicelib.outbox import messages
from chalicelib.outbox.messages import Message
from chalicelib.tasks import notifications
from chalicelib.wiring import Wiring
from tests.conftest import both_databases
from tests.harness.ledgers import (
    LEASE_S,
    fail,
    lapse,
    launch,
    make_user,
    now,
    publish,
    put_email,
    the_email,
)
from worker.outbox import sender


def state_of(wiring: Wiring, task_id: str) -> str:
    """What became of the email about a task."""
    email = the_email(wiring.database, task_id)
    return email.state if email else "none"


def claim(wiring: Wiring, task_id: str) -> Message:
    (message,) = messages.claim_of_task(wiring.database, task_id, lease_s=LEASE_S)
    return message


@both_databases
def test_a_late_sender_settles_nothing(wiring: Wiring) -> None:
    """A sender so slow that the email is somebody else's by now has no say in what became of it."""
    task_id = launch(wiring.database, make_user(wiring.database))
    fail(wiring.database, task_id)
    first = claim(wiring, task_id)
    lapse(wiring.database, task_id)
    put_email(wiring.database, task_id, state="pending")
    second = claim(wiring, task_id)
    first.lease.settle("failed", now=now())
    first.lease.retry_later(pause_s=0, now=now())
    assert state_of(wiring, task_id) == "sending"
    second.lease.settle("sent", now=now(), message_id="second")
    email = the_email(wiring.database, task_id)
    assert email is not None
    assert (email.state, email.message_id, email.claim) == ("sent", "second", 2)


@pytest.mark.parametrize("state", ["sent", "unknown"])
def test_settled_for_good(wiring: Wiring, state: Literal["sent", "unknown"]) -> None:
    """Whoever comes back to a message that is settled by now changes nothing."""
    task_id = launch(wiring.database, make_user(wiring.database))
    fail(wiring.database, task_id)
    message = claim(wiring, task_id)
    message.lease.settle(state, now=now())
    message.lease.settle("failed", now=now())
    message.lease.retry_later(pause_s=0, now=now())
    assert state_of(wiring, task_id) == state


def test_addressed_anew(wiring: Wiring) -> None:
    """An email about an export goes where its owner can be reached by the time it is sent."""
    user_id = make_user(wiring.database)
    task_id = launch(wiring.database, user_id)
    fail(wiring.database, task_id)
    first = claim(wiring, task_id)
    first.lease.retry_later(pause_s=0, now=now())
    with wiring.database.write() as session:
        session.get_one(User, user_id).email = "moved@example.com"
    assert (first.address, claim(wiring, task_id).address) == (
        "susan@example.com",
        "moved@example.com",
    )


@both_databases
def test_email_again_is_another_message(wiring: Wiring) -> None:
    """What became of the first one is not forgotten when the user asks for a second."""
    task_id = launch(wiring.database, make_user(wiring.database))
    publish(wiring, task_id)
    first = claim(wiring, task_id)
    first.lease.settle("unknown", now=now())
    with wiring.database.write() as session:
        files.email_again(session, task_id, now=now())
    assert state_of(wiring, task_id) == "pending"
    second = claim(wiring, task_id)
    assert second.lease.message != first.lease.message
    assert second.payload == first.payload


@both_databases
def test_two_senders_claim_nothing_twice(wiring: Wiring) -> None:
    """However many look at once, each message is claimed by one of them."""
    users = [make_user(wiring.database, f"user-{number}") for number in range(6)]
    for user_id in users:
        fail(wiring.database, launch(wiring.database, user_id))
    start = Barrier(3)
    claimed: list[str] = []

    def send() -> None:
        start.wait()
        while found := messages.claim_due(wiring.database, lease_s=LEASE_S, most=1):
            claimed.extend(one.lease.message for one in found)

    threads = [Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == len(set(claimed))
    # One that passed over what another had locked may have ended early; nothing is lost by that.
    claimed += [one.lease.message for one in messages.claim_due(wiring.database, lease_s=LEASE_S)]
    assert len(set(claimed)) == len(users)


@both_databases
def test_an_address_that_was_confirmed_just_now(
    environment: dict[str, str], wiring: Wiring
) -> None:
    """An email does not wait for what came to pass after its sender had looked."""
    user_id = make_user(wiring.database)
    task_id = launch(wiring.database, user_id)
    fail(wiring.database, task_id)
    confirm(wiring, user_id, confirmed_at=None)
    message = claim(wiring, task_id)
    assert not message.confirmed
    confirm(wiring, user_id, confirmed_at=now())
    strict = Wiring.from_environment(environment | {"VERIFY_EMAIL": "on"})
    sender.send(message, strict)
    strict.database.close()
    assert state_of(wiring, task_id) == "pending"
    assert claim(wiring, task_id).confirmed


@pytest.mark.parametrize("state", ["sending", "sent", "failed", "unknown", "pending"])
def test_a_confirmation_releases_what_waits(wiring: Wiring, state: str) -> None:
    """It changes nothing about other messages, nor about anybody else's."""
    users = [make_user(wiring.database, name) for name in ("susan", "david")]
    waiting = [launch(wiring.database, user_id) for user_id in users]
    other = launch(wiring.database, users[0], "example")
    for task_id in (*waiting, other):
        fail(wiring.database, task_id)
    with wiring.database.write() as session:
        messages.put(session, users[0], "export", {}, now=now(), task_id=other)
    for task_id in waiting:
        put_email(wiring.database, task_id, state="unconfirmed")
    put_email(wiring.database, other, state=state)
    confirm(wiring, users[0], confirmed_at=now())
    with wiring.database.read() as session:
        states = {one.task_id: one.state for one in session.query(OutboxMessage)}
    assert states == {waiting[0]: "pending", waiting[1]: "unconfirmed", other: state}


@pytest.mark.parametrize(
    ("state", "left"),
    [
        ("pending", "failed"),
        ("unconfirmed", "failed"),
        ("sending", "sending"),
        ("sent", "sent"),
        ("unknown", "unknown"),
    ],
)
def test_withdrawn(wiring: Wiring, state: str, left: str) -> None:
    """What is on its way or was sent cannot be withdrawn: the ledger goes on telling the truth."""
    task_id = launch(wiring.database, make_user(wiring.database))
    publish(wiring, task_id)
    put_email(wiring.database, task_id, state=state)
    with wiring.database.write() as session:
        files.remove_file(session, task_id, lease_s=LEASE_S, now=now())
    assert state_of(wiring, task_id) == left


def confirm(wiring: Wiring, user_id: int, *, confirmed_at: datetime | None) -> None:
    """Note when the user's address was confirmed, and release what waited for that."""
    with wiring.database.write() as session:
        session.get_one(User, user_id).confirmed_at = confirmed_at
        session.flush()
        if confirmed_at is not None:
            messages.release_unconfirmed(session, user_id)


@both_databases
def test_no_more_is_claimed_than_was_asked_for(wiring: Wiring) -> None:
    """What a sender claims it sends at once, or the lease would be over before its turn comes."""
    user_id = make_user(wiring.database)
    with wiring.database.write() as session:
        for _ in range(7):
            messages.put(session, user_id, "reset", {}, now=now(), address="susan@example.com")
    for most, count in ((1, 1), (4, 4), (20, 2), (20, 0)):
        assert len(messages.claim_due(wiring.database, lease_s=LEASE_S, most=most)) == count


@pytest.mark.parametrize(
    ("topic", "tries", "state"),
    [
        ("export", 1, "unknown"),
        ("confirm", 1, "pending"),
        ("reset", 9, "pending"),
        ("reset", 10, "unknown"),  # whoever tries to send this one dies of it
    ],
)
def test_a_sender_that_died(wiring: Wiring, topic: str, tries: int, state: str) -> None:
    """What may have been sent is not sent again, but for a link, which does no harm twice."""
    task_id = launch(wiring.database, make_user(wiring.database))
    fail(wiring.database, task_id)
    put_email(wiring.database, task_id, topic=topic, tries=tries - 1)
    claim(wiring, task_id)
    assert messages.recover(wiring.database, now=now(), most=10) == 0
    lapse(wiring.database, task_id)
    assert messages.recover(wiring.database, now=now(), most=10) == 1
    assert state_of(wiring, task_id) == state


@both_databases
def test_watchers_hear_what_became_of_an_email(wiring: Wiring) -> None:
    """A settled email is announced as news about its task."""
    user_id = make_user(wiring.database)
    task_id = launch(wiring.database, user_id)
    fail(wiring.database, task_id)
    before = newest(wiring, user_id)
    claim(wiring, task_id).lease.settle("sent", now=now(), message_id="1")
    assert newest(wiring, user_id) == before + 1


def newest(wiring: Wiring, user_id: int) -> int:
    with wiring.database.read() as session:
        found, last = notifications.since(session, user_id, after=0)
    assert found[-1].seq == last
    return found[-1].seq
