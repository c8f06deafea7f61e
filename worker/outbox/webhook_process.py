"""What makes deliveries in a worker: a process of its own, so that no email waits for a receiver.

Receivers may be slow, so a few threads make deliveries side by side.
"""

import logging
import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Self

from chalicelib.outbox import deliveries
from chalicelib.wiring import Wiring
from worker.outbox import webhook
from worker.outbox.http_client import HttpClient

log = logging.getLogger(__name__)

THREADS = 16
"""How many deliveries a worker makes at once."""

LOOK_INTERVAL_S = 1.0
"""How often it looks for what is due, at least."""

BUSY_INTERVAL_S = 0.2
"""The same, while what is due has to wait for others."""

STOP_CHECK_INTERVAL_S = 0.1

FINISH_S = 4
"""How long deliveries may go on when the worker stops; what is cut short is made again, later."""


def deliver_for_ever(wiring: Wiring) -> None:
    """Make what is due until SIGTERM, then finish what is on its way."""
    # Before the first thread, which inherits it: the signal waits until this loop looks for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    with _Deliverer(wiring) as deliverer:
        while not _is_told_to_stop():
            try:
                pause_s = deliverer.look()
            except Exception:
                log.warning("could not look", extra={"action": "deliver"}, exc_info=True)
                pause_s = LOOK_INTERVAL_S
            _wait(pause_s)


class _Deliverer:
    """The threads, and what they are about."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._http: HttpClient = webhook.make_http_client(wiring)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="delivery")
        self._free = threading.Semaphore(THREADS)
        self._on_their_way: set[Future[str]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        wait(self._on_their_way, timeout=FINISH_S)

    def look(self) -> float:
        """Begin what is due; return when to look again, in seconds from now."""
        due_in_s = deliveries.seconds_until_due(self._wiring.database)
        if due_in_s is None or due_in_s > 0:
            return LOOK_INTERVAL_S if due_in_s is None else min(LOOK_INTERVAL_S, due_in_s)
        while self._free.acquire(blocking=False):
            delivery = webhook.claim(self._wiring)
            if delivery is None:
                self._free.release()
                break
            future = self._pool.submit(webhook.deliver, delivery, self._wiring, self._http)
            self._on_their_way.add(future)
            future.add_done_callback(self._done)
        return BUSY_INTERVAL_S

    def _done(self, future: Future[str]) -> None:
        self._free.release()
        self._on_their_way.discard(future)
        if error := future.exception():
            log.warning("could not settle", extra={"action": "deliver"}, exc_info=error)


def _is_told_to_stop() -> bool:
    return signal.SIGTERM in signal.sigpending()


def _wait(pause_s: float) -> None:
    deadline = time.monotonic() + pause_s
    while (left_s := deadline - time.monotonic()) > 0 and not _is_told_to_stop():
        time.sleep(min(left_s, STOP_CHECK_INTERVAL_S))
