"""A child process that sweeps, for as long as its parent lives."""

import logging
import os
import signal
import time

from chalicelib.wiring import Wiring

log = logging.getLogger(__name__)

PARENT_CHECK_INTERVAL_S = 0.5
"""How often the child looks whether its parent still lives."""


class SweepingChild:
    """The sweeper of a worker.

    A process, not a thread: a fork while another thread is inside SQLite or libpq can leave the
    child with a lock that nobody will ever release.
    """

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._pid = 0

    def keep_alive(self) -> None:
        """Start it, unless it runs."""
        if self._pid and os.waitpid(self._pid, os.WNOHANG) == (0, 0):
            return
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            try:
                sweep_for_ever(Wiring(self._wiring.settings, pool_size=1), parent=parent)
            finally:
                os._exit(0)

    def stop(self) -> None:
        """End it; a pass that is cut short is done by the next sweeper."""
        if self._pid:
            os.kill(self._pid, signal.SIGTERM)
            os.waitpid(self._pid, 0)
            self._pid = 0


def sweep_for_ever(wiring: Wiring, *, parent: int) -> None:
    """Sweep every `SWEEP_INTERVAL_S` seconds until the parent is gone."""
    next_at = time.monotonic()
    while os.getppid() == parent:
        if time.monotonic() >= next_at:
            next_at = time.monotonic() + wiring.settings.sweep_interval_s
            try:
                wiring.sweeper.sweep(now=wiring.now())
            except Exception:
                log.warning("a sweep failed", extra={"action": "sweep"}, exc_info=True)
        time.sleep(PARENT_CHECK_INTERVAL_S)
