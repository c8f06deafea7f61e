"""Whether this process was asked to stop: a flag that a signal sets and attempts look at."""

import threading
from types import FrameType

_requested = threading.Event()


def request_stop(_signum: int, _frame: FrameType | None) -> None:
    """Ask running attempts to checkpoint and hand back; a signal handler."""
    _requested.set()


def stop_requested() -> bool:
    """Whether to stop at the next step."""
    return _requested.is_set()
