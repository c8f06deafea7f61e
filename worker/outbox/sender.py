"""Sends what is in the outbox, each message once, and writes down what became of it."""

import logging
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from chalicelib.adapters import tracing
from chalicelib.adapters.email_service import LONGEST_S
from chalicelib.exports.kinds import TOPIC as EXPORT
from chalicelib.logs import metrics
from chalicelib.outbox import messages
from chalicelib.outbox.deliveries import DISABLED_TOPIC
from chalicelib.outbox.messages import MAX_TRIES, REPEATABLE, Final, Message
from chalicelib.outbox.schedule_notices import TOPIC as SCHEDULE
from chalicelib.wiring import Wiring
from worker.outbox import account_email, export_email, schedule_email, webhook_email

log = logging.getLogger(__name__)

MAX_PAUSE_S = 300
"""The longest wait before a service is asked again."""

Compose = Callable[[Message, Wiring, bytes | None], bytes]

COMPOSERS: dict[str, Compose] = {
    EXPORT: export_email.compose,
    "confirm": account_email.compose,
    "reset": account_email.compose,
    "moved": account_email.compose,
    SCHEDULE: schedule_email.compose,
    DISABLED_TOPIC: webhook_email.compose,
}
"""What writes a message, by its topic."""

NEEDS_CONFIRMED = frozenset({EXPORT, SCHEDULE, DISABLED_TOPIC})
"""Topics that are only sent to an address that is known to be the user's."""


def send_due(wiring: Wiring) -> int:
    """Send the messages that are due.

    Returns:
        How many were claimed.
    """
    claimed = messages.claim_due(wiring.database, lease_s=_lease_s(wiring), most=1)
    for message in claimed:
        with _traced(message, wiring):
            send(message, wiring)
    return len(claimed)


def _traced(message: Message, wiring: Wiring) -> AbstractContextManager[None]:
    """A part of the trace that the task was last seen in, while Redis remembers it."""
    task_id = message.lease.task_id
    parent = wiring.queue.traceparent_of(task_id) if wiring.tracer and task_id else None
    return tracing.root(wiring.tracer, "send", kind=tracing.Kind.CONSUMER, parent=parent)


def send_of_task(task_id: str, wiring: Wiring, *, content: bytes | None = None) -> None:
    """Send the messages about a task that are due.

    Args:
        task_id: Which task.
        wiring: Clients and settings.
        content: The file, where the caller has just published it; else it is read from S3.
    """
    for message in messages.claim_of_task(wiring.database, task_id, lease_s=_lease_s(wiring)):
        send(message, wiring, content=content)


def _lease_s(wiring: Wiring) -> float:
    return max(wiring.settings.lease_s, LONGEST_S)


def send(message: Message, wiring: Wiring, *, content: bytes | None = None) -> None:
    """Send one claimed message."""
    about = {"carryout__outbox__id": message.lease.message, "carryout__topic": message.topic}
    with tracing.span("email", kind=tracing.Kind.CLIENT, **about):
        _send(message, wiring, content)


def _send(message: Message, wiring: Wiring, content: bytes | None) -> None:
    needs_confirmed = wiring.settings.verify_email and message.topic in NEEDS_CONFIRMED
    if needs_confirmed and not message.confirmed:
        message.lease.await_confirmation(now=wiring.now())
        return
    try:
        composed = COMPOSERS[message.topic](message, wiring, content)
    except Exception:
        # The object store may be down; a message that can never be written fails at its last try.
        log.warning("could not write", extra=_facts(message, "refused"), exc_info=True)
        _retry_later(message, wiring, last="failed")
        return
    sent = wiring.email_service.send(composed, message.address)
    tracing.annotate(carryout__state=sent.state)
    level = logging.INFO if sent.state == "sent" else logging.WARNING
    log.log(level, "email", extra=_facts(message, sent.state))
    if sent.state == "refused":
        _retry_later(message, wiring, last="failed")
    elif sent.state == "unknown" and message.topic in REPEATABLE:
        _retry_later(message, wiring, last="unknown")
    else:
        message.lease.settle(sent.state, message_id=sent.message_id, now=wiring.now())


def _retry_later(message: Message, wiring: Wiring, *, last: Final) -> None:
    """Try again after a pause, or say what became of the message after its last try."""
    if message.tries >= MAX_TRIES:
        message.lease.settle(last, now=wiring.now())
        return
    pause_s = min(MAX_PAUSE_S, 2**message.tries) * random.uniform(0.5, 1)  # noqa: S311  # nosec B311
    message.lease.retry_later(pause_s=pause_s, now=wiring.now())


def _facts(message: Message, state: str) -> dict[str, Any]:
    counted = metrics({"Mails": (1, "Count")}, state=state)
    about = {"outbox_id": message.lease.message, "topic": message.topic}
    return {"action": "send", "task_id": message.lease.task_id, "state": state, **about, **counted}
