"""Pages that stay true while they are open."""

import psutil
import sqlalchemy as sa
from playwright.sync_api import Page, expect

from chalicelib.db.models import Task
from chalicelib.wiring import Wiring
from tests.browser.conftest import Join
from tests.browser.people import LONG_S, Visitor, notice, percents, shoot
from tests.harness.processes import family, kill, release
from tests.harness.seeds import make_posts
from tests.harness.stacks import Stack

MANY = 500_000
"""An export of so many posts has many parts."""

COUNT_RESTS = """
    const start = setTimeout;
    window.rests = 0;
    window.setTimeout = (then, ms) => {
      if (ms === 60_000) window.rests += 1;
      return start(then, ms);
    };
"""
"""Lets a page tell how often it has begun to wait for a minute."""


def hold_in_the_middle(stack: Stack, wiring: Wiring, person: Visitor) -> list[psutil.Process]:
    """Stop the worker and its horse in the middle of somebody's export; return them.

    The ledger knows when it is; a page knows later, when the export may be over.
    """
    task = sa.select(Task).where(Task.user_id == person.user_id)

    def begun() -> bool:
        with wiring.database.read() as session:
            found = session.scalar(task)
        assert found is None or found.status in {"queued", "running"}, found.status
        return found is not None and found.percent > 0

    return stack.hold(family, "it has begun", when=begun)


def done(page: Page) -> bool:
    """Whether an export's page offers the file."""
    return page.locator("text=Download posts.json").count() == 1


def test_two_tabs_agree(susan: Visitor) -> None:
    """What one tab starts the other one shows, and what it cancels is gone from both."""
    first = susan.open("/account")
    second = susan.open("/", susan.context.new_page())
    susan.request("example", seconds=60)
    for page in (first, second):
        expect(page.get_by_role("progressbar")).to_be_visible()
    notice(first, "progress", lambda: susan.percent(first) > 1 and susan.percent(second) > 1)
    notice(first, "they agree", lambda: abs(susan.percent(first) - susan.percent(second)) <= 2)
    shoot(second, "task-running")
    first.click("text=Cancel")
    for page in (first, second):
        expect(page.get_by_role("progressbar")).to_have_count(0)
    assert second.url.endswith("/")  # never loaded anew


def test_export_is_cancelled(susan: Visitor, wiring: Wiring, stack: Stack) -> None:
    """In the middle of it; the page says that No file was kept."""
    make_posts(wiring.database, [susan.user_id], MANY)
    page = susan.open("/")
    page.click("main button")
    worker = hold_in_the_middle(stack, wiring, susan)
    try:
        page.click("text=Cancel")
        expect(page.locator("main")).to_contain_text("Cancelling")
    finally:
        release(worker)
    expect(page.locator("main")).to_contain_text("No file was kept")
    shoot(page, "export-cancelled")
    assert susan.call("GET", "/v1/tasks")["items"][0]["status"] == "cancelled"


def test_worker_is_killed(susan: Visitor, wiring: Wiring, stack: Stack) -> None:
    """The export goes on with another worker; the open page's bar never goes back."""
    make_posts(wiring.database, [susan.user_id], MANY)
    page = susan.open("/")
    page.click("main button")
    worker = hold_in_the_middle(stack, wiring, susan)
    seen: list[int] = []

    def watch() -> bool:
        seen.extend(percents(page) or [100])
        return seen[-1] > 0

    try:
        page.wait_for_selector("progress")
        notice(page, "it has begun", watch)
        assert seen[-1] < 100, "it was over before it could be disturbed"
        shoot(page, "export-running")
    finally:
        kill(worker)
    notice(page, "it is done", lambda: watch() and done(page))
    assert seen == sorted(seen)
    assert susan.call("GET", "/v1/tasks")["items"][0]["attempt"] > 1
    assert page.locator("dd").first.inner_text() == f"{MANY:,}"


def test_no_worker(susan: Visitor, stack: Stack) -> None:
    """While nobody works the page says so, and goes on when somebody does."""
    worker = stack.hold(family, "nobody works", when=lambda: True)
    try:
        wait = susan.open("/")
        wait.click("main button")
        expect(wait.locator(".progress")).to_contain_text("queue")
    finally:
        release(worker)
    notice(wait, "it is done", lambda: done(wait))


def test_network_is_lost(susan: Visitor) -> None:
    """The page says that it is cut off, and goes on by itself when it is not any more."""
    page = susan.open("/")
    susan.request("example", seconds=LONG_S)
    expect(page.get_by_role("progressbar")).to_be_visible()
    susan.context.set_offline(True)
    expect(page.locator("#lost")).to_be_visible()
    shoot(page, "connection-lost")
    before = susan.percent()
    susan.context.set_offline(False)
    expect(page.locator("#lost")).to_be_hidden()
    notice(page, "it goes on", lambda: susan.percent() > before)
    page.click("text=Cancel")


