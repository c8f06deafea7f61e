"""What belongs to this process: its wiring, and whether it was asked to stop."""

import functools
import signal
from types import FrameType

from chalicelib.db.engine import ANSWER_S
from chalicelib.wiring import Wiring

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a manager of processes, a terminal that closes."""

_requested: list[int] = []


def request_stop(signum: int, _frame: FrameType | None) -> None:
    """Ask running attempts to checkpoint and release their task; a signal handler.

    The next signal may interrupt it anywhere, so it takes no lock: one that the interrupted call
    holds would never be released (https://github.com/python/cpython/issues/126434).
    """
    _requested.append(signum)


def stop_on_signals() -> None:
    """Have signals set the flag instead of ending this process."""
    for number in STOPPING:
        signal.signal(number, request_stop)


def stop_requested() -> bool:
    """Whether to stop at the next step."""
    return bool(_requested)


@functools.cache
def process_wiring() -> Wiring:
    """The wiring of this process, which the work horse inherits."""
    return Wiring.from_environment(pool_size=5, answer_s=ANSWER_S)
