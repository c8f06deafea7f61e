"""Webhooks: where users want to be told that their tasks have ended.

Every function takes a session and leaves the commit to its caller. Whoever changes a webhook locks
it before its deliveries.
"""

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.engine import db_clock
from chalicelib.db.models import OutboxMessage, User, Webhook
from chalicelib.errors import (
    DeliveryInProgress,
    NotFound,
    TooManyWebhooks,
    Unauthenticated,
    WebhookDisabled,
)
from chalicelib.values.paging import Page

TOPIC = "webhook"
"""What the outbox calls a delivery."""

EVENTS = ("task.succeeded", "task.failed", "task.cancelled")

MOST = 20
"""How many webhooks a user may have."""

SECRET_BYTES = 32
"""Standard Webhooks asks for 24 to 64."""

OPEN = frozenset({"pending", "sending", "paused"})
"""States of a delivery that is still to be made."""


def new_secret() -> str:
    """What deliveries are signed with, in the form of the Standard Webhooks specification."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def create_webhook(
    session: so.Session, user_id: int, *, url: str, events: Sequence[str], now: datetime
) -> Webhook:
    """Add a webhook.

    Args:
        session: A writing session.
        user_id: Whose tasks it hears of.
        url: A valid URL.
        events: Of which endings; in whatever order.
        now: The time.

    Raises:
        Unauthenticated: The user is gone.
        TooManyWebhooks: They have `MOST`.
    """
    # Under the user's lock, or two at once would both be the last one.
    if session.scalar(sa.select(User.id).where(User.id == user_id).with_for_update()) is None:
        raise Unauthenticated
    counted = sa.select(sa.func.count()).where(Webhook.user_id == user_id)
    if (session.scalar(counted) or 0) >= MOST:
        raise TooManyWebhooks
    webhook = Webhook(
        id=str(uuid4()),
        user_id=user_id,
        url=url,
        events=in_order(events),
        secret=new_secret(),
        enabled=True,
        created_at=now,
    )
    session.add(webhook)
    session.flush()
    return webhook


def in_order(events: Sequence[str]) -> list[str]:
    """Events without repetition, in the order in which they are listed everywhere."""
    return [event for event in EVENTS if event in events]


def get_webhook(
    session: so.Session, webhook_id: str, *, owner: int | None = None, lock: bool = False
) -> Webhook:
    """One webhook.

    Args:
        session: A session.
        webhook_id: Which webhook.
        owner: The user whose webhook it must be; None for anybody's.
        lock: Whether it is going to be changed.

    Raises:
        NotFound: There is no such webhook, or it is another user's.
    """
    statement = sa.select(Webhook).where(Webhook.id == webhook_id)
    if owner is not None:
        statement = statement.where(Webhook.user_id == owner)
    if lock:
        statement = statement.with_for_update().execution_options(populate_existing=True)
    webhook = session.scalar(statement)
    if webhook is None:
        raise NotFound
    return webhook


def list_webhooks(
    session: so.Session, *, page: Page, user_id: int | None = None
) -> tuple[Sequence[Webhook], bool]:
    """A page of webhooks, the newest first, and whether more follow: a user's, or everybody's."""
    statement = sa.select(Webhook)
    if user_id is not None:
        statement = statement.where(Webhook.user_id == user_id)
    found = session.scalars(page.of(statement, Webhook.created_at, Webhook.id))
    return page.cut(found.all())


@dataclass(frozen=True)
class WebhookChange:
    """What becomes of a webhook; what is None stays as it is."""

    url: str | None = None
    events: Sequence[str] | None = None
    enabled: bool | None = None


def change_webhook(
    session: so.Session, webhook_id: str, change: WebhookChange, *, owner: int | None = None
) -> Webhook:
    """Change a webhook; while it is disabled, what is still to be delivered waits.

    Raises:
        NotFound: As `get_webhook`.
    """
    webhook = get_webhook(session, webhook_id, owner=owner, lock=True)
    if change.url is not None:
        webhook.url = change.url
    if change.events is not None:
        webhook.events = in_order(change.events)
    if change.enabled is True:
        enable(session, webhook)
    elif change.enabled is False and webhook.enabled:
        disable(session, webhook, reason="paused")
    session.flush()
    return webhook


def enable(session: so.Session, webhook: Webhook) -> None:
    """Deliver to it again, what waited included; its past is forgotten."""
    if webhook.enabled:
        return
    webhook.enabled, webhook.disabled_reason, webhook.failing_since = True, None, None
    _move(session, webhook.id, "paused", "pending", due_at=db_clock())


def disable(session: so.Session, webhook: Webhook, *, reason: str) -> None:
    """Deliver nothing to it until somebody enables it; nothing new is noted for it either."""
    webhook.enabled, webhook.disabled_reason = False, reason
    _move(session, webhook.id, "pending", "paused")


def _move(session: so.Session, webhook_id: str, before: str, after: str, **values: Any) -> None:
    statement = sa.update(OutboxMessage).where(
        OutboxMessage.webhook_id == webhook_id, OutboxMessage.state == before
    )
    options = {"synchronize_session": False}
    session.execute(statement.values(state=after, **values), execution_options=options)


def delete_webhook(session: so.Session, webhook_id: str, *, owner: int | None = None) -> None:
    """Delete a webhook and its deliveries.

    Raises:
        NotFound: As `get_webhook`.
    """
    get_webhook(session, webhook_id, owner=owner, lock=True)
    session.execute(sa.delete(OutboxMessage).where(OutboxMessage.webhook_id == webhook_id))
    session.execute(sa.delete(Webhook).where(Webhook.id == webhook_id))


def list_deliveries(
    session: so.Session, webhook_id: str, *, page: Page
) -> tuple[Sequence[OutboxMessage], bool]:
    """A page of the deliveries of a webhook, the newest first, and whether more follow."""
    statement = (
        sa.select(OutboxMessage)
        .where(OutboxMessage.webhook_id == webhook_id)
        .order_by(OutboxMessage.number.desc())
    )
    if page.before is not None:
        statement = statement.where(OutboxMessage.number < page.before[1])
    return page.cut(session.scalars(statement.limit(page.limit + 1)).all())


def redeliver(
    session: so.Session, webhook_id: str, number: int, *, owner: int | None = None
) -> OutboxMessage:
    """Deliver an event once more; what became of the first delivery stays in the ledger.

    Raises:
        NotFound: There is no such webhook or delivery, or it is another user's.
        WebhookDisabled: Nothing is delivered to it now.
        DeliveryInProgress: This delivery is not over.
    """
    webhook = get_webhook(session, webhook_id, owner=owner, lock=True)
    earlier = session.scalar(
        sa.select(OutboxMessage).where(
            OutboxMessage.webhook_id == webhook_id, OutboxMessage.number == number
        )
    )
    if earlier is None:
        raise NotFound
    if not webhook.enabled:
        raise WebhookDisabled
    if earlier.state in OPEN:
        raise DeliveryInProgress
    return _deliver(session, webhook, dict(earlier.payload))


def deliver_test(
    session: so.Session, webhook_id: str, *, owner: int | None = None, now: datetime
) -> OutboxMessage:
    """Deliver an event that means nothing, so that its receiver can be tried out.

    Raises:
        NotFound: As `get_webhook`.
        WebhookDisabled: Nothing is delivered to it now.
    """
    webhook = get_webhook(session, webhook_id, owner=owner, lock=True)
    if not webhook.enabled:
        raise WebhookDisabled
    test = {"id": str(uuid4()), "at": now.isoformat()}
    return _deliver(session, webhook, {"type": "webhook.test", "test": test})


def _deliver(session: so.Session, webhook: Webhook, payload: dict[str, Any]) -> OutboxMessage:
    webhook.deliveries += 1
    delivery = OutboxMessage(
        id=str(uuid4()),
        user_id=webhook.user_id,
        topic=TOPIC,
        payload=payload,
        created_at=db_clock(),
        due_at=db_clock(),
        webhook_id=webhook.id,
        number=webhook.deliveries,
    )
    session.add(delivery)
    session.flush()
    session.refresh(delivery)  # by the database's clock
    return delivery


@dataclass(frozen=True)
class Event:
    """What a delivery tells.

    Attributes:
        id: The `webhook-id`: the same for all deliveries of one event. It holds no full stop, which
            the specification needs between the parts of what is signed.
        type: `task.succeeded` and so on, or `webhook.test`.
        timestamp: When it happened.
        task_id: The task that has ended.
    """

    id: str
    type: str
    timestamp: datetime
    task_id: str | None


def event_of(payload: dict[str, Any]) -> Event:
    """The event that a delivery in the outbox is about."""
    if "test" in payload:
        test = payload["test"]
        return Event(test["id"], payload["type"], as_time(test["at"]), None)
    task = payload["task"]
    timestamp = as_time(task["finished_at"])
    # A task that is retried ends more than once: each ending is an event of its own.
    event_id = f"{task['id']}-{timestamp:%Y%m%d%H%M%S%f}"
    return Event(event_id, payload["type"], timestamp, task["id"])


def as_time(text: str) -> datetime:
    """A time as a database's trigger has written it: without a zone it is UTC."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
