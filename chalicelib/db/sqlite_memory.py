"""Whether SQLite counts the memory that it uses.

By default it does, under one lock for all threads of a process, and a statement on many rows
allocates for each: two threads then take longer than one. Nobody here asks for the count. It can be
left out only before SQLite is first used, which is when Python's `sqlite3` is imported. See
https://sqlite.org/c3ref/c_config_covering_index_scan.html#sqliteconfigmemstatus.
"""

import sys
from functools import cache
from importlib.util import find_spec

SQLITE_CONFIG_MEMSTATUS = 9
SQLITE_OK = 0


@cache
def is_uncounted() -> bool:
    """Leave the count out if there is time yet; return whether threads work side by side.

    They do not where `sqlite3` was imported before, nor in a Python that has SQLite built in, nor
    on a Mac, whose functions take a varying number of arguments in another way.
    """
    found = find_spec("_sqlite3")
    if "_sqlite3" in sys.modules or sys.platform != "linux" or not found or not found.origin:
        return False
    import ctypes  # noqa: PLC0415 - not on Lambda, which has PostgreSQL

    try:
        library = ctypes.CDLL(found.origin)
        return bool(library.sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0) == SQLITE_OK)
    except (OSError, AttributeError):
        return False
