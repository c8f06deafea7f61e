"""How many requests one server holds back until there is news."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Room:
    """Room for held requests, each of which occupies a thread.

    Without a limit there is always room: on Lambda each request has a process of its own.
    """

    def __init__(self) -> None:
        self._places: threading.BoundedSemaphore | None = None

    def limit(self, most: int) -> None:
        """Hold so many requests at most; the server's other threads stay free for the rest."""
        self._places = threading.BoundedSemaphore(most)

    @contextmanager
    def place(self) -> Iterator[bool]:
        """Take a place while a request is held; whether there was one."""
        places = self._places
        found = places is None or places.acquire(blocking=False)
        try:
            yield found
        finally:
            if found and places is not None:
                places.release()


ROOM = Room()
"""That of this process."""
