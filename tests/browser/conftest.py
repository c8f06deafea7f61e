"""A stack of one's own and a browser, both started once."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, Error, expect, sync_playwright

from chalicelib.wiring import Wiring
from infra.local.plan import KNOWN
from tests.browser.chromium import ARGUMENTS, MISSING, find
from tests.browser.people import Person, sign_up
from tests.harness.servers import wait_until

ROOT = Path(__file__).parents[2]
LEAVES_WITHIN_MS = 5000
"""After this a page is left to itself: it takes a little of the machine, no more."""

PATIENCE_MS = 60_000
"""How long anything may take to show on a page of a busy machine, where that is not the point."""

Join = Callable[..., Person]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium without a window; where there is none the tests are left out."""
    with sync_playwright() as playwright:
        path = find(playwright)
        if path is None:
            if os.environ.get("BROWSER_TESTS") == "required":
                pytest.exit(MISSING, returncode=1)
            pytest.skip(MISSING)
        expect.set_options(timeout=PATIENCE_MS)
        launched = playwright.chromium.launch(
            executable_path=path, args=ARGUMENTS, timeout=PATIENCE_MS
        )
        yield launched
        # Leaving the block ends Chromium. Closing it, or one of its contexts, asks it first, and
        # waits without a limit for a renderer that hangs.


@dataclass(frozen=True)
class Stack:
    """The embedded stack, as `make run` starts it.

    Attributes:
        file: Its `stack.json`.
    """

    file: Path

    @property
    def facts(self) -> dict[str, Any]:
        """What the file says."""
        content: dict[str, Any] = json.loads(self.file.read_text())
        return content

    @property
    def app_url(self) -> str:
        """Where the application is."""
        return str(self.facts["app_url"])

    def worker(self) -> list[psutil.Process]:
        """The one worker, and its work horses."""
        (pid,) = self.facts["pids"]["workers"]
        worker = psutil.Process(pid)
        return [worker, *worker.children(recursive=True)]


@pytest.fixture(scope="session")
def stack(browser: Browser) -> Iterator[Stack]:
    """The stack, with short leases, so that a dead worker's task is soon taken up again."""
    assert browser
    folder = Path(tempfile.mkdtemp(prefix="carryout-"))
    clean = {name: value for name, value in os.environ.items() if name not in KNOWN}
    quick = {"PORT": "0", "DATA_DIR": str(folder), "LEASE_S": "3", "SWEEP_INTERVAL_S": "1"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.local", "run"],
            cwd=ROOT,
            env={**clean, **quick},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    file = folder / "stack.json"
    wait_until(lambda: file.exists() or process.poll() is not None, "the stack")
    assert file.exists(), (folder / "log").read_text()
    yield Stack(file)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def wiring(stack: Stack) -> Iterator[Wiring]:
    """Clients on the stack's servers."""
    facts = stack.facts
    # Credentials and region alone: what else the tests of this run do goes to other endpoints.
    own = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"}
    os.environ |= {name: value for name, value in facts["env"].items() if name in own}
    wired = Wiring.from_environment(facts["env"])
    yield wired
    wired.database.close()
    wired.queue.redis.close()


@pytest.fixture
def join(stack: Stack, browser: Browser) -> Iterator[Join]:
    """Makes somebody with an account and a browser."""
    people: list[Person] = []

    def make(**options: Any) -> Person:
        people.append(sign_up(stack.app_url, browser, **options))
        return people[-1]

    yield make
    for page in [page for person in people for page in person.context.pages]:
        with suppress(Error):
            page.goto("about:blank", timeout=LEAVES_WITHIN_MS)


@pytest.fixture
def susan(join: Join) -> Person:
    """Somebody."""
    return join()
