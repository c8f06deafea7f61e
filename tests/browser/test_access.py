"""Pages for everybody: small screens, keyboards, screen readers, slow lines, hostile neighbours."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Response, expect

from chalicelib.wiring import Wiring
from tests.browser.conftest import Join
from tests.browser.people import LONG_S, Visitor, notice, shoot
from tests.harness import ledgers
from tests.harness.processes import family, release
from tests.harness.stacks import Stack

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text()

HOSTILE = [
    "<script>document.title = 'run'</script><img src=x onerror=\"document.title='run'\">",
    "\u202eright to left, never closed \u2066\u2067\u202b",
    "zero\u200bwidth\u200b\u2060\ufeff" * 50,
    "x" * 10_000,
    "Z\u0351\u036b\u0343\u036a\u0302" * 40,
    "{{ 7 * 7 }} {% raw %} %(name)s ${alert(1)} \u2028\u2029 &lt;b&gt;",
]


def violations(page: Page) -> list[tuple[str, Any]]:
    """What axe-core finds serious or critical, light and dark."""
    found = []
    page.evaluate(AXE)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        result = page.evaluate("axe.run()")
        found += [
            (one["id"], [node["html"] for node in one["nodes"]])
            for one in result["violations"]
            if one["impact"] in {"serious", "critical"}
        ]
    return found


def overflow(page: Page) -> int:
    """By how many pixels a page is wider than its window."""
    root = "document.documentElement"
    return int(page.evaluate(f"{root}.scrollWidth - {root}.clientWidth"))


@pytest.fixture
def root(join: Join, stack: Stack, wiring: Wiring) -> Iterator[Visitor]:
    """An administrator with an export, a failed one, a post, and a task that stays unfinished."""
    person = join()
    person.write("Hello.")
    stack.command("set-admin", person.username, "on")
    ledgers.publish(wiring, ledgers.launch(wiring.database, person.user_id))
    ledgers.fail(wiring.database, ledgers.launch(wiring.database, person.user_id))
    task_id = person.request("example", seconds=LONG_S)

    def begun() -> bool:
        return ledgers.the_task(wiring.database, task_id).percent > 0

    worker = stack.hold(family, "it has begun", when=begun)
    yield person
    release(worker)


def test_no_barriers(root: Visitor, stack: Stack, browser: Browser) -> None:
    """Axe finds nothing serious on any page, and no page is wider than a phone."""
    exports = root.call("GET", "/v1/tasks?name=export_posts")["items"]
    own = [
        "/",
        "/schedules",
        "/account",
        "/admin",
        f"/users/{root.username}",
        "/docs",
        "/exports/nothing",
    ]
    own += [f"/exports/{task['id']}" for task in exports]
    url = "http://127.0.0.1:9/" + "x" * 200
    webhook = root.call("POST", "/v1/webhooks", {"url": url}, 201)
    root.call("POST", f"/v1/webhooks/{webhook['id']}/test", {}, 202)
    own += ["/webhooks", f"/webhooks/{webhook['id']}"]
    root.page.set_viewport_size({"width": 375, "height": 667})
    for path in own:
        page = root.open(path)
        assert (path, violations(page)) == (path, [])
        assert (path, overflow(page)) == (path, 0)
    stranger = browser.new_page(viewport={"width": 375, "height": 667})
    for path in ("/", "/sign-in", "/sign-up", "/forgot", "/admin"):
        stranger.goto(stack.app_url + path)
        assert (path, violations(stranger)) == (path, [])
        assert (path, overflow(stranger)) == (path, 0)
    stranger.context.close()
    root.open("/").click("text=Cancel")


def test_keyboard_reaches_everything(root: Visitor) -> None:
    """Tab goes through every link, field and button; the first leads past the menu."""
    page = root.open("/account")
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
    page = root.open("/account")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    root.open("/").click("text=Cancel")


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
