"""A receiver of webhooks for the lab, and what must be true of what it got."""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from chalicelib.db.models import OutboxMessage, Task
from chalicelib.outbox.webhooks import event_of
from tests.harness.receivers import answer, receiving

ENDINGS = {"succeeded": "task.succeeded", "failed": "task.failed", "cancelled": "task.cancelled"}
"""The event of each ending that the audit knows."""


@dataclass(frozen=True)
class Received:
    """A request that the receiver took."""

    id: str
    type: str
    body: str


@contextmanager
def receiving_into(path: Path) -> Iterator[str]:
    """Take requests until the end of the block, note each in a file; return the receiver's URL.

    The file is what others can read: those who work in a slot are other processes.
    """
    path.touch()
    with receiving() as receiver:

        def note(handler: BaseHTTPRequestHandler) -> None:
            body = receiver.requests[-1].body.decode()
            line = [handler.headers["webhook-id"], json.loads(body)["type"], body]
            with path.open("a") as file:
                file.write(json.dumps(line) + "\n")
            answer(handler, 204)

        receiver.behave = note
        yield receiver.url


def received(path: Path) -> list[Received]:
    """What was noted."""
    return [Received(*json.loads(line)) for line in path.read_text().splitlines()]


def delivery_faults(
    tasks: Collection[Task],
    endings: Mapping[str, Sequence[str]],
    deliveries: Collection[OutboxMessage],
    got: Collection[Received],
) -> Iterator[str]:
    """What is wrong with the deliveries to a webhook that hears of every ending.

    Args:
        tasks: All tasks that have ended while there was the webhook.
        endings: What the audit says of each, by task id: `succeeded` and so on.
        deliveries: What the outbox holds.
        got: What the receiver got.
    """
    due = Counter((one.id, ENDINGS[ending]) for one in tasks for ending in endings[one.id])
    events = [event_of(one.payload) for one in deliveries]
    noted = Counter((str(event.task_id), event.type) for event in events)
    for (task_id, event_type), count in (due - noted).items():
        yield f"lost: {count} deliveries of {event_type} about task {task_id}"
    for (task_id, event_type), count in (noted - due).items():
        yield f"{count} deliveries too many of {event_type} about task {task_id}"
    times = Counter(one.id for one in got)
    for delivery, event in zip(deliveries, events, strict=True):
        if delivery.state != "sent":
            yield f"the delivery of {event.id} ended as {delivery.state}"
        if not times[event.id]:
            yield f"lost: nobody received {event.id}"
        if times[event.id] > delivery.tries:
            yield f"{event.id} was received {times[event.id]} times, tried {delivery.tries} times"
    for event_id in times.keys() - {event.id for event in events}:
        yield f"{event_id} was received, and is no event"
    for event_id in times:
        if len({(one.type, one.body) for one in got if one.id == event_id}) > 1:
            yield f"{event_id} was received with different bodies"
