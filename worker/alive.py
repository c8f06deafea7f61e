"""Signs of life: a file that a worker touches, and `python -S -m worker.alive`, which looks at it.

A container's health check runs twice a minute for as long as the container lives. The command line
takes half a second of a processor to import, so this may import the standard library alone.
"""

import sys
import time
from pathlib import Path
from tempfile import gettempdir

HEALTHY_S = 180
"""How old a sign of life may be for a container's health check: a worker that waits for Redis to
come back is well, and starting it anew would not help."""

PREFIX = "carryout-"
"""What the folders of signs of life begin with, one for each queue that this machine works for."""


def folder(name: str) -> Path:
    """Where the signs of life of a queue's workers are; it is made if need be."""
    path = Path(gettempdir()) / f"{PREFIX}{name}"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def is_alive(name: str = "*") -> bool:
    """Whether a worker of a queue, or of any, showed a sign of life on this machine lately."""
    oldest = time.time() - HEALTHY_S
    files = Path(gettempdir()).glob(f"{PREFIX}{name}/[0-9]*")
    return any(_touched_at(file) > oldest for file in files)


def _touched_at(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0  # its worker ended just now


if __name__ == "__main__":
    sys.exit(not is_alive())
