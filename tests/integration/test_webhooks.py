"""Webhooks, from the end of a task to the receiver's answer."""

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from chalicelib.accounts import accounts
from chalicelib.db.engine import db_clock
from chalicelib.db.models import AuditEntry, OutboxMessage, Webhook
from chalicelib.outbox import deliveries, messages, webhooks
from chalicelib.outbox.deliveries import Answer, Delivery
from chalicelib.tasks import requests as task_requests
from chalicelib.tasks.requests import cancel_task
from chalicelib.wiring import Wiring
from tests.conftest import both_databases
from tests.harness.ledgers import LEASE_S, claim, fail, launch, make_user, now, publish
from tests.harness.people import Person
from tests.harness.receivers import Receiver, close, receiving
from tests.harness.waiting import wait_until
from worker.outbox import sender, webhook

DAY = timedelta(days=1)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


@pytest.fixture
def user(wiring: Wiring) -> int:
    return make_user(wiring.database)


def add(wiring: Wiring, user_id: int, url: str, *events: str) -> str:
    with wiring.database.write() as session:
        chosen = events or webhooks.EVENTS
        return webhooks.create_webhook(session, user_id, url=url, events=chosen, now=now()).id


def deliver_due(wiring: Wiring) -> list[str]:
    """Make all deliveries that are due; return what came of them."""
    states = []
    while delivery := webhook.claim(wiring):
        states.append(webhook.deliver(delivery, wiring, webhook.make_http_client(wiring)))
    return states


def deliveries_of(wiring: Wiring, webhook_id: str) -> list[OutboxMessage]:
    statement = sa.select(OutboxMessage).where(OutboxMessage.webhook_id == webhook_id)
    with wiring.database.read() as session:
        return list(session.scalars(statement.order_by(OutboxMessage.number)))


def the_webhook(wiring: Wiring, webhook_id: str) -> Webhook:
    with wiring.database.read() as session:
        return webhooks.get_webhook(session, webhook_id)


def put(wiring: Wiring, webhook_id: str, **values: Any) -> None:
    """Change the deliveries of a webhook behind the ledger's back, as time would."""
    mine = OutboxMessage.webhook_id == webhook_id
    with wiring.database.write() as session:
        session.execute(sa.update(OutboxMessage).where(mine).values(**values))


def claimed(wiring: Wiring) -> Delivery:
    found = webhook.claim(wiring)
    assert found is not None
    return found


@both_databases
def test_told_when_a_task_ends(susan: Person, wiring: Wiring, receiver: Receiver) -> None:
    """Its receiver gets the task as the API shows it, once."""
    add(wiring, susan.user_id, receiver.url)
    task_id = launch(wiring.database, susan.user_id)
    publish(wiring, task_id)
    assert deliver_due(wiring) == ["sent"]
    assert deliver_due(wiring) == []
    (request,) = receiver.requests
    body = json.loads(request.body)
    task = susan.get(f"/v1/tasks/{task_id}").json_body
    assert body == {"type": "task.succeeded", "timestamp": task["finished_at"], "data": task}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.path == "/hook"


def test_verified_by_its_own_library(susan: Person, wiring: Wiring, receiver: Receiver) -> None:
    """Standard Webhooks' own library takes what we send, and nothing that was changed since."""
    secret = susan.post("/v1/webhooks", {"url": receiver.url}).json_body["secret"]
    fail(wiring.database, launch(wiring.database, susan.user_id))
    assert deliver_due(wiring) == ["sent"]
    (request,) = receiver.requests
    verifier = Verifier(secret)
    assert verifier.verify(request.body, request.headers) == json.loads(request.body)
    for wrong in (
        (request.body + b" ", request.headers),
        (request.body, request.headers | {"webhook-id": "other"}),
        (request.body, request.headers | {"webhook-timestamp": "1"}),
    ):
        with pytest.raises(WebhookVerificationError):
            verifier.verify(*wrong)
    with pytest.raises(WebhookVerificationError):
        Verifier(webhooks.new_secret()).verify(request.body, request.headers)


