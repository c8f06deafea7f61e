"""What a work horse tells its parent over a pipe: that it lives, and what it works on until when.

A lock in the ledger, a server that does not respond, a signal that is ignored: nothing of that
keeps a line from the pipe, and what keeps the horse itself from writing one (it is stopped, or C
code never lets go of the interpreter) is what its parent wants to notice.
"""

import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

INTERVAL_S = 1.0
"""How often a horse shows a sign of life, whatever it works on."""

IDLE = b"-\n"

MOST_BYTES = 64 << 10
"""All that a pipe holds."""


@dataclass(frozen=True)
class Work:
    """An attempt that a horse makes.

    Attributes:
        task_id: At which task.
        name: What its kind is called.
        claim: With which claim.
        time_limit_s: How long it may take, in seconds.
        deadline: When its time is over, by the monotonic clock, which all processes share.
    """

    task_id: str
    name: str
    claim: int
    time_limit_s: int
    deadline: float

    def to_line(self) -> bytes:
        """As it goes through the pipe; short enough to go at once or not at all."""
        facts = self.task_id, self.name, self.claim, self.time_limit_s, f"{self.deadline:.3f}"
        return " ".join(map(str, facts)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Work | None":
        """As it came through the pipe; None when the horse is idle."""
        if line + b"\n" == IDLE:
            return None
        task_id, name, claim, time_limit_s, deadline = line.decode().split(" ")
        return cls(task_id, name, int(claim), int(time_limit_s), float(deadline))


class Reporter:
    """The horse's end of the pipe.

    Each line says all that there is to say, so one that finds the pipe full may be lost.

    Args:
        fd: Where to write.
    """

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._line = IDLE
        self._stopping = False

    def start(self) -> threading.Thread:
        """Show signs of life from now on, in a thread that takes no lock and asks no server."""
        thread = threading.Thread(target=self._beat, daemon=True, name="liveness")
        thread.start()
        return thread

    def stop(self) -> None:
        """Have the thread end."""
        self._stopping = True

    def tell(self, work: Work | None) -> None:
        """Say what the horse works on."""
        self._line = IDLE if work is None else work.to_line()
        self._write()

    def _beat(self) -> None:
        while not self._stopping:
            self._write()
            time.sleep(INTERVAL_S)

    def _write(self) -> None:
        with suppress(BlockingIOError, BrokenPipeError):  # who does not read does not miss it
            os.write(self._fd, self._line)


_reporters: list[Reporter] = []


def report_to(fd: int) -> None:
    """Have this process, a work horse, report to its parent."""
    reporter = Reporter(fd)
    _reporters[:] = [reporter]
    reporter.start()


@contextmanager
def working_on(work: Work) -> Iterator[None]:
    """Have the parent know what the block is about, if there is one that listens."""
    for reporter in _reporters:
        reporter.tell(work)
    try:
        yield
    finally:
        for reporter in _reporters:
            reporter.tell(None)


class Watch:
    """The parent's end of the pipe.

    Args:
        fd: Where to read; closed by `close`.

    Attributes:
        work: What the horse works on, as far as it has told.
        silent_s: For how long it has shown no sign of life, in seconds.
    """

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._rest = b""
        self._looked_at = time.monotonic()
        self.work: Work | None = None
        self.silent_s = 0.0

    def listen(self, at_most_s: float) -> None:
        """Read what the horse has written, and wait a moment for it if that is nothing."""
        select.select([self._fd], [], [], at_most_s)
        lines = self._read()
        now = time.monotonic()
        if lines:
            self.silent_s = 0.0
            self.work = Work.from_line(lines[-1])
        else:
            # No more than it listened: that this process stood still is not the horse's fault.
            self.silent_s += min(now - self._looked_at, 2 * at_most_s)
        self._looked_at = now

    def _read(self) -> list[bytes]:
        try:
            found = os.read(self._fd, MOST_BYTES)
        except BlockingIOError:
            return []
        if not found:  # it has ended, or closed what it did not open
            time.sleep(0.01)
            return []
        *lines, self._rest = (self._rest + found).split(b"\n")
        return lines

    def close(self) -> None:
        """Listen no more."""
        os.close(self._fd)
