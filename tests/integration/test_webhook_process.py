"""What makes deliveries in a worker: needs no hint, holds nobody up, and finishes what it began."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import sqlalchemy as sa

from chalicelib.db.engine import db_clock
from chalicelib.db.models import OutboxMessage
from chalicelib.outbox import messages, webhooks
from chalicelib.wiring import Wiring
from tests.conftest import both_databases
from tests.harness.ledgers import fail, launch, make_user, now
from tests.harness.receivers import Receiver, answer, hang, receiving
from tests.harness.waiting import wait_until
from tests.integration.test_sender_process import worker
from worker.outbox import webhook_process


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def add(wiring: Wiring, user_id: int, receiver: Receiver) -> str:
    with wiring.database.write() as session:
        return webhooks.create_webhook(
            session, user_id, url=receiver.url, events=webhooks.EVENTS, now=now()
        ).id


def states(wiring: Wiring, topic: str = "webhook") -> list[str]:
    statement = sa.select(OutboxMessage.state).where(OutboxMessage.topic == topic)
    with wiring.database.read() as session:
        return list(session.scalars(statement.order_by(OutboxMessage.number)))


@both_databases
def test_a_worker_delivers(
    environment: dict[str, str], wiring: Wiring, receiver: Receiver, tmp_path: Path
) -> None:
    """What is due is delivered without a hint, and again after its pause, precisely."""
    user_id = make_user(wiring.database)
    add(wiring, user_id, receiver)
    receiver.answers(500, 500, 200)
    fail(wiring.database, launch(wiring.database, user_id))
    with worker(environment, tmp_path / "log"):
        wait_until(lambda: states(wiring) == ["sent"], "it is delivered", within_s=90)
    assert len(receiver.requests) == 3
    assert len({one.id for one in receiver.requests}) == 1


def test_slow_receivers_hold_up_no_email(
    environment: dict[str, str], wiring: Wiring, tmp_path: Path
) -> None:
    """While each thread waits for a receiver that hangs, emails are sent."""
    with ExitStack() as stack:
        receiver = stack.enter_context(receiving())
        receiver.behave = hang(receiver)
        for number in range(webhook_process.THREADS + 1):
            user_id = make_user(wiring.database, f"user-{number}")
            add(wiring, user_id, receiver)
            fail(wiring.database, launch(wiring.database, user_id, "example"))
        with worker(environment, tmp_path / "log"):
            receiver.wait_for(webhook_process.THREADS)
            with wiring.database.write() as session:
                messages.put(session, user_id, "moved", {}, now=now(), address="a@example.com")
            wait_until(lambda: states(wiring, "moved") == ["sent"], "the email is sent")


def test_stopped_while_it_delivers(
    environment: dict[str, str], wiring: Wiring, receiver: Receiver, tmp_path: Path
) -> None:
    """A worker that is told to stop hears the answers that come soon."""
    told = threading.Event()

    def behave(handler: BaseHTTPRequestHandler) -> None:
        told.wait()
        answer(handler, 200)

    receiver.behave = behave
    user_id = make_user(wiring.database)
    add(wiring, user_id, receiver)
    fail(wiring.database, launch(wiring.database, user_id))
    with worker(environment, tmp_path / "log") as process:
        receiver.wait_for(1)
        process.terminate()
        told.set()
        assert process.wait(30) == 0
    assert states(wiring) == ["sent"]


def test_stopped_while_a_receiver_hangs(
    environment: dict[str, str], wiring: Wiring, receiver: Receiver, tmp_path: Path
) -> None:
    """A worker does not wait long for one that does not answer; another one asks it again."""
    receiver.behave = hang(receiver)
    user_id = make_user(wiring.database)
    webhook_id = add(wiring, user_id, receiver)
    fail(wiring.database, launch(wiring.database, user_id))
    with worker(environment, tmp_path / "log") as process:
        receiver.wait_for(1)
        began = time.monotonic()
        process.terminate()
        assert process.wait(30) == 0
        assert time.monotonic() - began < 10  # it would hang for ever
    assert states(wiring) == ["sending"]
    receiver.answers(200)
    mine = OutboxMessage.webhook_id == webhook_id
    with wiring.database.write() as session:
        session.execute(sa.update(OutboxMessage).where(mine).values(lease_until=db_clock(-1)))
    with worker(environment, tmp_path / "log"):
        wait_until(lambda: states(wiring) == ["sent"], "another one delivers it", within_s=90)
    assert len({one.id for one in receiver.requests}) == 1


def test_killed_while_it_delivers(
    environment: dict[str, str], wiring: Wiring, receiver: Receiver, tmp_path: Path
) -> None:
    """The children of a worker that was killed end too, and what was on its way is sent again."""
    receiver.behave = hang(receiver)
    user_id = make_user(wiring.database)
    webhook_id = add(wiring, user_id, receiver)
    fail(wiring.database, launch(wiring.database, user_id))
    with worker(environment, tmp_path / "log") as process:
        receiver.wait_for(1)
        process.send_signal(signal.SIGKILL)
        process.wait()
    receiver.answers(204)
    mine = OutboxMessage.webhook_id == webhook_id
    with wiring.database.write() as session:
        session.execute(sa.update(OutboxMessage).where(mine).values(lease_until=db_clock(-1)))
    with worker(environment, tmp_path / "log"):
        wait_until(lambda: states(wiring) == ["sent"], "another one delivers it", within_s=90)
    assert len({one.id for one in receiver.requests}) == 1