@both_databases
def test_every_ending(wiring: Wiring, user: int) -> None:
    """A failure, a cancellation while queued and one while it runs, of any kind of task."""
    webhook_id = add(wiring, user, "https://example.com/")
    fail(wiring.database, launch(wiring.database, user, "example"))
    task_id = launch(wiring.database, user, "example")
    with wiring.database.write() as session:
        cancel_task(session, task_id, lease_s=LEASE_S, now=now())
    task_id = launch(wiring.database, user, "example")
    lease = claim(wiring.database, task_id)
    with wiring.database.write() as session:
        cancel_task(session, task_id, lease_s=LEASE_S, now=now())
    lease.cancel(now=now())
    task_id = launch(wiring.database, user, "example", max_attempts=1)
    claim(wiring.database, task_id).retry_later("connection", "Nobody was there.", now=now())
    task_id = launch(wiring.database, user, "example")
    claim(wiring.database, task_id).succeed({"x": 1.5}, now=now())
    told = [(one.number, one.payload["type"]) for one in deliveries_of(wiring, webhook_id)]
    assert told == [
        (1, "task.failed"),
        (2, "task.cancelled"),
        (3, "task.cancelled"),
        (4, "task.failed"),
        (5, "task.succeeded"),
    ]


@both_databases
def test_only_what_was_asked_for(wiring: Wiring, user: int) -> None:
    """Other events, other people's tasks and disabled webhooks make no delivery."""
    mine = add(wiring, user, "https://example.com/", "task.failed")
    disabled = add(wiring, user, "https://example.com/")
    with wiring.database.write() as session:
        webhooks.change_webhook(session, disabled, webhooks.WebhookChange(enabled=False))
    add(wiring, make_user(wiring.database, "david"), "https://example.com/")
    fail(wiring.database, launch(wiring.database, user))
    publish(wiring, launch(wiring.database, user))
    with wiring.database.read() as session:
        noted = session.execute(
            sa.select(OutboxMessage.webhook_id, OutboxMessage.payload).where(
                OutboxMessage.topic == "webhook"
            )
        ).all()
    assert [(one[0], one[1]["type"]) for one in noted] == [(mine, "task.failed")]


@both_databases
def test_in_the_outcomes_own_commit(wiring: Wiring, user: int) -> None:
    """An outcome that is not committed leaves no delivery."""
    webhook_id = add(wiring, user, "https://example.com/")
    task_id = launch(wiring.database, user)
    with pytest.raises(TypeError):  # an export must return a file, and its hook says so
        claim(wiring.database, task_id).succeed(None, now=now())
    assert deliveries_of(wiring, webhook_id) == []


@both_databases
def test_the_task_as_it_ended(susan: Person, wiring: Wiring, receiver: Receiver) -> None:
    """A retry since then, or a file that was deleted, changes nothing about what is told."""
    add(wiring, susan.user_id, receiver.url)
    task_id = launch(wiring.database, susan.user_id)
    fail(wiring.database, task_id)
    failed = susan.get(f"/v1/tasks/{task_id}").json_body
    with wiring.database.write() as session:
        task_requests.retry_task(session, task_id, now=now())
    publish(wiring, task_id)
    succeeded = susan.get(f"/v1/tasks/{task_id}").json_body
    assert susan.delete(f"/v1/exports/{task_id}").status_code == 204
    deliver_due(wiring)
    bodies = [json.loads(one.body) for one in receiver.requests]
    assert [one["data"] for one in bodies] == [failed, succeeded]
    assert len({one.id for one in receiver.requests}) == 2


