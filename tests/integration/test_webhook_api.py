"""Webhooks over the API: add, look at, change, delete; deliveries and redeliveries."""

import base64
import json
from typing import Any

import pytest
import sqlalchemy as sa

from chalicelib.db.models import OutboxMessage
from chalicelib.outbox import webhooks
from chalicelib.outbox.deliveries import Answer
from chalicelib.wiring import Wiring
from tests.conftest import Rewire, both_databases
from tests.harness.ledgers import fail, launch, now
from tests.harness.people import Person, pointers, refused
from worker.outbox import webhook

URL = "https://example.com/hook"


def create(person: Person, **fields: Any) -> Any:
    return person.call("POST", "/v1/webhooks", {"url": URL, **fields}, 201)


@both_databases
def test_create(susan: Person) -> None:
    """It is shown with its secret, this once."""
    answer = susan.post("/v1/webhooks", {"url": URL, "events": ["task.failed", "task.succeeded"]})
    shown = answer.json_body
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/webhooks/{shown['id']}" == shown["links"]["self"]
    assert shown["events"] == ["task.succeeded", "task.failed"]
    assert (shown["url"], shown["enabled"], shown["disabled_reason"]) == (URL, True, None)
    assert shown["secret"].startswith("whsec_")
    assert len(base64.b64decode(shown["secret"].removeprefix("whsec_"), validate=True)) == 32
    secret = shown.pop("secret")
    assert susan.get(f"/v1/webhooks/{shown['id']}").json_body == shown
    assert susan.get("/v1/webhooks").json_body == {"items": [shown], "next": None}
    changed = susan.patch(f"/v1/webhooks/{shown['id']}", {"enabled": True})
    assert changed.json_body == shown
    assert secret not in changed.body.decode()


def test_every_event_by_default(susan: Person) -> None:
    """Whoever does not choose hears of every ending."""
    assert create(susan)["events"] == list(webhooks.EVENTS)
    assert create(susan)["secret"] != create(susan)["secret"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/url"),
        ({"url": ""}, "/url"),
        ({"url": 1}, "/url"),
        ({"url": "ftp://example.com/"}, "/url"),
        ({"url": "https://user:password@example.com/"}, "/url"),
        ({"url": "https://example.com/" + "x" * 2048}, "/url"),
        ({"url": "https://exa mple.com/"}, "/url"),
        ({"url": URL, "events": []}, "/events"),
        ({"url": URL, "events": ["task.started"]}, "/events/0"),
        ({"url": URL, "events": "task.failed"}, "/events"),
        ({"url": URL, "events": None}, "/events"),
        ({"url": URL, "secret": "whsec_AAAA"}, "/secret"),
        ({"url": URL, "enabled": False}, "/enabled"),
    ],
)
def test_invalid(susan: Person, body: dict[str, Any], pointer: str) -> None:
    """What is wrong with a webhook is told by its field, at once and when it is changed."""
    problem = refused(susan.post("/v1/webhooks", body), 422, "invalid")
    assert pointers(problem) == {pointer}
    if body and pointer != "/enabled":
        path = f"/v1/webhooks/{create(susan)['id']}"
        assert pointers(refused(susan.patch(path, body), 422, "invalid")) == {pointer}


REFUSED = [
    "http://example.com/",
    "https://localhost/",
    "https://a.localhost./",
    "https://127.0.0.1/",
    "https://2130706433/",
    "https://0x7f.1/",
    "https://[::1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://169.254.169.254/latest/meta-data/",
    "https://\u2460\u2461\u2466.0.0.1/",
]


@pytest.mark.parametrize("url", REFUSED, ids=ascii)
def test_private_addresses(susan: Person, rewire: Rewire, url: str) -> None:
    """Unless WEBHOOK_PRIVATE says so, it must be https, and an address must be public."""
    rewire(WEBHOOK_PRIVATE="off")
    assert pointers(refused(susan.post("/v1/webhooks", {"url": url}), 422, "invalid")) == {"/url"}
    created = create(susan)
    answer = susan.patch(f"/v1/webhooks/{created['id']}", {"url": url})
    assert pointers(refused(answer, 422, "invalid")) == {"/url"}
    rewire(WEBHOOK_PRIVATE="on")
    assert susan.post("/v1/webhooks", {"url": url}).status_code == 201


def test_a_setting_that_changes(susan: Person, wiring: Wiring, rewire: Rewire) -> None:
    """A webhook that was added while private ones were allowed is not delivered to afterwards."""
    create(susan, url="http://127.0.0.1:9/")
    create(susan, url="https://127.0.0.1:9/")
    fail(wiring.database, launch(wiring.database, susan.user_id))
    strict = rewire(WEBHOOK_PRIVATE="off")
    errors = set()
    while delivery := webhook.claim(strict):
        webhook.deliver(delivery, strict, webhook.make_http_client(strict))
    with wiring.database.read() as session:
        errors = set(session.scalars(sa.select(OutboxMessage.error_code)))
    assert errors == {None, "insecure_url", "private_address"}  # None: the email


@both_databases
def test_change(susan: Person) -> None:
    """What is named changes, what is left out stays."""
    path = f"/v1/webhooks/{create(susan)['id']}"
    changed = susan.call("PATCH", path, {"url": "https://example.org/"})
    assert (changed["url"], changed["events"]) == ("https://example.org/", list(webhooks.EVENTS))
    changed = susan.call("PATCH", path, {"events": ["task.failed"], "enabled": False})
    assert (changed["url"], changed["events"]) == ("https://example.org/", ["task.failed"])
    assert (changed["enabled"], changed["disabled_reason"]) == (False, "paused")
    assert susan.call("PATCH", path, {}) == changed
    assert susan.call("PATCH", path, {"enabled": True})["disabled_reason"] is None


