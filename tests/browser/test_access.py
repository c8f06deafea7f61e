"""Pages for everybody: small screens, keyboards, screen readers, slow lines, hostile neighbours."""

import re
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, Page, Request, Response, ViewportSize, expect

from app import app
from chalicelib.wiring import Wiring
from tests.browser import places
from tests.browser.conftest import Join
from tests.browser.people import Visitor, notice, shoot
from tests.harness.stacks import Stack

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text()

THEMES: tuple[tuple[Literal["light", "dark"], list[str] | None], ...] = (
    ("light", None),
    ("dark", ["color-contrast", "link-in-text-block"]),
)
"""Both themes, and by which of axe's rules: None for all of them."""

PHONE: ViewportSize = {"width": 375, "height": 667}

MOST_BYTES = 80_000
"""What somebody who was never here loads at most before a page is there."""

MOST_BYTES_OF_DOCS = 210_000
"""The reference is one page, to be searched as a whole."""

NO_PAGES = {"/static/{name}", "/.well-known/security.txt", "/imports/{import_id}/uploaded"}
"""What is no page; the last one is where a bucket sends a browser back to, and leads to a page."""

HOSTILE = [
    "<script>document.title = 'run'</script><img src=x onerror=\"document.title='run'\">",
    "\u202eright to left, never closed \u2066\u2067\u202b",
    "zero\u200bwidth\u200b\u2060\ufeff" * 50,
    "x" * 10_000,
    "Z\u0351\u036b\u0343\u036a\u0302" * 40,
    "{{ 7 * 7 }} {% raw %} %(name)s ${alert(1)} \u2028\u2029 &lt;b&gt;",
]


def violations(page: Page) -> list[tuple[str, Any]]:
    """What axe-core finds: everything once, and what depends on colours in the dark, too."""
    found = []
    page.evaluate(AXE)
    for scheme, only in THEMES:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        result = page.evaluate("only => axe.run(only ? {runOnly: only} : {})", only)
        found += [
            (one["id"], [node["html"] for node in one["nodes"]]) for one in result["violations"]
        ]
    return found


def overflow(page: Page) -> int:
    """By how many pixels a page is wider than its window."""
    root = "document.documentElement"
    return int(page.evaluate(f"{root}.scrollWidth - {root}.clientWidth"))


def weigh(page: Page, address: str) -> int:
    """Open a page as somebody who was never here; return how many bytes came until it was there."""
    fresh = page.context.new_cdp_session(page)
    fresh.send("Network.setCacheDisabled", {"cacheDisabled": True})
    finished: list[Request] = []

    def note(request: Request) -> None:
        finished.append(request)

    page.on("requestfinished", note)
    page.goto(address)
    page.remove_listener("requestfinished", note)
    fresh.detach()
    sizes = [one.sizes() for one in finished]
    return sum(size["responseBodySize"] + size["responseHeadersSize"] for size in sizes)


def test_no_barriers(join: Join, stack: Stack, wiring: Wiring, browser: Browser) -> None:
    """On every page axe finds nothing, and it is light, and no wider than a phone."""
    root = join(viewport=PHONE)
    own = places.fill(root, stack, wiring)
    seen = [*own.values(), *places.OF_NOBODY.values()]
    for page in [page for page in app.pages if page.method == "GET"]:
        pattern = re.sub(r"{\w+}", "[^/]+", page.path)
        is_seen = any(re.fullmatch(pattern, one.partition("?")[0]) for one in seen)
        assert is_seen or page.path in NO_PAGES, page.path
    stranger = browser.new_page(viewport=PHONE)
    looks = [(root.page, path) for path in own.values()]
    looks += [(stranger, path) for path in places.OF_NOBODY.values()]
    for shown, path in looks:
        most = MOST_BYTES_OF_DOCS if path == "/docs" else MOST_BYTES
        heavy = max(0, weigh(shown, stack.app_url + path) - most)
        assert (path, violations(shown), overflow(shown), heavy) == (path, [], 0, 0)