@both_databases
def test_the_same_event_has_the_same_id(susan: Person, wiring: Wiring, receiver: Receiver) -> None:
    """At another webhook, at each try and each redelivery; and the body is the same, too."""
    first = add(wiring, susan.user_id, receiver.url)
    add(wiring, susan.user_id, receiver.url)
    receiver.answers(500, 200)
    publish(wiring, launch(wiring.database, susan.user_id))
    assert deliver_due(wiring) == ["pending", "sent"]
    put(wiring, first, due_at=db_clock())
    assert deliver_due(wiring) == ["sent"]
    answer = susan.post(f"/v1/webhooks/{first}/deliveries/1/redeliver")
    assert answer.status_code == 202
    assert answer.json_body["n"] == 2
    assert deliver_due(wiring) == ["sent"]
    assert len(receiver.requests) == 4
    assert len({(one.id, one.body) for one in receiver.requests}) == 1
    assert "." not in receiver.requests[0].id


@both_databases
def test_retried_with_growing_pauses_for_a_day(wiring: Wiring, user: int) -> None:
    """Each pause is longer than the one before, the last try is a day after the first."""
    webhook_id = add(wiring, user, "https://example.com/")
    publish(wiring, launch(wiring.database, user))
    pauses, passed = [], timedelta(0)
    while True:
        state = claimed(wiring).settle(Answer(status=503), now=now())
        (delivery,) = deliveries_of(wiring, webhook_id)
        if state != "pending":
            break
        assert delivery.tried_at is not None
        pause = delivery.due_at - delivery.tried_at
        pauses.append(pause)
        passed += pause
        since = the_webhook(wiring, webhook_id).failing_since
        assert since is not None
        put(wiring, webhook_id, created_at=delivery.created_at - pause, due_at=db_clock())
        with wiring.database.write() as session:
            session.execute(sa.update(Webhook).values(failing_since=since - pause))
    assert state == "failed"
    assert abs(passed - DAY) < timedelta(minutes=1)
    assert len(pauses) == 15
    assert all(one < other for one, other in pairwise(pauses[:-1]))  # the last one is cut short
    assert (delivery.status_code, delivery.error_code, delivery.tries) == (503, None, 16)
    told_of(wiring, webhook_id, reason="failing")


def told_of(wiring: Wiring, webhook_id: str, *, reason: str) -> None:
    """Check that a webhook is disabled, and that an email to its user says so, once."""
    found = the_webhook(wiring, webhook_id)
    assert (found.enabled, found.disabled_reason) == (False, reason)
    due = messages.claim_due(wiring.database, lease_s=LEASE_S)
    (message,) = [one for one in due if one.topic == "webhook_disabled"]
    assert message.address == "susan@example.com"
    sender.send(message, wiring)
    with wiring.database.read() as session:
        assert session.get_one(OutboxMessage, message.lease.message).state == "sent"


@both_databases
def test_a_success_forgives(wiring: Wiring, user: int) -> None:
    """A webhook is only disabled by a day without any success."""
    webhook_id = add(wiring, user, "https://example.com/")
    for _ in range(2):
        fail(wiring.database, launch(wiring.database, user))
    claimed(wiring).settle(Answer(error="timeout"), now=now())
    with wiring.database.write() as session:
        session.execute(sa.update(Webhook).values(failing_since=db_clock(-90_000)))
    claimed(wiring).settle(Answer(status=202), now=now())
    assert the_webhook(wiring, webhook_id).failing_since is None
    put(wiring, webhook_id, due_at=db_clock())
    claimed(wiring).settle(Answer(error="timeout"), now=now())
    found = the_webhook(wiring, webhook_id)
    assert found.enabled
    assert found.failing_since is not None


@both_databases
def test_a_day_of_failures(wiring: Wiring, user: int) -> None:
    """A webhook that has failed for a day is disabled by a delivery that is young itself."""
    webhook_id = add(wiring, user, "https://example.com/")
    fail(wiring.database, launch(wiring.database, user))
    with wiring.database.write() as session:
        session.execute(sa.update(Webhook).values(failing_since=db_clock(-90_000)))
    claimed(wiring).settle(Answer(status=503), now=now())
    assert [one.state for one in deliveries_of(wiring, webhook_id)] == ["paused"]
    assert the_webhook(wiring, webhook_id).disabled_reason == "failing"


