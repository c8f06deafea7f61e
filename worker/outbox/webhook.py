"""Makes deliveries to webhooks, as the Standard Webhooks specification has them.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
import logging
from collections.abc import Mapping
from typing import Any

from chalicelib.adapters import tracing
from chalicelib.db.models import ExportFile
from chalicelib.db.types import to_json
from chalicelib.outbox import deliveries
from chalicelib.outbox.deliveries import Answer, Delivery
from chalicelib.outbox.webhooks import event_of
from chalicelib.schemas.webhooks import show_event
from chalicelib.values.addresses import parse_url
from chalicelib.wiring import Wiring
from worker.outbox.http_client import HttpClient, RequestNotSentError

log = logging.getLogger(__name__)

LIMIT_S = 10
"""How long a try may take in all."""

LONGEST_S = 30
"""How long it may be until what came of a try is written down."""

USER_AGENT = "Carryout-Webhooks/1"


def make_http_client(wiring: Wiring) -> HttpClient:
    """What sends the requests."""
    return HttpClient(limit_s=LIMIT_S, private=wiring.settings.webhook_private)


def claim(wiring: Wiring) -> Delivery | None:
    """Claim a delivery that is due."""
    return deliveries.claim_due(wiring.database, lease_s=max(wiring.settings.lease_s, LONGEST_S))


def deliver(delivery: Delivery, wiring: Wiring, http: HttpClient) -> str:
    """Make a claimed delivery; return its state."""
    task_id = event_of(delivery.payload).task_id
    parent = wiring.queue.traceparent_of(task_id) if wiring.tracer and task_id else None
    facts = {"carryout__outbox__id": delivery.id, "carryout__webhook__id": delivery.webhook_id}
    kind = tracing.Kind.CLIENT
    with tracing.root(wiring.tracer, "delivery", kind=kind, parent=parent, **facts):
        return _deliver(delivery, wiring, http)


def _deliver(delivery: Delivery, wiring: Wiring, http: HttpClient) -> str:
    try:
        answer = _try(delivery, wiring, http)
    except Exception:
        # A delivery that cannot be written is tried like others, and fails in the end.
        log.warning("could not deliver", extra=_facts(delivery, "failed"), exc_info=True)
        answer = Answer(error="internal_error")
    state = delivery.settle(answer, now=wiring.now())
    tracing.annotate(carryout__state=state, http__response__status_code=answer.status or 0)
    facts = {**_facts(delivery, state), "status": answer.status, "error": answer.error}
    log.log(logging.INFO if answer.is_success else logging.WARNING, "delivery", extra=facts)
    return state


def _try(delivery: Delivery, wiring: Wiring, http: HttpClient) -> Answer:
    try:
        destination = parse_url(delivery.url)
    except ValueError:  # stored by code that was less strict
        return Answer(error="bad_url")
    if destination.scheme != "https" and not wiring.settings.webhook_private:
        return Answer(error="insecure_url")
    body = body_of(delivery, wiring)
    event_id = event_of(delivery.payload).id
    signed = sign(delivery.secret, event_id, body, at=int(wiring.now().timestamp()))
    try:
        answered = http.post(destination, body, {**HEADERS, **signed})
    except RequestNotSentError as error:
        return Answer(error=error.code)
    return Answer(answered.status, retry_after_s=answered.retry_after_s)


HEADERS = {"Content-Type": "application/json", "Accept": "*/*", "User-Agent": USER_AGENT}


def body_of(delivery: Delivery, wiring: Wiring) -> bytes:
    """What is sent, byte for byte the same at every try."""
    task_id = event_of(delivery.payload).task_id
    with wiring.database.read() as session:
        export = session.get(ExportFile, task_id) if task_id else None
    return to_json(show_event(delivery.payload, export)).encode()


def sign(secret: str, event_id: str, body: bytes, *, at: int) -> Mapping[str, str]:
    """The headers that say who sent a body, and when.

    Args:
        secret: `whsec_` and the key in base64.
        event_id: The same for every delivery of an event.
        body: The body, byte for byte.
        at: The time of this try, in seconds since 1970: receivers refuse what is old.
    """
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{event_id}.{at}.".encode() + body
    signature = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{signature}",
    }


def _facts(delivery: Delivery, state: str) -> dict[str, Any]:
    """What a line of the log tells; a webhook's URL may hold a secret of its receiver's."""
    about = {"outbox_id": delivery.id, "webhook_id": delivery.webhook_id, "tries": delivery.tries}
    task_id = event_of(delivery.payload).task_id
    return {"action": "deliver", "task_id": task_id, "state": state, **about}
