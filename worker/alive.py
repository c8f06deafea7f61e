"""Signs of life: a file that a worker touches, and `python -S -m worker.alive`, which looks at it.

A container's health check runs twice a minute for as long as the container lives. The command line
takes half a second of a processor to import, so this may import the standard library alone.
"""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir

HEALTHY_S = 180
"""How old a sign of life may be for a container's health check: a worker that waits for Redis to
come back is well, and starting it anew would not help."""

PREFIX = "carryout"
"""What the names of signs of life begin with, whichever queue their workers listen to."""


def file(queue: str) -> Path:
    """What this process touches with every sign of life."""
    return Path(gettempdir()) / f"{PREFIX}-{queue}-{os.getpid()}"


def is_alive(queue: str = "*") -> bool:
    """Whether a worker of a queue, or of any, showed a sign of life on this machine lately."""
    oldest = time.time() - HEALTHY_S
    files = Path(gettempdir()).glob(f"{PREFIX}-{queue}-[0-9]*")
    return any(_touched_at(one) > oldest and _runs(one) for one in files)


def forget_dead(queue: str) -> None:
    """Take away what workers of a queue left behind that were killed."""
    for path in Path(gettempdir()).glob(f"{PREFIX}-{queue}-[0-9]*"):
        if not _runs(path):
            with suppress(OSError):  # another one does the same, or it is somebody else's
                path.unlink()


def _runs(path: Path) -> bool:
    """Whether the process that a file is named after runs: one that was killed left it behind."""
    number = int(path.name.rpartition("-")[2])
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # it is somebody else's
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # where there is no /proc, as on macOS
        return True
    return fields[0] != "Z"  # dead, and its parent has not looked yet


def _touched_at(path: Path) -> float:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return 0  # its worker ended just now
    # In a folder for everybody, what somebody else wrote is no sign of life.
    return found.st_mtime if found.st_uid == os.getuid() else 0


if __name__ == "__main__":
    sys.exit(not is_alive())
