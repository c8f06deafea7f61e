"""Webhooks, from the end of a task to the receiver's answer."""

import json
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from chalicelib.db.engine import db_clock
from chalicelib.db.models import OutboxMessage, Webhook
from chalicelib.outbox import deliveries, webhooks
from chalicelib.wiring import Wiring
from tests.conftest import both_databases
from tests.harness.ledgers import claim, fail, launch, make_user, now, publish
from tests.harness.people import Person
from tests.harness.receivers import Receiver, receiving
from worker.outbox import webhook


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def add(wiring: Wiring, user_id: int, url: str, *events: str) -> str:
    with wiring.database.write() as session:
        chosen = events or webhooks.EVENTS
        return webhooks.create_webhook(session, user_id, url=url, events=chosen, now=now()).id


def deliver_due(wiring: Wiring) -> list[str]:
    """Make all deliveries that are due; return what came of them."""
    states = []
    while delivery := webhook.claim(wiring):
        states.append(webhook.deliver(delivery, wiring, webhook.client(wiring)))
    return states


def deliveries_of(wiring: Wiring, webhook_id: str) -> list[OutboxMessage]:
    statement = sa.select(OutboxMessage).where(OutboxMessage.webhook_id == webhook_id)
    with wiring.database.read() as session:
        return list(session.scalars(statement.order_by(OutboxMessage.number)))


@both_databases
def test_told_when_a_task_ends(susan: Person, wiring: Wiring, receiver: Receiver) -> None:
    """Its receiver gets the task as the API shows it, signed, once."""
    webhook_id = add(wiring, susan.user_id, receiver.url)
    task_id = launch(wiring.database, susan.user_id)
    publish(wiring, task_id)
    assert deliver_due(wiring) == ["sent"]
    assert deliver_due(wiring) == []
    (request,) = receiver.requests
    body = json.loads(request.body)
    assert body["type"] == "task.succeeded"
    task = susan.get(f"/v1/tasks/{task_id}").json_body
    assert body["data"] == task
    assert body["timestamp"] == task["finished_at"]
