"""Huey with nothing to do: run as a script, it sends so many messages."""

import os
import sys
from importlib import import_module

from huey import RedisHuey

huey = RedisHuey("bench", url=os.environ["BENCH_BROKER"])


@huey.task()
def noop() -> int:
    """Do nothing."""
    return 1


if __name__ == "__main__":
    known = import_module("huey_noop")  # the task has the name that the workers know

    for _ in range(int(sys.argv[1])):
        known.noop()
