"""People at their browsers, and what they look at."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from playwright.sync_api import Browser, BrowserContext, Page

from chalicelib.db.models import User
from chalicelib.wiring import Wiring
from tests.harness import ledgers
from tests.harness.people import PASSWORD, Person, Remote
from tests.harness.processes import ROOT
from tests.harness.stacks import Stack
from tests.harness.waiting import wait_until

SCREENS = ROOT / "build" / "screens"
SIZES = {375: 667, 1280: 800}
LONG_S = 60
"""The longest task there is, in seconds; whoever asks for it cancels it."""

BLOCKERS = 10
"""So many of them, one after the other, take longer than a test may."""

_numbers = count(1)


def notice(page: Page, what: str, happened: Callable[[], Any], *, within_s: float = 90) -> None:
    """Wait until something happens on a page, and let the page live meanwhile."""

    def look() -> Any:
        page.wait_for_timeout(50)  # a sleep of ours would stop the page's events
        return happened()

    wait_until(look, what, within_s=within_s)


@contextmanager
def busy(wiring: Wiring) -> Iterator[None]:
    """Keep the one worker busy until the end of the block."""
    database, name = wiring.database, uuid4().hex
    users = [ledgers.make_user(database, f"{name}-{number}") for number in range(BLOCKERS)]
    tasks = [ledgers.launch(database, user, "example", seconds=LONG_S) for user in users]
    wiring.queue.enqueue([(task_id, "example") for task_id in tasks])
    try:
        yield
    finally:
        with database.write() as session:  # their tasks go with them
            session.execute(sa.delete(User).where(User.id.in_(users)))


@dataclass
class Visitor(Person):
    """Somebody with an account and a browser that is signed in.

    Attributes:
        app_url: Where the application is.
        page: The browser's first tab.
    """

    app_url: str = ""
    page: Page = field(init=False)

    @property
    def context(self) -> BrowserContext:
        return self.page.context

    def open(self, path: str, page: Page | None = None) -> Page:
        """Open a page of the application in the first tab, or in another one."""
        page = page or self.page
        page.goto(self.app_url + path)
        return page

    def percent(self, page: Page | None = None) -> int:
        return next(iter(percents(page or self.page)), -1)


def percents(page: Page) -> list[int]:
    """What all progress bars of a page say, at one moment."""
    bars = "bars => bars.map(bar => bar.getAttribute('value'))"
    return [int(value or -1) for value in page.locator("progress").evaluate_all(bars)]


def join(
    stack: Stack, browser: Browser, *, username: str = "", email: str = "", **options: Any
) -> Visitor:
    """Make an account over the API and sign in with the form, in a window with these options."""
    name = username or f"person-{next(_numbers)}"
    app = Remote(stack.app_url)
    visitor = Visitor.sign_up(app, name, email=email, home=stack, app_url=stack.app_url)
    context = browser.new_context(**{"locale": "en-US", "timezone_id": "UTC", **options})
    context.set_default_timeout(60_000)
    visitor.page = context.new_page()
    sign_in(visitor.open("/sign-in"), name)
    return visitor


def sign_in(page: Page, name: str) -> None:
    page.fill("[name=username]", name)
    page.fill("[name=password]", PASSWORD)
    page.click("main button")
    page.wait_for_selector("form[action$='/sign-out']")


def shoot(page: Page, name: str) -> None:
    """Keep what a page looks like: light and dark, on a phone and on a desk."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    before = page.viewport_size
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for width, height in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            page.screenshot(path=SCREENS / f"{name}-{scheme}-{width}.png", full_page=True)
    page.emulate_media(color_scheme="light")
    if before:
        page.set_viewport_size(before)
