"""A stack of one's own and a browser, both started once."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, expect, sync_playwright

from chalicelib.wiring import Wiring
from tests.browser import people
from tests.browser.chromium import ARGUMENTS, MISSING, find
from tests.browser.people import Visitor
from tests.harness.stacks import Stack, running

LEAVES_WITHIN_MS = 5000
"""After this a page is left to itself: it takes a little of the machine, no more."""

PATIENCE_MS = 60_000
"""How long anything may take to show on a page of a busy machine, where that is not the point."""

Join = Callable[..., Visitor]


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


@pytest.fixture(scope="session")
def stack(browser: Browser) -> Iterator[Stack]:
    """The stack, with short leases, so that a dead worker's task is soon taken up again."""
    assert browser
    with tempfile.TemporaryDirectory(prefix="carryout-") as folder, running(Path(folder)) as stack:
        yield stack


@pytest.fixture(scope="session")
def wiring(stack: Stack) -> Iterator[Wiring]:
    wired = Wiring.from_environment(stack.facts["env"])
    yield wired
    wired.database.close()
    wired.queue.redis.close()


@pytest.fixture
def join(stack: Stack, browser: Browser) -> Iterator[Join]:
    """Makes somebody with an account and a browser."""
    visitors: list[Visitor] = []

    def make(**options: Any) -> Visitor:
        visitors.append(people.join(stack, browser, **options))
        return visitors[-1]

    yield make
    for page in [page for visitor in visitors for page in visitor.context.pages]:
        with suppress(Error):
            page.goto("about:blank", timeout=LEAVES_WITHIN_MS)


@pytest.fixture
def susan(join: Join) -> Visitor:
    return join()
