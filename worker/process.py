"""Whether this process was asked to stop: a flag that signals set and its loops look at."""

import signal
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_requested: list[int] = []


def request_stop(signum: int, _frame: FrameType | None) -> None:
    """Note that somebody asked this process to stop; a signal handler.

    The next signal may interrupt this function anywhere, so it takes no lock: with a
    `threading.Event` it would wait for ever for its own interrupted call (cpython#126434).
    """
    _requested.append(signum)


def stop_on_signals() -> None:
    """Have Ctrl-C, SIGTERM and a closed terminal set the flag instead of ending this process."""
    for number in STOPPING:
        signal.signal(number, request_stop)


def stop_requested() -> bool:
    """Whether to stop at the next step."""
    return bool(_requested)
