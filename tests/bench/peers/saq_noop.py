"""SAQ with nothing to do: run as a script, it sends so many jobs."""

import asyncio
import os
import sys
from typing import Any

from saq import Queue

KEPT_S = 3600

queue = Queue.from_url(os.environ["BENCH_BROKER"])


async def noop(_context: dict[str, Any]) -> int:
    """Do nothing."""
    return 1


settings = {"queue": queue, "functions": [noop]}


async def fill(count: int) -> None:
    """Send jobs."""
    await queue.connect()
    for _ in range(count):
        await queue.enqueue("noop", ttl=KEPT_S)
    await queue.disconnect()


if __name__ == "__main__":
    asyncio.run(fill(int(sys.argv[1])))