@both_databases
def test_delete(susan: Person) -> None:
    """It is gone, and so is what was delivered."""
    path = f"/v1/webhooks/{create(susan)['id']}"
    susan.call("POST", f"{path}/test", status=202)
    assert susan.delete(path).status_code == 204
    for answer in (susan.get(path), susan.get(f"{path}/deliveries"), susan.delete(path)):
        refused(answer, 404, "not_found")
    assert susan.get("/v1/webhooks").json_body["items"] == []


@both_databases
def test_as_many_as_there_may_be(susan: Person, david: Person) -> None:
    """One more is refused; others have their own."""
    first = create(susan)
    for _ in range(webhooks.MOST - 1):
        create(susan)
    refused(susan.post("/v1/webhooks", {"url": URL}), 409, "too_many_webhooks")
    create(david)
    susan.delete(first["links"]["self"])
    create(susan)


@both_databases
def test_pages_of_a_list(susan: Person, wiring: Wiring) -> None:
    """The newest come first, and each page leads to the next."""
    ids = [create(susan)["id"] for _ in range(3)]
    assert _walk(susan, "/v1/webhooks?limit=2", "id") == ids[::-1]
    for _ in range(5):
        fail(wiring.database, launch(wiring.database, susan.user_id))
    path = f"/v1/webhooks/{ids[0]}/deliveries?limit=2"
    assert _walk(susan, path, "n") == [5, 4, 3, 2, 1]
    refused(susan.get(f"/v1/webhooks/{ids[0]}/deliveries?cursor=x"), 422, "invalid")


def _walk(person: Person, path: str, name: str) -> list[Any]:
    """Follow a list to its end."""
    found, answer = [], person.get(path)
    while True:
        found += [one[name] for one in answer.json_body["items"]]
        if answer.json_body["next"] is None:
            assert "Link" not in answer.headers
            return found
        link = answer.headers["Link"].partition("<")[2].partition(">")[0]
        answer = person.get(link)


@both_databases
def test_deliveries(susan: Person, wiring: Wiring) -> None:
    """What became of each is shown: state, status, tries and times."""
    created = create(susan)
    task_id = launch(wiring.database, susan.user_id)
    fail(wiring.database, task_id)
    path = created["links"]["deliveries"]
    (before,) = susan.get(path).json_body["items"]
    assert (before["n"], before["type"], before["task_id"]) == (1, "task.failed", task_id)
    assert (before["state"], before["tries"], before["status"]) == ("pending", 0, None)
    assert before["next_try_at"]
    assert before["links"] == {"redeliver": None, "task": f"/v1/tasks/{task_id}"}
    delivery = webhook.claim(wiring)
    assert delivery
    refused(susan.post(f"{path}/1/redeliver"), 409, "delivery_in_progress")
    delivery.settle(Answer(status=418), now=now())
    (tried,) = susan.get(path).json_body["items"]
    assert (tried["state"], tried["tries"], tried["status"]) == ("pending", 1, 418)
    assert tried["next_try_at"] > tried["tried_at"] >= before["created_at"]
    with wiring.database.write() as session:
        session.execute(sa.update(OutboxMessage).values(due_at=sa.text("created_at")))
    delivery = webhook.claim(wiring)
    assert delivery
    delivery.settle(Answer(status=200), now=now())
    (sent,) = susan.get(path).json_body["items"]
    assert (sent["state"], sent["tries"], sent["status"], sent["error"]) == ("sent", 2, 200, None)
    assert sent["sent_at"]
    assert sent["links"]["redeliver"] == f"{path}/1/redeliver"
    assert created["secret"] not in json.dumps([before, tried, sent])


@both_databases
def test_redeliver(susan: Person, wiring: Wiring) -> None:
    """It is another delivery of the same event; the first one stays as it is."""
    path = create(susan)["links"]["self"]
    fail(wiring.database, launch(wiring.database, susan.user_id))
    delivery = webhook.claim(wiring)
    assert delivery
    delivery.settle(Answer(status=410), now=now())
    refused(susan.post(f"{path}/deliveries/1/redeliver"), 409, "webhook_disabled")
    refused(susan.post(f"{path}/test"), 409, "webhook_disabled")
    susan.patch(path, {"enabled": True})
    answer = susan.post(f"{path}/deliveries/1/redeliver", {})
    assert (answer.status_code, answer.json_body["n"]) == (202, 2)
    second, first = susan.get(f"{path}/deliveries").json_body["items"]
    assert (second["id"], second["state"]) == (first["id"], "pending")
    assert (first["state"], first["status"]) == ("failed", 410)
    for number in ("3", "0", "x", "-1", "1e0", "9" * 30):
        refused(susan.post(f"{path}/deliveries/{number}/redeliver"), 404, "not_found")


@both_databases
def test_a_test(susan: Person, wiring: Wiring) -> None:
    """Whoever sets up a receiver need not wait for a task to end."""
    path = create(susan)["links"]["self"]
    shown = susan.call("POST", f"{path}/test", {}, 202)
    assert (shown["type"], shown["task_id"], shown["state"]) == ("webhook.test", None, "pending")
    delivery = webhook.claim(wiring)
    assert delivery
    assert json.loads(webhook.body_of(delivery, wiring))["data"] == {}
