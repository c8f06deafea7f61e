"""What every page looks like, for people to look at: build/screens/all has the pictures."""

import os
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from chalicelib.values.languages import LANGUAGES
from chalicelib.wiring import Wiring
from tests.browser import places
from tests.browser.conftest import Join
from tests.browser.people import SCREENS, Visitor
from tests.browser.test_access import overflow
from tests.harness.stacks import Stack

WIDTHS = (375, 768, 1280)
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
HALF = 640
"""What a window of 1280 pixels has room for when somebody doubles the size of everything."""

PAPER: ViewportSize = {"width": 718, "height": 1000}
"""A4 between its margins."""

NARROWEST = 320
"""What WCAG 2.2 asks of a page without scrolling sideways (1.4.10)."""


@pytest.mark.skipif(
    os.environ.get("SCREENS") != "on", reason="make browser takes them: they cost a minute or two"
)
def test_every_page(join: Join, stack: Stack, wiring: Wiring, browser: Browser) -> None:
    """A picture of each in three widths, both themes and three languages; none is too wide."""
    root = join(username="W" * 40)
    own = places.fill(root, stack, wiring)
    for code in LANGUAGES:
        places.speak(wiring, root, code)
        stranger = browser.new_page(locale=code)
        looks = [(root.page, *look) for look in own.items()]
        looks += [(stranger, *look) for look in places.OF_NOBODY.items()]
        for page, name, path in looks:
            page.goto(stack.app_url + path)
            _picture(page, f"{name}-{code}")
        stranger.context.close()


def _picture(page: Page, name: str) -> None:
    for width in (NARROWEST, HALF, *WIDTHS):
        page.set_viewport_size({"width": width, "height": 800})
        assert (name, width, overflow(page)) == (name, width, 0)
    for theme in THEMES:
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            page.screenshot(
                path=SCREENS / "all" / f"{name}-{theme}-{width}.png",
                full_page="docs" not in name,  # which is as long as forty pages
            )


def test_print(susan: Visitor) -> None:
    """On paper there is no button and no menu, and what is to be read is black on white."""
    susan.write(*places.POSTS)
    colours = "({color, backgroundColor}) => [color, backgroundColor]"
    for name, path in (("home", "/"), ("profile", f"/users/{susan.username}"), ("docs", "/docs")):
        page = susan.open(path)
        page.emulate_media(media="print", color_scheme="dark")
        page.set_viewport_size(PAPER)
        assert page.locator("button:visible, nav .links:visible, footer:visible").count() == 0
        inked = page.evaluate(f"({colours})(getComputedStyle(document.body))")
        assert inked == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
        cut = "all => all.filter(one => one.scrollWidth > one.clientWidth).length"
        assert page.locator("pre").evaluate_all(cut) == 0
        SCREENS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENS / f"{name}-print.png")
    closed = page.locator("#create_export pre").first
    expect(closed).to_be_visible()
    page.emulate_media(media="screen")
    expect(closed).to_be_hidden()