@both_databases
def test_gone(susan: Person, wiring: Wiring, receiver: Receiver, mail_dir: Any) -> None:
    """410 disables the webhook at once; what waits is delivered when it is enabled again."""
    assert mail_dir
    webhook_id = add(wiring, susan.user_id, receiver.url)
    for _ in range(2):
        fail(wiring.database, launch(wiring.database, susan.user_id))
    receiver.answers(410, 200)
    assert deliver_due(wiring) == ["failed"]
    assert [one.state for one in deliveries_of(wiring, webhook_id)] == ["failed", "paused"]
    told_of(wiring, webhook_id, reason="gone")
    fail(wiring.database, launch(wiring.database, susan.user_id))
    assert len(deliveries_of(wiring, webhook_id)) == 2
    again = susan.post(f"/v1/webhooks/{webhook_id}/deliveries/1/redeliver")
    assert (again.status_code, again.json_body["code"]) == (409, "webhook_disabled")
    enabled = susan.patch(f"/v1/webhooks/{webhook_id}", {"enabled": True}).json_body
    assert (enabled["enabled"], enabled["disabled_reason"]) == (True, None)
    assert deliver_due(wiring) == ["sent"]


@both_databases
def test_a_pause_keeps_what_is_on_its_way(susan: Person, wiring: Wiring) -> None:
    """A delivery that fails while its webhook is disabled waits, too."""
    webhook_id = add(wiring, susan.user_id, "https://example.com/")
    fail(wiring.database, launch(wiring.database, susan.user_id))
    delivery = claimed(wiring)
    susan.patch(f"/v1/webhooks/{webhook_id}", {"enabled": False})
    assert delivery.settle(Answer(status=500), now=now()) == "paused"
    assert webhook.claim(wiring) is None
    susan.patch(f"/v1/webhooks/{webhook_id}", {"enabled": True})
    assert claimed(wiring).id == delivery.id


@pytest.mark.parametrize(
    ("retry_after", "at_least"), [("120", 120), ("999999", 3600), ("soon", 2), ("-5", 2)]
)
def test_retry_after(
    wiring: Wiring, user: int, receiver: Receiver, retry_after: str, at_least: float
) -> None:
    """A receiver may ask for a longer pause, within bounds."""
    webhook_id = add(wiring, user, receiver.url)
    fail(wiring.database, launch(wiring.database, user))
    receiver.answers(503, Retry_After=retry_after)
    assert deliver_due(wiring) == ["pending"]
    (delivery,) = deliveries_of(wiring, webhook_id)
    assert delivery.tried_at is not None
    pause_s = (delivery.due_at - delivery.tried_at).total_seconds()
    assert at_least <= pause_s <= at_least + 3


@both_databases
def test_made_again_after_its_sender_died(wiring: Wiring, user: int, receiver: Receiver) -> None:
    """Nobody knows whether it was delivered, so it is delivered again, under the same id."""
    webhook_id = add(wiring, user, receiver.url)
    fail(wiring.database, launch(wiring.database, user))
    dead = claimed(wiring)
    assert deliveries.recover(wiring.database, now=now(), most=10) == 0
    put(wiring, webhook_id, lease_until=db_clock(-1))
    assert wiring.reconciler.sweep(now=now())["recovered_deliveries"] == 1
    (delivery,) = deliveries_of(wiring, webhook_id)
    assert (delivery.state, delivery.error_code) == ("pending", "unknown")
    put(wiring, webhook_id, due_at=db_clock())
    second = claimed(wiring)
    assert dead.settle(Answer(status=200), now=now()) == "lost"
    assert second.settle(Answer(status=500), now=now()) == "pending"
    (delivery,) = deliveries_of(wiring, webhook_id)
    assert (delivery.state, delivery.status_code, delivery.claim) == ("pending", 500, 2)


