"""The time limit of an attempt: an alarm that interrupts whatever the task is about.

It goes off once, as an exception that the task may swallow; `liveness` is what ends such a task.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rq.timeouts import JobTimeoutException

NOW_S = 0.001
"""An alarm that was due meanwhile: a timer of zero would be none."""


@contextmanager
def time_limit(limit_s: float) -> Iterator[None]:
    """Interrupt the block when it takes longer.

    RQ's own workers have an alarm on the whole job, which goes on afterwards.

    Raises:
        JobTimeoutException: It took longer.
    """
    if threading.current_thread() is not threading.main_thread():  # no other gets signals
        yield
        return

    def interrupt(_signum: int, _frame: FrameType | None) -> None:
        raise JobTimeoutException(f"The attempt took longer than {limit_s:g} seconds")

    began = time.monotonic()
    others = signal.signal(signal.SIGALRM, interrupt)
    others_left_s, _ = signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, others)
        if others_left_s:
            left_s = others_left_s - (time.monotonic() - began)
            signal.setitimer(signal.ITIMER_REAL, max(NOW_S, left_s))