def test_held_requests_that_do_not_come_back(susan: Visitor) -> None:
    """Where a proxy refuses them, or cuts them off, the page asks every ten seconds instead."""
    asked: list[str] = []

    def cut(route: object) -> None:
        url = route.request.url  # type: ignore[attr-defined]
        asked.append(url)
        if url.endswith("wait=0"):
            route.continue_()  # type: ignore[attr-defined]
        elif len(asked) % 2:
            route.fulfill(status=429)  # type: ignore[attr-defined]
        else:
            route.abort()  # type: ignore[attr-defined]

    susan.context.route("**/v1/notifications?*", cut)
    page = susan.open("/")
    page.evaluate("window.first = true")
    notice(page, "it falls back", lambda: sum(url.endswith("wait=0") for url in asked) >= 3)
    susan.request()
    hide(page, hidden=False)  # somebody looks at it
    expect(page.locator("#past")).to_contain_text("Done")
    assert page.evaluate("window.first"), "it was loaded anew"


def hide(page: Page, *, hidden: bool) -> None:
    """Put a tab into the background, or back, as far as the page can tell."""
    page.evaluate(
        "value => { Object.defineProperty(document, 'hidden', {value, configurable: true});"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        hidden,
    )


def test_hidden_tab_rests(susan: Visitor) -> None:
    """In the background it lets go of its request, and asks at once when it is back."""

    def is_poll(request: object) -> bool:
        return "notifications" in request.url  # type: ignore[attr-defined]

    with susan.page.expect_event("request", is_poll):
        page = susan.open("/")
    with page.expect_event("requestfailed", is_poll):
        hide(page, hidden=True)
    susan.request()
    with page.expect_event("request", is_poll):
        hide(page, hidden=False)
    expect(page.locator("#past")).to_contain_text("Done")


def test_nothing_goes_on(susan: Visitor) -> None:
    """An idle page holds no request: it asks once a minute, and when another tab begins a task."""
    asked: list[str] = []

    def note(request: object) -> None:
        if "notifications" in request.url:  # type: ignore[attr-defined]
            asked.append(request.url)  # type: ignore[attr-defined]

    def rests() -> int:
        return int(page.evaluate("rests"))

    page = susan.page
    page.clock.install()
    page.add_init_script(COUNT_RESTS)
    page.on("request", note)
    susan.open("/")
    notice(page, "it holds a request", lambda: asked and asked[-1].endswith("wait=20"))
    page.clock.fast_forward(31_000)
    notice(page, "it holds none", rests)
    asked.clear()
    begun = rests()
    # From here on the page's time stands still, however long the machine takes for an answer.
    page.clock.pause_at(page.evaluate("Date.now()") + 61_000)
    notice(page, "it has asked again", lambda: rests() > begun)
    assert len(asked) == 1
    page.clock.run_for(59_000)
    assert len(asked) == 1
    page.clock.run_for(2_000)
    notice(page, "it asks once a minute", lambda: rests() > begun + 1)
    assert len(asked) == 2
    assert all(url.endswith("wait=0") for url in asked)
    page.clock.resume()
    second = susan.open("/", susan.context.new_page())
    second.click("main button >> nth=0")
    expect(page.locator("#past")).to_contain_text("Done")


def test_signed_out_elsewhere(susan: Visitor) -> None:
    """A tab whose session ended asks to sign in as soon as it is looked at."""
    page = susan.open("/")
    other = susan.open("/account", susan.context.new_page())
    hide(page, hidden=True)
    other.click("text=Sign out")
    other.wait_for_selector("text=Create an account")
    hide(page, hidden=False)
    page.wait_for_selector("text=Create an account")


def test_operations(join: Join, stack: Stack) -> None:
    """The operators' page follows by itself: what goes on, who works, what failed."""
    root, susan = join(), join()
    stack.command("set-admin", root.username, "on")
    page = root.open("/admin")
    task_id = susan.request("example", seconds=LONG_S)
    expect(page.locator("main")).to_contain_text(task_id)
    expect(page.locator("main")).to_contain_text("Working")
    assert page.locator("svg.plot").count() >= 2
    shoot(page, "operations")
    page.locator("li", has_text=task_id).get_by_role("button", name="Cancel").click()
    expect(page.locator("main")).not_to_contain_text(task_id)
    assert susan.call("GET", f"/v1/tasks/{task_id}")["status"] == "cancelled"
