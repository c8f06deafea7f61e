"""Requests that are held back until there is news."""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import uuid4

from chalicelib.tasks.watchers import Watch, Watchers

Cap = tuple[object, int]
"""Who is counted, and how many requests of theirs are held at most."""


class Room:
    """How many requests this process holds, of everybody and of each.

    Without a limit there is always room: on Lambda each request has a process of its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: Counter[object] = Counter()
        self._most: int | None = None

    def limit(self, most: int) -> None:
        """Hold so many requests at most."""
        self._most = most

    @contextmanager
    def place(self, *caps: Cap) -> Iterator[bool]:
        """Take a place while a request is held; whether there was one."""
        all_caps = [*caps, *([("all", self._most)] if self._most is not None else [])]
        with self._lock:
            found = all(self._held[who] < most for who, most in all_caps)
            if found:
                self._held.update(who for who, _ in all_caps)
        try:
            yield found
        finally:
            if found:
                with self._lock:
                    self._held.subtract(who for who, _ in all_caps)
                    self._held += Counter()  # which drops those at zero


ROOM = Room()
"""That of this process."""


class Hold:
    """A request to a server that need not answer before its view returns.

    The view's answer is that nothing is new. The server keeps it, gives the thread back, makes the
    request again when there is news, and sends what it kept when time is over.

    Args:
        resume: Has the server go on with the request; called by a thread that must not be kept.

    Attributes:
        until: When the answer is due, by the monotonic clock; None before somebody asked.
        answer: What to send then.
        request_id: The request's id, however often it is made.
        note: Writes the line of the access log for the kept answer, given its duration in seconds.
    """

    def __init__(self, resume: Callable[[], None]) -> None:
        self.until: float | None = None
        self.answer: Any = None
        self.request_id = str(uuid4())
        self.note: Callable[[float], None] = lambda _duration_s: None
        self._resume = resume
        self._began = time.perf_counter()
        self._lock = threading.Lock()
        self._place: ExitStack | None = None
        self._watch: Callable[[], None] | None = None
        self._leave: Callable[[], bool] = lambda: False
        self._closed = False

    @property
    def is_asked(self) -> bool:
        """Whether the answer of the view that has just returned is to be held back."""
        return self._watch is not None

    @property
    def is_over(self) -> bool:
        """Whether what was kept is to be sent."""
        return self.until is not None and time.monotonic() >= self.until

    @property
    def duration_s(self) -> float:
        """How long the request has taken so far."""
        return time.perf_counter() - self._began

    def ask(
        self,
        watchers: Watchers,
        watch: Callable[[Callable[[], None]], Watch],
        *,
        since: int,
        until: float,
        occupy: Callable[[], ExitStack | None],
    ) -> None:
        """Have the answer held back, if there is room.

        Args:
            watchers: Who wakes.
            watch: Makes the watch, given what to wake.
            since: The moment before the look that found nothing.
            until: When the answer is due.
            occupy: Takes a place, if there is one; only asked once.
        """
        if self._place is None:
            place = occupy()
            if place is None:
                return
            with self._lock:
                if not self._closed:
                    self._place = place
            if self._place is None:  # its client has gone meanwhile
                place.close()
                return
        made = watch(self._resume)
        self.until = until
        self._watch = lambda: watchers.watch(made, since=since)
        self._leave = lambda: watchers.leave(made)

    def again(self) -> None:
        """The request is made once more."""
        self._watch = None

    def begin(self) -> None:
        """The thread is free: from now on the request may be gone on with."""
        with self._lock:
            watch, self._watch = self._watch, None
            if self._closed or watch is None:
                return
        watch()

    def expire(self) -> None:
        """Have the kept answer sent now; nothing happens unless one is held back."""
        if self._leave():
            self.until = -math.inf
            self._resume()

    def close(self) -> None:
        """The request is answered, or its client is gone: give the place back."""
        with self._lock:
            self._closed = True
            place, self._place = self._place, None
        self._leave()
        if place is not None:
            place.close()
