"""A child process that does one thing for as long as its parent lives."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

log = logging.getLogger(__name__)

PARENT_CHECK_INTERVAL_S = 0.5
"""How often a child looks whether its parent still lives."""

STOP_GRACE_S = 4
"""How long a child that was told to end may finish what it is about."""

STOP_CHECK_INTERVAL_S = 0.01


class ChildProcess:
    """One child of a worker.

    A process, not a thread: a fork while another thread is inside SQLite or libpq can leave the
    child with a lock that nobody will ever release.

    Args:
        main: What the child does, for ever; what it raises ends it, and it is started again.
    """

    def __init__(self, main: Callable[[], None]) -> None:
        self._main = main
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
            exit_with(parent)
            try:
                self._main()
            except Exception:
                log.exception("a child process broke down", extra={"action": "work"})
            finally:
                os._exit(1)

    def terminate(self) -> None:
        """Tell it to end; may be called in a signal handler."""
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)

    def stop(self, *, deadline: float) -> None:
        """End it, by force once the monotonic clock shows `deadline`.

        What is cut short is done by the next one, or by another worker's.
        """
        if not self._pid:
            return
        self.terminate()
        while os.waitpid(self._pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                break
            time.sleep(STOP_CHECK_INTERVAL_S)
        self._pid = 0


@contextmanager
def uninterrupted() -> Iterator[None]:
    """In a child: when the parent tells it to end, it ends after this block.

    No handler is needed: a signal that is blocked waits, and then does what it would have done.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def exit_with(parent: int, *, grace_s: float = 0) -> None:
    """End this process when its parent is gone, whatever it waits for.

    Args:
        parent: The parent's process id.
        grace_s: How much longer it may go on, in seconds.
    """

    def watch() -> None:
        # The kernel hands a signal to any thread that does not block it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        while os.getppid() == parent:
            time.sleep(PARENT_CHECK_INTERVAL_S)
        time.sleep(grace_s)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent").start()
