"""Webhooks: the list, a new one with its secret, and what was delivered."""

from typing import Any

from chalice.app import Response

from chalicelib.db.models import OutboxMessage, Webhook
from chalicelib.errors import (
    DeliveryInProgress,
    Invalid,
    RequestError,
    TooManyWebhooks,
    WebhookDisabled,
)
from chalicelib.outbox import webhooks as stored
from chalicelib.outbox.webhooks import EVENTS, MOST, event_of
from chalicelib.schemas.requests import PostListQuery
from chalicelib.schemas.webhooks import ChangedWebhook, NewWebhook
from chalicelib.values.fields import check
from chalicelib.values.paging import Page, cursor
from chalicelib.web import webhooks
from chalicelib.web.lists import page_of
from chalicelib.web.pages.messages import complaint
from chalicelib.web.pages.page_rendering import language, render
from chalicelib.web.problems import status_of
from chalicelib.web.request import Call

EVERY_S = 5
"""How often the page of a webhook looks for news: deliveries are no news of a task."""


def webhook_list(call: Call) -> Response:
    """The caller's webhooks, and the form for a new one."""
    return _render_list(call)


def _render_list(call: Call, *, status: int = 200, **facts: Any) -> Response:
    with call.wiring.database.read() as session:
        found, _ = stored.list_webhooks(session, page=Page(MOST), user_id=call.user.id)
    shown: dict[str, Any] = {"created": None, "complaint": None, "given": None, **facts}
    return render(
        call,
        "webhooks.html",
        status=status,
        webhooks=found,
        events=EVENTS,
        has_room=len(found) < MOST,
        **shown,
    )


def submit_webhook(call: Call) -> Response:
    """Add a webhook and show its secret. The page itself shows it: an address would keep it."""
    given = call.form
    chosen = [event for event in EVENTS if event in given]
    try:
        new = check({"url": given.get("url", "").strip(), "events": chosen}, NewWebhook)
        created = webhooks.create(call, new)
    except (Invalid, TooManyWebhooks) as error:
        told = complaint(error, language(call))
        return _render_list(call, status=status_of(error), complaint=told, given=given)
    return _render_list(call, created=created)


def webhook(call: Call, webhook_id: str) -> Response:
    """A webhook and its deliveries."""
    return _render(call, webhook_id)


def _render(
    call: Call, webhook_id: str, *, status: int = 200, complaint: str | None = None
) -> Response:
    page = page_of(call.query(PostListQuery), numbered=True)
    with call.wiring.database.read() as session:
        found = stored.get_webhook(session, webhook_id, owner=call.user.id)
        deliveries, more = stored.list_deliveries(session, webhook_id, page=page)
    last = deliveries[-1] if more else None
    return render(
        call,
        "webhook.html",
        status=status,
        webhook=found,
        deliveries=[(one, event_of(one.payload)) for one in deliveries],
        may_redeliver=_may_redeliver(found),
        first_page=page.before is None,
        more=cursor(last.created_at, last.number) if last else None,
        complaint=complaint,
        every_s=EVERY_S if page.before is None else 0,
    )


def _may_redeliver(webhook: Webhook) -> Any:
    def may(delivery: OutboxMessage) -> bool:
        return webhook.enabled and delivery.state not in stored.OPEN

    return may


def submit_enabled(call: Call, webhook_id: str, *, enabled: bool) -> Response:
    """Enable or disable a webhook."""
    webhooks.change(call, webhook_id, ChangedWebhook(enabled=enabled))
    return call.see_other(f"/webhooks/{webhook_id}")


def submit_deletion(call: Call, webhook_id: str) -> Response:
    """Delete a webhook."""
    webhooks.delete(call, webhook_id)
    return call.see_other("/webhooks")


def submit_test(call: Call, webhook_id: str) -> Response:
    """Deliver a test."""
    try:
        webhooks.deliver_test(call, webhook_id)
    except WebhookDisabled as error:
        return _refuse(call, webhook_id, error)
    return call.see_other(f"/webhooks/{webhook_id}")


def submit_redelivery(call: Call, webhook_id: str, number: str) -> Response:
    """Deliver an event once more."""
    try:
        webhooks.redeliver(call, webhook_id, number)
    except (WebhookDisabled, DeliveryInProgress) as error:
        return _refuse(call, webhook_id, error)
    return call.see_other(f"/webhooks/{webhook_id}")


def _refuse(call: Call, webhook_id: str, error: RequestError) -> Response:
    told = complaint(error, language(call))
    return _render(call, webhook_id, status=status_of(error), complaint=told)
