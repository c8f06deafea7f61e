"""Processes that are stopped by a signal, so that no test depends on how fast they are."""

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing, suppress

import psutil
import sqlalchemy as sa

from tests.harness.servers import wait_until

MOMENT_S = 0.005
"""For how long processes get on between two looks: too short for a part, on whatever machine."""


def hold(
    find: Callable[[], list[psutil.Process]],
    database_url: str,
    *,
    when: Callable[[], object],
    what: str,
) -> list[psutil.Process]:
    """Stop processes at a moment of their work; return them.

    They get on for a moment at a time: what the test looks at does not change while it looks.

    Args:
        find: The processes, as they are now; none while there are none.
        database_url: Their SQLite; they are not held while they hold its lock.
        when: Whether the moment has come; what it looks at must need none of them.
        what: Its name.
    """
    held: list[psutil.Process] = []

    def look() -> bool:
        held[:] = find()
        for process in held:
            _stop(process)
        if held and when() and _can_be_written(database_url):
            return True
        release(held)
        return False

    wait_until(look, what, within_s=180, every_s=MOMENT_S)
    return held


def release(processes: Iterable[psutil.Process]) -> None:
    """Let processes go on, as far as they are there."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.resume()


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kill processes, as far as they are there."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def ended(process: psutil.Process) -> bool:
    """Whether a process is over."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _stop(process: psutil.Process) -> None:
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
