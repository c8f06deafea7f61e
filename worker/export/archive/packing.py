"""Compresses the blocks of an archive in threads, in their order; zlib works without Python's lock.

Hashing and CRCs are a small part of that and stay with the caller, who needs them in order.
"""

import os
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from worker.export.archive.container import deflated
from worker.export.archive.members import Block

THREADS = min(4, os.cpu_count() or 1)
"""More would only wait for the database."""

AHEAD = 4 * THREADS
"""How many blocks may wait: enough to go on compressing while a part is uploaded."""

AHEAD_BYTES = 6 * 1024 * 1024
"""How much may wait in them, for rows are several times as long in some formats."""


def packed(blocks: Iterable[tuple[int, Block]]) -> Generator[tuple[int, Block, bytes]]:
    """Compress blocks that come with the number of their section.

    Must be closed; threads end with it.

    Yields:
        The number, the block, and what it is compressed.
    """
    waiting: deque[tuple[int, Block, Future[bytes]]] = deque()
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="packing")
    size = 0
    try:
        for number, block in blocks:
            waiting.append((number, block, pool.submit(deflated, block.data, last=block.last)))
            size += len(block.data)
            while len(waiting) >= AHEAD or size > AHEAD_BYTES:
                size -= len(waiting[0][1].data)
                yield _next(waiting)
        while waiting:
            yield _next(waiting)
    finally:
        pool.shutdown(cancel_futures=True)


def _next(waiting: deque[tuple[int, Block, Future[bytes]]]) -> tuple[int, Block, bytes]:
    number, block, future = waiting.popleft()
    return number, block, future.result()
