"""Lines for the person at the terminal.

Nobody in the stack may wait for that person: a terminal that is paused, or a pipe that nobody
reads, must not stop a child that has something to say. So one thread writes, and what it cannot
get rid of is dropped.
"""

import os
import queue
import threading

BACKLOG = 10_000
"""Lines that may wait; more are dropped."""

LAST_WORDS_S = 1.0
"""How long `close` waits for the backlog to be written."""


class Console:
    """Writes whole lines to a file descriptor, in order, without ever blocking the caller."""

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor
        self._lines: queue.Queue[str | None] = queue.Queue(BACKLOG)
        self._writer = threading.Thread(target=self._write, daemon=True)
        self._writer.start()

    def say(self, line: str = "") -> None:
        """Write a line, unless too many are waiting."""
        self._put(line)

    def close(self) -> None:
        """Write what waits, for a second at most."""
        self._put(None)
        self._writer.join(LAST_WORDS_S)

    def _put(self, line: str | None) -> None:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            return

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            data = f"{line}\n".encode(errors="replace")
            try:
                # Not through sys.stdout: a blocked thread would keep its lock, and Python aborts
                # at exit when it cannot get it.
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError:  # the reader is gone; the stack goes on without
                return
