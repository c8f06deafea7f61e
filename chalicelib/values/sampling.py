"""What takes long to find out and may be seconds old."""

from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Lock
from time import perf_counter
from typing import Generic, TypeVar

T = TypeVar("T")

SHARE = 50
"""A value is found out anew when it is as old as so many times what that takes."""

FREE_S = 0.01
"""What takes less is found out each time, unless a sample says otherwise; in seconds."""


class Sample(Generic[T]):
    """A value that a process finds out again and again, in a fiftieth of its time at most.

    Args:
        find: Finds it out.
        min_age: For how long it is good however little it takes.
        clock: Says how long it takes; in seconds.
    """

    def __init__(
        self,
        find: Callable[[], T],
        *,
        min_age: timedelta = timedelta(0),
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._find = find
        self._clock = clock
        self._min_age = min_age
        self._lock = Lock()
        self._taken: tuple[T, datetime, timedelta] | None = None

    def value(self, *, now: datetime) -> T:
        """The value as it is, or was a short while ago."""
        with self._lock:
            if self._taken is None or not timedelta(0) <= now - self._taken[1] < self._taken[2]:
                started = self._clock()
                found = self._find()
                self._taken = found, now, self._good_for(self._clock() - started)
            return self._taken[0]

    def _good_for(self, took_s: float) -> timedelta:
        earned = timedelta(seconds=SHARE * took_s if took_s > FREE_S else 0)
        return max(self._min_age, earned)
