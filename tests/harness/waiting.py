"""The one way to wait."""

import select
import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T], what: str, *, within_s: float = 90, every_s: float = 0.02
) -> T:
    """Wait for a condition and return what it gave; fail with its name after the deadline."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(every_s)
    return found


def seconds(action: Callable[[], object]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began


def quickest(action: Callable[[], object], *, below_s: float, times: int = 2) -> float:
    """How long something takes at best; it is tried again while it takes too long.

    A machine may stand still for a moment, not each time.
    """
    took_s = seconds(action)
    while took_s >= below_s and (times := times - 1):
        took_s = min(took_s, seconds(action))
    return took_s


def readable(*connections: socket.socket) -> list[socket.socket]:
    """Those on which something has arrived, or which the other side has closed.

    `select.select` knows no descriptor above 1023.
    """
    by_number = {one.fileno(): one for one in connections}
    poll = select.poll()
    for number in by_number:
        poll.register(number, select.POLLIN)
    return [by_number[number] for number, _ in poll.poll(0)]


def listens(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
