"""The reconciler of a worker: a process of its own that makes one pass after another."""

import logging
import time

from chalicelib.wiring import Wiring

log = logging.getLogger(__name__)


def reconcile_for_ever(wiring: Wiring) -> None:
    """Make a pass every `SWEEP_INTERVAL_S` seconds."""
    while True:
        started = time.monotonic()
        try:
            wiring.reconciler.sweep(now=wiring.now())
        except Exception:
            log.warning("a pass failed", extra={"action": "sweep"}, exc_info=True)
        left_s = started + wiring.settings.sweep_interval_s - time.monotonic()
        time.sleep(max(0.0, left_s))
