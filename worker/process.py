"""What belongs to this process: its wiring, and whether it was asked to stop."""

import functools
from types import FrameType

from chalicelib.wiring import Wiring

_stop_requested = False


def request_stop(_signum: int, _frame: FrameType | None) -> None:
    """Ask running attempts to checkpoint and release their task; a signal handler.

    It only sets a name: a handler may interrupt another one, and a lock that the first has taken
    would never be released (https://github.com/python/cpython/issues/126434).
    """
    global _stop_requested  # noqa: PLW0603 - the one flag of this process
    _stop_requested = True


def stop_requested() -> bool:
    """Whether to stop at the next step."""
    return _stop_requested


@functools.cache
def process_wiring() -> Wiring:
    """The wiring of this process, which the work horse inherits."""
    return Wiring.from_environment(pool_size=5)
