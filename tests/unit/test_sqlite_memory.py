"""Whether SQLite's threads work side by side in a process."""

import sys
from textwrap import dedent

import pytest

from chalicelib.db.engine import Database
from tests.harness.ledgers import make_user, write_posts
from tests.harness.processes import ROOT, output

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems count")

READ = """
    import sys, threading
    from hashlib import sha256

    import worker.__main__
    from chalicelib.db.engine import connect
    from chalicelib.microblog.datasets import POSTS
    from worker.export import pages

    if sys.argv[1] == "late":
        import sqlite3
    pages.FIRST_PAGE_ROWS = pages.MAX_PAGE_ROWS = 7
    source = pages.Source(connect(sys.argv[2]), POSTS, int(sys.argv[3]), 10**9)
    digest, names = sha256(), set()
    for page in source.pages(None):
        digest.update(page.lines)
        names |= {one.name for one in threading.enumerate() if one.name.startswith("pages")}
    print(digest.hexdigest(), *sorted(names))
"""


def read(when: str, url: str, user_id: int) -> list[str]:
    """In a process of its own: the digest of all pages, and the threads that read them."""
    command = [sys.executable, "-c", dedent(READ), when, url, str(user_id)]
    return output(*command, env={"PYTHONPATH": str(ROOT)}).split()


def test_two_threads_where_nobody_counts(database: Database, database_url: str) -> None:
    """A worker tells SQLite before its first use, has two readers, and the pages of one."""
    user_id = make_user(database)
    write_posts(database, user_id, [f"{number} ✓" for number in range(200)])
    in_time, late = (read(when, database_url, user_id) for when in ("in time", "late"))
    assert in_time[1:] == ["pages_0_0", "pages_1_0"]
    assert late[1:] == ["pages_0_0"], "one thread is faster where SQLite counts its memory"
    assert in_time[0] == late[0]