def test_no_log_has_its_secret(wiring: Wiring, user: int) -> None:
    """Neither the secret nor the address, which may hold another one, is in what is printed."""
    add(wiring, user, "https://example.com/?token=hidden")
    fail(wiring.database, launch(wiring.database, user))
    delivery = claimed(wiring)
    assert delivery.id in repr(delivery)
    for hidden in (delivery.secret, "hidden", "example.com"):
        assert hidden not in f"{delivery!r} {delivery}"


@pytest.mark.parametrize("answer", [Answer(status=200), Answer(status=410)])
def test_settled_for_good(wiring: Wiring, user: int, answer: Answer) -> None:
    """Whoever comes back to a delivery that is settled by now changes nothing."""
    webhook_id = add(wiring, user, "https://example.com/")
    fail(wiring.database, launch(wiring.database, user))
    delivery = claimed(wiring)
    state = delivery.settle(answer, now=now())
    assert delivery.settle(Answer(error="timeout"), now=now()) == "lost"
    (found,) = deliveries_of(wiring, webhook_id)
    assert (found.state, found.status_code, found.error_code) == (state, answer.status, None)


@both_databases
def test_emails_and_deliveries_do_not_mix(wiring: Wiring, user: int) -> None:
    """Who sends emails claims and recovers no delivery, and the other way round."""
    webhook_id = add(wiring, user, "https://example.com/")
    task_id = launch(wiring.database, user)
    fail(wiring.database, task_id)
    assert [one.topic for one in messages.claim_due(wiring.database, lease_s=LEASE_S)] == ["export"]
    assert messages.claim_of_task(wiring.database, task_id, lease_s=LEASE_S) == []
    claimed(wiring)
    assert webhook.claim(wiring) is None
    with wiring.database.write() as session:
        session.execute(sa.update(OutboxMessage).values(lease_until=db_clock(-1)))
    assert messages.recover(wiring.database, now=now(), most=10) == 1
    assert [one.state for one in deliveries_of(wiring, webhook_id)] == ["sending"]
    assert deliveries.recover(wiring.database, now=now(), most=10) == 1


@both_databases
def test_a_slow_receiver_holds_up_itself_alone(wiring: Wiring) -> None:
    """One delivery at a time goes to a webhook, and few to all of one user."""
    users = [make_user(wiring.database, name) for name in ("susan", "david")]
    for user_id in users:
        for _ in range(6):
            add(wiring, user_id, "https://example.com/")
        for _ in range(2):
            fail(wiring.database, launch(wiring.database, user_id))
    under_way = []
    while found := webhook.claim(wiring):
        under_way.append(found)
    assert len({one.webhook_id for one in under_way}) == len(under_way)
    counts = [sum(one.user_id == user_id for one in under_way) for user_id in users]
    assert counts == [deliveries.MOST_OF_A_USER] * 2
    under_way[0].settle(Answer(status=200), now=now())
    assert claimed(wiring).user_id == under_way[0].user_id


@both_databases
def test_one_at_a_time(wiring: Wiring, user: int) -> None:
    """What is due for a webhook waits until the delivery before it is over."""
    add(wiring, user, "https://example.com/")
    for _ in range(2):
        fail(wiring.database, launch(wiring.database, user))
    first = claimed(wiring)
    assert webhook.claim(wiring) is None
    first.settle(Answer(status=200), now=now())
    assert claimed(wiring).id != first.id


@both_databases
def test_two_processes_claim_nothing_twice(wiring: Wiring) -> None:
    """However many look at once, each delivery is claimed by one of them."""
    for number in range(8):
        user_id = make_user(wiring.database, f"user-{number}")
        add(wiring, user_id, "https://example.com/")
        fail(wiring.database, launch(wiring.database, user_id))
    start, found = threading.Barrier(3), []

    def work() -> None:
        start.wait()
        while delivery := webhook.claim(wiring):
            found.append(delivery.id)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while delivery := webhook.claim(wiring):
        found.append(delivery.id)
    assert len(found) == len(set(found)) == 8


