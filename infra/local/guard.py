"""Ends the stack's children when the launcher could not.

The launcher may be killed with SIGKILL, and neither Linux nor macOS ends its children then. So a
second small process reads from a pipe whose other end only the launcher has: the kernel closes it
when the launcher dies, however it dies. Run as a script, this module is that process.

Every child of the stack leads a session. What it starts stays in that session, even when it leaves
the process group, as RQ's work horse does, or outlives its parent.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterable
from typing import IO

import psutil

GRACE_S = 4.0
"""From SIGTERM to SIGKILL, for each stage; workers hand their task back in this time."""


class Guard:
    """The launcher's side: says which sessions end with the launcher.

    Args:
        keep_open: Descriptors that the guarding process holds for as long as children live.
    """

    def __init__(self, *, keep_open: Iterable[int] = ()) -> None:
        self._keep_open = tuple(keep_open)
        self._line = ""
        self._process = self._start()

    @property
    def pid(self) -> int:
        """The guarding process."""
        return self._process.pid

    def watch(self, *stages: list[int]) -> None:
        """Guard these sessions and no others; call it again and again, it is cheap.

        Args:
            stages: Leaders of sessions; those of one stage end together, before the next.
        """
        line = ";".join(" ".join(map(str, leaders)) for leaders in stages) + "\n"
        if self._process.poll() is not None:
            self._close_pipe()
            self._process = self._start()
        elif line == self._line:
            return
        self._line = line
        with contextlib.suppress(BrokenPipeError):  # it has just died; the next call sees that
            self._pipe.write(line)
            self._pipe.flush()

    def close(self) -> None:
        """End the guarding process; it ends what it still guards."""
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
        return subprocess.Popen(  # this very file  # nosec B603
            [sys.executable, "-I", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C is for the launcher
            pass_fds=self._keep_open,
        )


def guard(lines: Iterable[str]) -> None:
    """Follow the launcher's lines; at their end, end the sessions that the last one names."""
    stages: list[list[int]] = []
    born: dict[int, float | None] = {}
    for line in lines:
        stages = [[int(word) for word in stage.split()] for stage in line.split(";")]
        named = [pid for stage in stages for pid in stage]
        born = {pid: born[pid] if pid in born else _born_at(pid) for pid in named}
    for stage in stages:
        # A child that ended leaves its number to anybody; while its session lives, to nobody.
        leaders = [pid for pid in stage if _born_at(pid) in {born[pid], None}]
        _signal(leaders, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        while members(leaders) and time.monotonic() < deadline:
            time.sleep(0.05)
        kill(leaders)


def _born_at(pid: int) -> float | None:
    """What tells a process from a later one of the same number; None when there is none."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return None


def members(leaders: Collection[int]) -> list[int]:
    """The living processes of the sessions that these processes lead or led."""
    found = []
    for pid in psutil.pids() if leaders else []:
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getsid(pid) in leaders and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def kill(leaders: Collection[int]) -> None:
    """Kill all that is left of these sessions."""
    _signal(members(leaders), signal.SIGKILL)


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


if __name__ == "__main__":
    guard(sys.stdin)
