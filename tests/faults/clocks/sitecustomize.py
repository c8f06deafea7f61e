"""On PYTHONPATH, puts the clocks of workers off: the first one's ahead, the next one's behind.

`CLOCKS_OFF_S` says by how many seconds, `CLOCKS_OFF_MARK` names the file that the first one makes.
All other programs keep the time.
"""

import datetime as dt
import os
import sys
import time
from pathlib import Path

RealDatetime = dt.datetime

DECLARING = ("worker.importing",)
"""Modules that read times out of files, and never ask for the present."""


class IsDatetime(type(RealDatetime)):  # type: ignore[misc]
    """Lets every datetime pass for one of `OffDatetime`'s."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, RealDatetime)


class OffDatetime(RealDatetime, metaclass=IsDatetime):
    """`datetime.datetime`, but for the present."""

    off = dt.timedelta(0)

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> RealDatetime:  # type: ignore[override]
        """The time, off by so much."""
        return RealDatetime.now(tz) + cls.off

    @classmethod
    def utcnow(cls) -> RealDatetime:  # type: ignore[override]
        """The time, off by so much, without its zone."""
        return cls.now(dt.UTC).replace(tzinfo=None)


class OffModule(type(dt)):  # type: ignore[misc]
    """The module `datetime`, for all but those who declare a type by its class."""

    @property
    def datetime(self) -> type[RealDatetime]:
        """The class that a module gets; msgspec takes none but the real one for a field."""
        asks = sys._getframe(1).f_globals.get("__name__", "")
        return RealDatetime if asks.startswith(DECLARING) else OffDatetime


def shift_clock(off_s: int) -> None:
    """Change this process's idea of the present."""
    real_time = time.time
    time.time = lambda: real_time() + off_s
    OffDatetime.off = dt.timedelta(seconds=off_s)
    dt.__class__ = OffModule
    sys.stdout.write(f"clock is off by {off_s} s\n")


def is_first() -> bool:
    """Whether no worker of this launcher has asked before."""
    try:
        Path(os.environ["CLOCKS_OFF_MARK"]).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


if sys.orig_argv[-3:] == ["-m", "worker", "run"]:
    seconds = int(os.environ["CLOCKS_OFF_S"])
    shift_clock(seconds if is_first() else -seconds)
