"""The sender of a worker: a process of its own, so that no message ever waits for a task."""

import logging
import time

from redis.exceptions import RedisError

from chalicelib.adapters.wake_up import LOOK_INTERVAL_S
from chalicelib.wiring import Wiring
from worker.child_process import uninterrupted
from worker.outbox import sender

log = logging.getLogger(__name__)


def send_for_ever(wiring: Wiring) -> None:
    """Send what is due, whenever there is a hint and at the latest after `LOOK_INTERVAL_S`."""
    while True:
        try:
            # A message that was cut short would be unknown for good: nobody would send it again.
            with uninterrupted():
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
