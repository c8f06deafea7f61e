"""Ends the stack's children when the launcher could not.

The launcher may be killed with SIGKILL, and neither Linux nor macOS ends its children then. So a
second small process reads from a pipe whose other end only the launcher has: the kernel closes it
when the launcher dies, however it dies. Run as a script, this module is that process; it imports
the standard library only, to be there at once.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import IO

GRACE_S = 4.0
"""From SIGTERM to SIGKILL; workers hand their task back in this time."""


class Guard:
    """The launcher's side: says which process groups end with the launcher.

    Args:
        keep_open: Descriptors that the guarding process holds for as long as children live.
    """

    def __init__(self, *, keep_open: Iterable[int] = ()) -> None:
        self._keep_open = tuple(keep_open)
        self._groups: list[int] = []
        self._process = self._start()

    @property
    def pid(self) -> int:
        """The guarding process."""
        return self._process.pid

    def watch(self, groups: list[int]) -> None:
        """Guard these process groups and no others; call it again and again, it is cheap."""
        if self._process.poll() is not None:
            self._close_pipe()
            self._process = self._start()
        elif groups == self._groups:
            return
        self._groups = list(groups)
        with contextlib.suppress(BrokenPipeError):  # it has just died; the next call sees that
            self._pipe.write(" ".join(map(str, groups)) + "\n")
            self._pipe.flush()

    def close(self) -> None:
        """End the guarding process; it ends the groups that it still guards."""
        self._close_pipe()
        self._process.wait()

    @property
    def _pipe(self) -> IO[str]:
        if self._process.stdin is None:
            raise ValueError("the guard was started without a pipe")
        return self._process.stdin

    def _close_pipe(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._pipe.close()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-I", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C is for the launcher
            pass_fds=self._keep_open,
        )


def guard(lines: Iterable[str]) -> None:
    """Follow the launcher's lines, each the groups to guard; at the end of them, end the groups."""
    groups: list[int] = []
    for line in lines:
        groups = [int(group) for group in line.split()]
    groups = _signal(groups, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while groups and time.monotonic() < deadline:
        time.sleep(0.05)
        groups = _signal(groups, 0)
    _signal(groups, signal.SIGKILL)


def _signal(groups: list[int], number: int) -> list[int]:
    """Signal process groups and return those that still exist."""
    alive = []
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
            alive.append(group)
    return alive


if __name__ == "__main__":
    guard(sys.stdin)
