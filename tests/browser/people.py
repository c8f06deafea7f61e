"""People at their browsers, and what they look at."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import requests
from playwright.sync_api import Browser, BrowserContext, Page

from tests.harness.servers import wait_until

PASSWORD = "correct horse"
SCREENS = Path(__file__).parents[2] / "build" / "screens"
SIZES = {375: 667, 1280: 800}
LONG_S = 60
"""A task of so many seconds goes on for as long as a test may take; who asks for it cancels it."""

_numbers = count(1)


def notice(page: Page, what: str, happened: Callable[[], Any], *, within_s: float = 90) -> None:
    """Wait until something happens on a page, and let the page live meanwhile."""

    def look() -> Any:
        page.wait_for_timeout(50)  # a sleep of ours would stop the page's events
        return happened()

    wait_until(look, what, within_s=within_s)


@dataclass
class Person:
    """Somebody with an account and a browser that is signed in.

    Attributes:
        name: The username.
        token: For the API, beside the browser's own session.
        app_url: Where the application is.
        context: The browser's cookies.
        page: Its first tab.
    """

    name: str
    token: str
    app_url: str
    context: BrowserContext
    page: Page

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Send a request to the API and return the JSON of the answer."""
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = requests.request(
            method, self.app_url + path, json=body, headers=headers, timeout=60
        )
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def open(self, path: str, page: Page | None = None) -> Page:
        """Open a page of the application in the first tab, or in another one."""
        page = page or self.page
        page.goto(self.app_url + path)
        return page

    def percent(self, page: Page | None = None) -> int:
        """What the first progress bar says."""
        value = (page or self.page).locator("progress").first.get_attribute("value")
        return int(value or -1)


def percents(page: Page) -> list[int]:
    """What all progress bars of a page say, at one moment."""
    return [
        int(value or -1)
        for value in page.locator("progress").evaluate_all(
            "bars => bars.map(bar => bar.getAttribute('value'))"
        )
    ]


def sign_up(app_url: str, browser: Browser, *, language: str = "en", **options: Any) -> Person:
    """Make an account over the API and sign in with the form."""
    name = f"person-{next(_numbers)}"
    fields = {"username": name, "password": PASSWORD}
    body = {**fields, "email": f"{name}@example.com", "language": language}
    requests.post(f"{app_url}/v1/users", json=body, timeout=60).raise_for_status()
    token = requests.post(f"{app_url}/v1/tokens", json=fields, timeout=60).json()["token"]
    context = browser.new_context(**{"locale": "en-US", "timezone_id": "UTC", **options})
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(f"{app_url}/sign-in")
    page.fill("[name=username]", name)
    page.fill("[name=password]", PASSWORD)
    page.click("main button")
    page.wait_for_selector("form[action$='/sign-out']")
    return Person(name, token, app_url, context, page)


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
