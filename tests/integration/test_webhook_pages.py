"""The pages of webhooks, as a browser without JavaScript meets them."""

import html
import re
from email import message_from_string, policy

import pytest
import sqlalchemy as sa

from chalicelib.db.engine import db_clock
from chalicelib.db.models import OutboxMessage, User, Webhook
from chalicelib.outbox import deliveries, messages, webhooks
from chalicelib.outbox.deliveries import Answer
from chalicelib.wiring import Wiring
from tests.conftest import Rewire, both_databases
from tests.harness.ledgers import LEASE_S, fail, launch, now
from tests.harness.pages import Browser
from tests.harness.people import Person
from worker.outbox import sender, webhook

URL = "https://example.com/hook?a=<b>"
ALL = {"task.succeeded": "on", "task.failed": "on", "task.cancelled": "on"}


@pytest.fixture
def browser(susan: Person) -> Browser:
    return Browser(susan.client, susan.token)


def add(wiring: Wiring, user_id: int) -> str:
    with wiring.database.write() as session:
        return webhooks.create_webhook(
            session, user_id, url="https://example.com/", events=webhooks.EVENTS, now=now()
        ).id


def settle(wiring: Wiring, answer: Answer) -> None:
    delivery = webhook.claim(wiring)
    assert delivery
    delivery.settle(answer, now=now())


@both_databases
def test_a_new_webhook(browser: Browser, wiring: Wiring) -> None:
    """The form adds it, and the page that comes back shows its secret, this once."""
    assert "No webhooks yet." in browser.get("/webhooks").body.decode()
    answer = browser.send(
        "/webhooks", url="https://example.com/hook", **{"task.failed": "on", "task.cancelled": "on"}
    )
    with wiring.database.read() as session:
        made = session.scalars(sa.select(Webhook)).one()
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert made.events == ["task.failed", "task.cancelled"]
    assert html.escape(made.secret) in html.escape(html.unescape(answer.body.decode()))
    for path in ("/webhooks", f"/webhooks/{made.id}"):
        page = html.unescape(browser.get(path).body.decode())
        assert made.secret not in page
        assert "https://example.com/hook" in page


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"url": "http://example.com/", **ALL}, "Enter a public URL"),
        ({"url": "https://127.1/", **ALL}, "Enter a public URL"),
        ({"url": "<script>", **ALL}, "Enter a public URL"),
        ({**ALL}, "Enter a public URL"),
        ({"url": URL.partition("?")[0]}, "Choose at least one event."),
    ],
)
def test_a_form_that_is_wrong(
    browser: Browser, rewire: Rewire, fields: dict[str, str], told: str
) -> None:
    """The page says what is wrong, and keeps what was typed."""
    rewire(WEBHOOK_PRIVATE="off")
    answer = browser.send("/webhooks", **fields)
    page = answer.body.decode()
    assert answer.status_code == 422
    assert told in page
    assert html.escape(fields.get("url", "")) in page
    assert "<script>" not in page.replace("<script type", "")


def test_no_more_than_there_may_be(browser: Browser, susan: Person, wiring: Wiring) -> None:
    """Who has as many as there may be is told so, and sees no form."""
    for _ in range(webhooks.MOST):
        add(wiring, susan.user_id)
    assert "Delete one to add another." in browser.get("/webhooks").body.decode()
    answer = browser.send("/webhooks", url="https://example.com/", **ALL)
    assert answer.status_code == 409


