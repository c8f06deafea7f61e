"""A process of the stack, started again whenever it dies."""

import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from infra.local.guard import kill

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
HEALTHY_S = 10.0
"""A child that lived this long has its earlier deaths forgiven."""

TAIL_LINES = 20
"""How much of a child's output is kept to explain its death."""


class Backoff:
    """The pauses between the lives of a child: none, then doubling up to 5 s."""

    def __init__(self) -> None:
        self._next_s = 0.0

    def pause_s(self, *, lived_s: float) -> float:
        """How long to wait after a life of this many seconds."""
        pause_s = 0.0 if lived_s >= HEALTHY_S else self._next_s
        self._next_s = min(max(pause_s * 2, FIRST_PAUSE_S), LONGEST_PAUSE_S)
        return pause_s


class Child:
    """One process in a session of its own.

    Args:
        name: What the person at the terminal calls it; its output is passed on under this name.
        command: The program and its arguments.
        environment: The whole environment.
        folder: Where it runs.
        say: Takes the lines that it prints and what happens to it.
        quiet: Its lines are told only when it dies.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        say: Callable[[str], None],
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._command = command
        self._environment = environment
        self._folder = folder
        self._say = say
        self._quiet = quiet
        self._clock = clock
        self._backoff = Backoff()
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._process: subprocess.Popen[str] | None = None
        self._pump = threading.Thread()
        self._started_at = 0.0
        self._due_at: float | None = None

    @property
    def pid(self) -> int | None:
        """The process, which leads a session; the last one between two lives."""
        return self._process.pid if self._process else None

    @property
    def tail(self) -> str:
        """The last lines of its output."""
        return "\n".join(f"  {line}" for line in list(self._tail))

    def start(self) -> None:
        """Start the process.

        Raises:
            OSError: The program cannot be run.
        """
        self._due_at = None
        self._started_at = self._clock()
        self._process = subprocess.Popen(  # our own program  # nosec B603
            self._command,
            env=self._environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C is for the launcher, which stops the rest in order
        )
        self._pump = threading.Thread(
            target=self._pass_on, args=(self._process.stdout,), daemon=True
        )
        self._pump.start()

    def death(self) -> str | None:
        """How it died, or None while it runs."""
        if self._process is None or (status := self._process.poll()) is None:
            return None
        self._pump.join(0.5)  # its last words; a child of its own may hold the pipe for longer
        if status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        return f"ended with status {status}"

    def revive(self) -> None:
        """Start it again if it died and its pause is over; call it every moment."""
        if (death := self.death()) is None:
            return
        now = self._clock()
        if self._due_at is None:
            pause_s = self._backoff.pause_s(lived_s=now - self._started_at)
            self._due_at = now + pause_s
            when = f"in {pause_s:g} s" if pause_s else "at once"
            self._say(f"{self.name} {death}; starting it again {when}")
            if self._quiet:
                self._say(self.tail)
        if now >= self._due_at:
            self.start()

    def terminate(self) -> None:
        """Ask it to stop."""
        if self._process is not None:
            self._process.terminate()

    def wait(self, timeout_s: float) -> None:
        """Wait for its end; then, or after the timeout, kill all that is left of its session."""
        if self._process is None:
            return
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._say(f"{self.name} does not stop; killing it")
        kill([self._process.pid])
        self._process.wait()
        self._pump.join(0.5)

    def _pass_on(self, output: IO[str]) -> None:
        with output:
            for line in output:
                self._tail.append(line.rstrip())
                if not self._quiet:
                    self._say(f"{self.name} | {line.rstrip()}")
