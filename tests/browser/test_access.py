"""Pages for everybody: small screens, keyboards, screen readers, slow lines, hostile neighbours."""

from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa
from playwright.sync_api import Browser, Page, Response, expect

from chalicelib.db.models import User
from chalicelib.wiring import Wiring
from tests.browser.conftest import Join, Stack
from tests.browser.people import LONG_S, Person, notice, shoot
from tests.harness import ledgers

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
def root(join: Join, wiring: Wiring) -> Person:
    """An administrator with an export, a failed one, a post, and a task that waits."""
    person = join()
    person.ask("POST", "/v1/posts", {"body": "Hello."})
    with wiring.database.write() as session:
        named = User.username == person.name
        session.execute(sa.update(User).where(named).values(is_admin=True))
        user_id = session.scalar(sa.select(User.id).where(named)) or 0
    ledgers.publish(wiring, ledgers.launch(wiring.database, user_id))
    ledgers.fail(wiring.database, ledgers.launch(wiring.database, user_id))
    person.ask("POST", "/v1/tasks", {"name": "example", "params": {"seconds": LONG_S}})
    return person


def test_no_barriers(root: Person, stack: Stack, browser: Browser) -> None:
    """Axe finds nothing serious on any page, and no page is wider than a phone."""
    exports = root.ask("GET", "/v1/tasks?name=export_posts")["items"]
    own = ["/", "/account", "/admin", f"/users/{root.name}", "/docs", "/exports/nothing"]
    own += [f"/exports/{task['id']}" for task in exports]
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


def test_keyboard_reaches_everything(root: Person) -> None:
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


def test_focus_outlives_news(susan: Person) -> None:
    """While a bar advances, who stands on its button goes on standing there."""
    susan.ask("POST", "/v1/tasks", {"name": "example", "params": {"seconds": 60}})
    page = susan.open("/account")
    button = page.locator(".progress button")
    button.focus()
    before = susan.percent()
    expect(page.locator("progress")).not_to_have_attribute("value", str(before))
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("progressbar")).to_have_count(0)


def test_progress_is_announced(susan: Person) -> None:
    """A screen reader finds a named progress bar, and hears of steps, not of every percent."""
    page = susan.open("/")
    susan.ask("POST", "/v1/tasks", {"name": "example", "params": {"seconds": 60}})
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


def test_hostile_posts(susan: Person) -> None:
    """What others wrote neither runs nor breaks the page, on a phone or on a desk."""
    for body in HOSTILE:
        susan.ask("POST", "/v1/posts", {"body": body})
    errors: list[str] = []
    susan.page.on("pageerror", lambda error: errors.append(str(error)))
    for width in (375, 1280):
        susan.page.set_viewport_size({"width": width, "height": 700})
        page = susan.open(f"/users/{susan.name}")
        assert page.locator("article").count() == len(HOSTILE)
        assert overflow(page) == 0
        assert page.title() == f"{susan.name} · Carryout"
        assert page.locator("article script, article img").count() == 0
        for button in page.locator("article button").all():
            assert button.inner_text() == "Delete"
    assert errors == []
    shown = page.locator("article .body").all_inner_texts()
    assert HOSTILE[0] in shown
    assert HOSTILE[3] in shown
    shoot(page, "hostile")


def test_long_names(stack: Stack, browser: Browser) -> None:
    """A name and an address as long as they may be fit on a phone."""
    name = "W" * 64
    email = "e" * 64 + "@" + ".".join(["d" * 59] * 3) + ".example"
    body = {"username": name, "email": email, "password": "correct horse"}
    requests.post(f"{stack.app_url}/v1/users", json=body, timeout=60).raise_for_status()
    page = browser.new_page(viewport={"width": 375, "height": 667})
    page.goto(f"{stack.app_url}/sign-in")
    page.fill("[name=username]", name)
    page.fill("[name=password]", "correct horse")
    page.click("main button")
    page.wait_for_selector("form[action$='/sign-out']")
    page.click("main button")
    expect(page.locator("dl")).to_contain_text("sent ")
    for path in (None, "/", "/account", f"/users/{name}"):
        if path:
            page.goto(stack.app_url + path)
        assert overflow(page) == 0
    shoot(page, "long-name")
    page.context.close()


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
    print(f"first page: {total / 1000:.1f} kB in {len(responses)} answers")  # noqa: T201
    page.context.close()
