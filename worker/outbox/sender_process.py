"""The sender of a worker: a process of its own, so that no message ever waits for a task."""

import logging
import time

from redis.exceptions import RedisError

from chalicelib.wiring import Wiring
from worker.outbox import sender

log = logging.getLogger(__name__)

LOOK_INTERVAL_S = 5.0
"""How long a due message waits at the most, where no hint came."""


def send_for_ever(wiring: Wiring) -> None:
    """Send what is due, whenever there is a hint and at the latest after `LOOK_INTERVAL_S`."""
    while True:
        try:
            sent = sender.send_due(wiring)
        except Exception:
            log.warning("could not look into the outbox", extra={"action": "send"}, exc_info=True)
            sent = 0
        if not sent:
            _wait(wiring)


def _wait(wiring: Wiring) -> None:
    started = time.monotonic()
    try:
        wiring.outbox_waiter.wait(LOOK_INTERVAL_S)
    except RedisError:
        time.sleep(max(0.0, started + LOOK_INTERVAL_S - time.monotonic()))