@both_databases
@pytest.mark.parametrize("whom", ["account", "webhook"])
def test_erased_while_a_delivery_waits(wiring: Wiring, user: int, whom: str) -> None:
    """Nothing is delivered for somebody who is gone, and nothing of it is left."""
    webhook_id = add(wiring, user, "https://example.com/")
    for _ in range(2):
        fail(wiring.database, launch(wiring.database, user))
    under_way = claimed(wiring)
    with wiring.database.write() as session:
        if whom == "account":
            accounts.erase(session, user, lease_s=LEASE_S, now=now())
        else:
            webhooks.delete_webhook(session, webhook_id)
    assert under_way.settle(Answer(status=500), now=now()) == "lost"
    assert webhook.claim(wiring) is None
    assert deliveries_of(wiring, webhook_id) == []
    with wiring.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Webhook)) == 0


@both_databases
def test_the_audit(susan: Person, wiring: Wiring) -> None:
    """What becomes of webhooks and deliveries is in the audit, by the database itself."""
    webhook_id = add(wiring, susan.user_id, "https://example.com/")
    task_id = launch(wiring.database, susan.user_id)
    fail(wiring.database, task_id)
    claimed(wiring).settle(Answer(status=410), now=now())
    susan.patch(f"/v1/webhooks/{webhook_id}", {"enabled": True})
    susan.post(f"/v1/webhooks/{webhook_id}/deliveries/1/redeliver")
    claimed(wiring).settle(Answer(status=200), now=now())
    susan.delete(f"/v1/webhooks/{webhook_id}")
    with wiring.database.read() as session:
        entries = session.scalars(sa.select(AuditEntry).order_by(AuditEntry.id)).all()
    told = [(one.event, one.task_id) for one in entries if one.event in AUDITED]
    assert told == [
        ("webhook_created", None),
        ("not_delivered", task_id),
        ("webhook_disabled", None),
        ("webhook_enabled", None),
        ("delivered", task_id),
        ("webhook_deleted", None),
    ]
    assert {one.user_id for one in entries} == {susan.user_id}


AUDITED = {
    "webhook_created", "webhook_enabled", "webhook_disabled", "webhook_deleted",
    "delivered", "not_delivered",
}  # fmt: skip


def test_old_deliveries_are_forgotten(wiring: Wiring, user: int) -> None:
    """After 30 days nobody looks at them any more; what is still to be made stays."""
    webhook_id = add(wiring, user, "https://example.com/")
    for _ in range(3):
        fail(wiring.database, launch(wiring.database, user))
    claimed(wiring).settle(Answer(status=200), now=now())
    put(wiring, webhook_id, created_at=now() - timedelta(days=31))
    wiring.reconciler.sweep(now=now())
    assert [one.number for one in deliveries_of(wiring, webhook_id)] == [2, 3]


def test_a_broken_delivery_fails_like_others(wiring: Wiring, user: int) -> None:
    """One that cannot be written harms nobody else's, and is tried again."""
    webhook_id = add(wiring, user, "https://example.com/")
    fail(wiring.database, launch(wiring.database, user))
    (delivery,) = deliveries_of(wiring, webhook_id)
    kept = {**delivery.payload["task"], "created_at": "never"}
    put(wiring, webhook_id, payload={**delivery.payload, "task": kept})
    assert deliver_due(wiring) == ["pending"]
    assert deliveries_of(wiring, webhook_id)[0].error_code == "internal_error"


def test_a_closed_connection_is_no_answer(wiring: Wiring, user: int, receiver: Receiver) -> None:
    """A receiver that hangs up is asked again."""
    webhook_id = add(wiring, user, receiver.url)
    fail(wiring.database, launch(wiring.database, user))
    receiver.behave = close
    assert deliver_due(wiring) == ["pending"]
    wait_until(lambda: receiver.requests, "it was asked")
    assert deliveries_of(wiring, webhook_id)[0].error_code in {"connection", "bad_answer"}