@both_databases
def test_deliveries_and_their_buttons(browser: Browser, susan: Person, wiring: Wiring) -> None:
    """What became of each delivery is shown, and what is over can be sent again."""
    path = f"/webhooks/{add(wiring, susan.user_id)}"
    assert "No deliveries yet." in browser.get(path).body.decode()
    fail(wiring.database, launch(wiring.database, susan.user_id))
    assert "On its way" in browser.get(path).body.decode()
    settle(wiring, Answer(status=503))
    page = browser.get(path).body.decode()
    assert "Will be tried again" in page
    assert "Answer: 503" in page
    assert "Deliveries have failed since" in page
    assert f"{path}/deliveries/1/redeliver" not in page
    with wiring.database.write() as session:
        session.execute(sa.update(OutboxMessage).values(due_at=db_clock()))
    settle(wiring, Answer(status=200))
    page = browser.get(path).body.decode()
    assert "Delivered" in page
    assert f"{path}/deliveries/1/redeliver" in page
    assert browser.send(f"{path}/deliveries/1/redeliver").status_code == 303
    assert browser.send(f"{path}/deliveries/2/redeliver").status_code == 409
    assert browser.send(f"{path}/test").status_code == 303
    assert "webhook.test" in browser.get(path).body.decode()
    assert browser.send(f"{path}/disable").status_code == 303
    page = browser.get(path).body.decode()
    assert "nothing is delivered until you enable it" in page
    assert "Paused" in page
    assert browser.send(f"{path}/deliveries/1/redeliver").status_code == 409
    assert browser.send(f"{path}/test").status_code == 409
    assert browser.send(f"{path}/enable").status_code == 303
    assert browser.send(f"{path}/delete").status_code == 303
    assert browser.get(path).status_code == 404


def test_older_deliveries(browser: Browser, susan: Person, wiring: Wiring) -> None:
    """A page shows twenty, and leads to those before."""
    path = f"/webhooks/{add(wiring, susan.user_id)}"
    for _ in range(21):
        browser.send(f"{path}/test")
    page = html.unescape(browser.get(path).body.decode())
    assert 'id="delivery-2"' in page
    assert 'id="delivery-1"' not in page
    more = re.search(r'href="(/webhooks/[^"]+cursor=[^"]+)"', page)
    assert more
    assert 'id="delivery-1"' in browser.get(more[1]).body.decode()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("timeout", "No answer within 10 seconds"),
        ("dns", "The name wasn't found"),
        ("tls", "No secure connection"),
        ("private_address", "The address isn't public"),
        ("insecure_url", "Only https:// URLs are allowed"),
        ("connection", "No answer"),
    ],
)
def test_why_there_was_no_answer(
    browser: Browser, susan: Person, wiring: Wiring, error: str, told: str
) -> None:
    """A receiver's owner reads what to look at."""
    path = f"/webhooks/{add(wiring, susan.user_id)}"
    browser.send(f"{path}/test")
    settle(wiring, Answer(error=error))
    assert told in html.unescape(browser.get(path).body.decode())


@pytest.mark.parametrize(
    ("language", "title", "subject"),
    [
        ("en", "Webhooks", "A webhook was disabled"),
        ("es", "Entregas", "Se desactiv\u00f3 un webhook"),
        ("ko", "\uc804\ub2ec \uae30\ub85d", "\uc6f9\ud6c5 \uc0ac\uc6a9\uc774"),
    ],
)
@pytest.mark.parametrize("reason", ["gone", "failing"])
def test_languages(  # noqa: PLR0917 - fixtures and cases
    browser: Browser, susan: Person, wiring: Wiring, language: str, title: str, subject: str,
    reason: str,
) -> None:  # fmt: skip
    """The pages speak the user's language, and so does the email about a webhook's end."""
    webhook_id = add(wiring, susan.user_id)
    with wiring.database.write() as session:
        session.execute(sa.update(User).values(language=language))
    browser.send(f"/webhooks/{webhook_id}/test")
    if reason == "failing":
        with wiring.database.write() as session:
            session.execute(sa.update(Webhook).values(failing_since=db_clock(-90_000)))
    settle(wiring, Answer(status=410 if reason == "gone" else 500))
    page = browser.get(f"/webhooks/{webhook_id}").body.decode()
    listed = browser.get("/webhooks").body.decode()
    assert title in page + listed
    (message,) = messages.claim_due(wiring.database, lease_s=LEASE_S)
    assert message.topic == deliveries.DISABLED_TOPIC
    composed = sender.COMPOSERS[message.topic](message, wiring, None).decode()
    email = message_from_string(composed, policy=policy.default)
    assert subject in str(email["Subject"])
    body = email.get_body(("plain",))
    assert body
    assert f"/webhooks/{webhook_id}" in body.get_content()
    assert "https://example.com/" in body.get_content()
