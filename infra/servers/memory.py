"""What the C library does with memory that is free again.

glibc keeps it for the thread that freed it: up to 64 MiB at a time, in arenas of which there are
eight for each processor. A server that hashes passwords, 19 MiB for each, in one thread or another
soon holds several hundred MiB of nothing. See mallopt(3).
"""

import ctypes
from contextlib import suppress

M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8

APART_BYTES = 128 << 10
"""What is at least so large is given back as soon as it is free. Named, it stays as it is; by
itself it would rise to whatever was freed last."""

ARENAS = 2
"""Python's threads take turns anyway."""


def give_back() -> None:
    """Keep less; where there is no glibc, such as on a Mac, nothing changes."""
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, APART_BYTES)
        library.mallopt(M_ARENA_MAX, ARENAS)
