"""What users do with their webhooks, over the API and with the pages' buttons."""

from contextlib import AbstractContextManager

from chalice.app import Response

from chalicelib.accounts.rate_limits import DELIVERIES_PER_USER
from chalicelib.db.models import OutboxMessage, Webhook
from chalicelib.errors import AddressUnconfirmed, Fault, Invalid, NotFound
from chalicelib.outbox import webhooks
from chalicelib.outbox.webhooks import WebhookChange
from chalicelib.schemas.requests import ListQuery, PostListQuery
from chalicelib.schemas.webhooks import (
    ChangedWebhook,
    NewWebhook,
    show_delivery,
    show_webhook,
)
from chalicelib.values.addresses import is_public, literal_address, parse_url
from chalicelib.values.paging import cursor
from chalicelib.web import actions
from chalicelib.web.lists import list_response, page_of
from chalicelib.web.request import Call
from chalicelib.web.responses import json_response


def check_url(call: Call, url: str) -> None:
    """Refuse a URL that no delivery could ever go to; names are looked up at each delivery.

    Raises:
        Invalid: With what is wrong.
    """
    try:
        destination = parse_url(url)
    except ValueError as error:
        raise Invalid(Fault("/url", str(error))) from error
    if call.wiring.settings.webhook_private:
        return
    if destination.scheme != "https":
        raise Invalid(Fault("/url", "must begin with https://"))
    literal = literal_address(destination.host)
    is_local = destination.host.rstrip(".").rpartition(".")[2] == "localhost"
    if is_local or (literal is not None and not is_public(literal)):
        raise Invalid(Fault("/url", "must lead to a public address"))


def create(call: Call, new: NewWebhook) -> Webhook:
    """Add a webhook.

    Raises:
        AddressUnconfirmed: First the address is to be confirmed: whoever invents accounts must not
            make us call strangers.
        Invalid: The URL cannot be delivered to.
        TooManyWebhooks: The caller has as many as there may be.
    """
    if actions.is_unproven(call):
        raise AddressUnconfirmed
    check_url(call, new.url)
    with call.wiring.database.write() as session:
        return webhooks.create_webhook(
            session, call.user.id, url=new.url, events=new.events, now=call.now
        )


def created(call: Call, new: NewWebhook) -> Response:
    """Add a webhook, and show its secret, this once."""
    shown = show_webhook(create(call, new), prefix=call.prefix, once=True)
    return json_response(shown, status=201, headers={"Location": shown["links"]["self"]})


def webhook_list(call: Call) -> Response:
    """A page of the caller's webhooks."""
    page = page_of(call.query(ListQuery))
    with call.wiring.database.read() as session:
        found, more = webhooks.list_webhooks(session, page=page, user_id=call.user.id)
    last = found[-1] if more else None
    items = [show_webhook(one, prefix=call.prefix) for one in found]
    return list_response(call, items, after=cursor(last.created_at, last.id) if last else None)


def find(call: Call, webhook_id: str) -> Webhook:
    """One of the caller's webhooks.

    Raises:
        NotFound: They have no such webhook.
    """
    with call.wiring.database.read() as session:
        return webhooks.get_webhook(session, webhook_id, owner=call.user.id)


def change(call: Call, webhook_id: str, changed: ChangedWebhook) -> Webhook:
    """Change one of the caller's webhooks.

    Raises:
        NotFound: They have no such webhook.
        Invalid: The URL cannot be delivered to.
    """
    if changed.url:
        check_url(call, changed.url)
    wanted = WebhookChange(
        url=changed.url or None,
        events=changed.events or None,
        enabled=changed.enabled if isinstance(changed.enabled, bool) else None,
    )
    with call.wiring.database.write() as session:
        return webhooks.change_webhook(session, webhook_id, wanted, owner=call.user.id)


def delete(call: Call, webhook_id: str) -> None:
    """Delete one of the caller's webhooks, and its deliveries.

    Raises:
        NotFound: They have no such webhook.
    """
    with call.wiring.database.write() as session:
        webhooks.delete_webhook(session, webhook_id, owner=call.user.id)


def delivery_list(call: Call, webhook_id: str) -> Response:
    """A page of the deliveries of one of the caller's webhooks.

    Raises:
        NotFound: They have no such webhook.
    """
    page = page_of(call.query(PostListQuery), numbered=True)
    with call.wiring.database.read() as session:
        webhooks.get_webhook(session, webhook_id, owner=call.user.id)
        found, more = webhooks.list_deliveries(session, webhook_id, page=page)
    last = found[-1] if more else None
    items = [show_delivery(one, prefix=call.prefix) for one in found]
    return list_response(call, items, after=cursor(last.created_at, last.number) if last else None)


def redeliver(call: Call, webhook_id: str, number: str) -> OutboxMessage:
    """Deliver an event once more.

    Raises:
        NotFound: The caller has no such webhook, or it no such delivery.
        WebhookDisabled: Nothing is delivered to it now.
        DeliveryInProgress: This delivery is not over.
        TooMany: The caller has requested too many deliveries recently.
    """
    wanted = delivery_number(number)
    with _counted(call), call.wiring.database.write() as session:
        return webhooks.redeliver(session, webhook_id, wanted, owner=call.user.id)


def delivery_number(text: str) -> int:
    """The number of a delivery as a path has it.

    Raises:
        NotFound: No delivery can have it.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 10):  # noqa: PLR2004 - 32 bits
        raise NotFound
    return int(text)


def deliver_test(call: Call, webhook_id: str) -> OutboxMessage:
    """Deliver an event that means nothing.

    Raises:
        NotFound: The caller has no such webhook.
        WebhookDisabled: Nothing is delivered to it now.
        TooMany: The caller has requested too many deliveries recently.
    """
    with _counted(call), call.wiring.database.write() as session:
        return webhooks.deliver_test(session, webhook_id, owner=call.user.id, now=call.now)


def _counted(call: Call) -> AbstractContextManager[None]:
    return call.wiring.rate_limiter.counted((DELIVERIES_PER_USER, call.user.id))
