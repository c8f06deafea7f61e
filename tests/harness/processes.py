"""Processes of the tests' own: how they start, stand still and end."""

import atexit
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from infra.local.guard import Guard
from tests.harness.waiting import wait_until

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
WORKER = (sys.executable, "-m", "worker")
LAUNCHER = (sys.executable, "-m", "infra.local")

MOMENT_S = 0.005
"""For how long processes get on between two looks: too short for a part, on whatever machine."""

_lock = threading.Lock()
_started: list[psutil.Popen] = []


def start(
    command: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    folder: Path = ROOT,
    **options: Any,
) -> psutil.Popen:
    """Start a process that ends when this one does, however that ends.

    Args:
        command: The program and its arguments.
        log: A file that gets what it prints, at its end.
        env: All variables that it has; None for those of this process.
        folder: Where it runs.
        options: More options of `subprocess.Popen`.
    """
    with log.open("ab") as output:
        process = psutil.Popen(
            list(map(str, command)),
            cwd=folder,
            env=env,
            stderr=output,
            start_new_session=True,
            **{"stdout": output, **options},
        )
    with _lock:
        _started[:] = [one for one in [*_started, process] if one.poll() is None]
        _guard().watch([one.pid for one in _started])
    return process


@cache
def _guard() -> Guard:
    guard = Guard()
    atexit.register(guard.close)
    return guard


@contextmanager
def worker(environment: Mapping[str, str], *, log: Path) -> Iterator[psutil.Popen]:
    """A worker with these settings for the block, unless the block has it end; it ends well."""
    process = start([*WORKER, "run"], log=log, env={**os.environ, **environment})
    try:
        yield process
    finally:
        status = stop(process)
    assert status == 0, log.read_text()


def stop(process: psutil.Popen, number: int = signal.SIGTERM, *, within_s: float = 60) -> int:
    """End a process, kindly at first; return its status."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)
    try:
        return int(process.wait(within_s))
    except psutil.TimeoutExpired:
        kill([process])
        return int(process.wait())


def run(*command: str | Path, given: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, from the project's folder unless told otherwise."""
    return subprocess.run(
        list(map(str, command)),
        input=given,
        capture_output=True,
        text=True,
        check=False,
        **{"cwd": ROOT, "timeout": 240, **options},
    )


def output(*command: str | Path, **options: Any) -> str:
    """Run a program that must succeed; return what it printed."""
    done = run(*command, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def family(process: psutil.Process) -> list[psutil.Process]:
    """A process and all that it started, and what those did; none when it is gone."""
    with suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []


def work_horses(worker: psutil.Process) -> list[psutil.Process]:
    """The processes of a worker that work on jobs: its children in a process group of their own."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in worker.children():
            with suppress(ProcessLookupError):  # it ends while one looks
                if os.getpgid(child.pid) == child.pid:
                    found.append(child)
    return found


def send(number: int, processes: Iterable[psutil.Process]) -> int:
    """Signal processes, as far as they are there; return how many were."""
    count = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
            count += 1
    return count


def release(processes: Iterable[psutil.Process]) -> None:
    """Let processes go on that stand still."""
    send(signal.SIGCONT, processes)


def kill(processes: Iterable[psutil.Process]) -> None:
    send(signal.SIGKILL, processes)


def ended(process: psutil.Process | int) -> bool:
    """Whether a process is over; one that nobody has reaped yet is."""
    try:
        process = psutil.Process(process) if isinstance(process, int) else process
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def hold(
    find: Callable[[], list[psutil.Process]],
    database_url: str,
    *,
    when: Callable[[], object],
    what: str,
) -> list[psutil.Process]:
    """Stop processes at a moment of their work, so that no test depends on how fast they are.

    They get on for a moment at a time: what the test looks at does not change while it looks.

    Args:
        find: The processes, as they are now; none while there are none.
        database_url: Their SQLite; they are not held while they hold its lock.
        when: Whether the moment has come; what it looks at must need none of them.
        what: Its name.

    Returns:
        The processes, which stand still.
    """

    def look() -> list[psutil.Process]:
        held = find()
        for process in held:
            _stand_still(process)
        if held and when() and _can_be_written(database_url):
            return held
        release(held)
        return []

    return wait_until(look, what, within_s=180, every_s=MOMENT_S)


def _stand_still(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.suspend()
        wait_until(
            lambda: ended(process) or process.status() == psutil.STATUS_STOPPED,
            "it stands still",
            every_s=MOMENT_S,
        )


def _can_be_written(database_url: str) -> bool:
    path = sa.make_url(database_url).database
    assert path is not None
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        connection.execute("ROLLBACK")
    return True