def test_keyboard_reaches_everything(susan: Visitor) -> None:
    """Tab goes through every link, field and button; the first leads past the menu."""
    places.later(susan, "example", seconds=1)  # with a button of its own, and nothing changes
    page = susan.open("/account")
    wanted = page.locator("a[href], button, select, input:not([type=hidden]):not([hidden])").count()
    reached = set()
    for number in range(wanted):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)")
        )
        if number == 0:
            assert page.evaluate("document.activeElement.className") == "skip"
            shoot(page, "keyboard")
    assert len(reached) == wanted
    page = susan.open("/account")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    susan.open("/").click("text=Cancel")


def test_focus_outlives_news(susan: Visitor) -> None:
    """While a bar advances, who stands on its button goes on standing there."""
    susan.request("example", seconds=60)
    page = susan.open("/account")
    button = page.locator(".progress button")
    button.focus()
    before = susan.percent()
    expect(page.locator("progress")).not_to_have_attribute("value", str(before))
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("progressbar")).to_have_count(0)


def test_progress_is_announced(susan: Visitor) -> None:
    """A screen reader finds a named progress bar, and hears of steps, not of every percent."""
    page = susan.open("/")
    susan.request("example", seconds=60)
    bar = page.get_by_role("progressbar", name="Counting the seconds")
    expect(bar).to_be_visible()
    heard: set[str] = set()

    def listen() -> bool:
        percent = susan.percent()
        heard.add(page.locator("[role=status][aria-live=polite]").inner_text())
        return percent > 11

    notice(page, "more than a step is done", listen)
    page.click("text=Cancel")
    steps = {one.removeprefix("Counting the seconds: ") for one in heard if one.endswith("%")}
    assert steps - {"0%"}
    assert [one for one in steps if not one.endswith("0%")] == []


def test_hostile_posts(susan: Visitor) -> None:
    """What others wrote neither runs nor breaks the page, on a phone or on a desk."""
    for body in HOSTILE:
        susan.write(body)
    errors: list[str] = []
    susan.page.on("pageerror", lambda error: errors.append(str(error)))
    for width in (375, 1280):
        susan.page.set_viewport_size({"width": width, "height": 700})
        page = susan.open(f"/users/{susan.username}")
        assert page.locator("article").count() == len(HOSTILE)
        assert overflow(page) == 0
        assert page.title() == f"{susan.username} · Carryout"
        assert page.locator("article script, article img").count() == 0
        for button in page.locator("article button").all():
            assert button.inner_text() == "Delete"
    assert errors == []
    shown = page.locator("article .body").all_inner_texts()
    assert HOSTILE[0] in shown
    assert HOSTILE[3] in shown
    shoot(page, "hostile")


def test_long_names(join: Join) -> None:
    """A name and an address as long as they may be fit on a phone."""
    email = "e" * 64 + "@" + ".".join(["d" * 59] * 3) + ".example"
    viewport = {"width": 375, "height": 667}
    somebody = join(username="W" * 64, email=email, viewport=viewport)
    page = somebody.page
    page.click("main button")
    expect(page.locator("dl")).to_contain_text("sent ")
    assert overflow(page) == 0
    for path in ("/", "/schedules", "/account", f"/users/{somebody.username}"):
        assert overflow(somebody.open(path)) == 0
    shoot(page, "long-name")


def test_first_page_is_light(stack: Stack, browser: Browser) -> None:
    """Under 60 kB with all that it loads, from this host alone, and nothing kept but assets."""
    page = browser.new_page()
    responses: list[Any] = []

    def keep(response: Response) -> None:
        responses.append(response)

    page.on("response", keep)
    page.goto(stack.app_url, wait_until="networkidle")
    sizes = [one.request.sizes() for one in responses]
    total = sum(size["responseBodySize"] + size["responseHeadersSize"] for size in sizes)
    assert len(responses) >= 4
    assert total < 60_000
    assert {one.url.startswith(f"{stack.app_url}/") for one in responses} == {True}
    for one in responses:
        kept = "public, max-age=31536000, immutable" if "/static/" in one.url else "no-store"
        assert one.headers["cache-control"] == kept
    page.context.close()
