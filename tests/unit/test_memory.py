"""What a server keeps of the memory that its threads have used."""

import sys
from textwrap import dedent

import pytest

from tests.harness.processes import ROOT, output

HASH_IN_THREADS = """
    import sys, threading
    import psutil
    from chalicelib.accounts.passwords import HASHER
    from infra.servers.memory import give_back

    if sys.argv[1] == "give back":
        give_back()
    HASHER.hash("warm")
    together, turns = threading.Barrier(16), threading.Lock()

    def hash_one() -> None:
        together.wait()
        with turns:
            HASHER.hash("x")
        together.wait()

    before = psutil.Process().memory_info().rss
    threads = [threading.Thread(target=hash_one) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print((psutil.Process().memory_info().rss - before) >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have another C library")
def test_hashes_leave_nothing_behind() -> None:
    """Each password takes 19 MiB, and whichever threads hash them, it is given back."""

    def kept_mib(how: str) -> int:
        code = dedent(HASH_IN_THREADS)
        return int(output(sys.executable, "-c", code, how, env={"PYTHONPATH": str(ROOT)}))

    assert kept_mib("give back") < 20
    assert kept_mib("as it comes") > 20, "the C library does so by itself by now"
