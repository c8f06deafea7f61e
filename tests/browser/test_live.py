"""Pages that stay true while they are open."""

from datetime import UTC, datetime

import psutil
import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, expect

from chalicelib.db.models import Task, User
from chalicelib.wiring import Wiring
from tests.browser.conftest import Join, Stack
from tests.browser.people import LONG_S, Person, notice, percents, shoot
from tests.harness.holding import hold, kill, release

MANY = 500_000
"""An export of so many posts has many parts."""


def fill(wiring: Wiring, person: Person, number: int = MANY) -> None:
    """Give somebody many posts at once, each a second older than the one before."""
    statement = sa.text(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :number) "
        "INSERT INTO posts (user_id, body, timestamp) "
        "SELECT :user, 'A post of the usual length, number ' || i || '.', "
        "strftime('%Y-%m-%d %H:%M:%f', :now, '-' || i || ' seconds') || '000' FROM n"
    )
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    with wiring.database.write() as session:
        user_id = session.scalar(sa.select(User.id).where(User.username == person.name))
        session.execute(statement, {"number": number, "user": user_id, "now": now})


def hold_in_the_middle(stack: Stack, wiring: Wiring, person: Person) -> list[psutil.Process]:
    """Stop the worker and its horse in the middle of somebody's export; return them.

    The ledger knows when it is; a page knows later, when the export may be over.
    """
    task = sa.select(Task).join(User, User.id == Task.user_id).where(User.username == person.name)

    def begun() -> bool:
        with wiring.database.read() as session:
            found = session.scalar(task)
        assert found is None or found.status in {"queued", "running"}, found.status
        return found is not None and found.percent > 0

    return hold(stack.worker, stack.facts["database_url"], when=begun, what="it has begun")


def done(page: Page) -> bool:
    """Whether an export's page offers the file."""
    return page.locator("text=Download posts.json").count() == 1


def test_two_tabs_agree(susan: Person) -> None:
    """What one tab starts the other one shows, and what it cancels is gone from both."""
    first = susan.open("/account")
    second = susan.open("/", susan.context.new_page())
    susan.ask("POST", "/v1/tasks", {"name": "example", "params": {"seconds": 60}})
    for page in (first, second):
        expect(page.get_by_role("progressbar")).to_be_visible()
    notice(first, "progress", lambda: susan.percent(first) > 1 and susan.percent(second) > 1)
    notice(first, "they agree", lambda: abs(susan.percent(first) - susan.percent(second)) <= 2)
    shoot(second, "task-running")
    first.click("text=Cancel")
    for page in (first, second):
        expect(page.get_by_role("progressbar")).to_have_count(0)
    assert second.url.endswith("/")  # never loaded anew


def test_export_is_cancelled(susan: Person, wiring: Wiring, stack: Stack) -> None:
    """In the middle of it; the page says that No file was kept."""
    fill(wiring, susan)
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
    assert susan.ask("GET", "/v1/tasks")["items"][0]["status"] == "cancelled"


def test_worker_is_killed(susan: Person, wiring: Wiring, stack: Stack) -> None:
    """The export goes on with another worker; the open page's bar never goes back."""
    fill(wiring, susan)
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
    assert susan.ask("GET", "/v1/tasks")["items"][0]["attempt"] > 1
    assert page.locator("dd").first.inner_text() == f"{MANY:,}"


def test_no_worker(susan: Person, stack: Stack) -> None:
    """While nobody works the page says so, and goes on when somebody does."""
    url = stack.facts["database_url"]
    worker = hold(stack.worker, url, when=lambda: True, what="nobody works")
    try:
        wait = susan.open("/")
        wait.click("main button")
        expect(wait.locator(".progress")).to_contain_text("queue")
    finally:
        release(worker)
    notice(wait, "it is done", lambda: done(wait))


def test_network_is_lost(susan: Person) -> None:
    """The page says that it is cut off, and goes on by itself when it is not any more."""
    page = susan.open("/")
    susan.ask("POST", "/v1/tasks", {"name": "example", "params": {"seconds": LONG_S}})
    expect(page.get_by_role("progressbar")).to_be_visible()
    susan.context.set_offline(True)
    expect(page.locator("#lost")).to_be_visible()
    shoot(page, "connection-lost")
    before = susan.percent()
    susan.context.set_offline(False)
    expect(page.locator("#lost")).to_be_hidden()
    notice(page, "it goes on", lambda: susan.percent() > before)
    page.click("text=Cancel")


def test_held_requests_that_do_not_come_back(susan: Person) -> None:
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
    susan.ask("POST", "/v1/exports", {})
    expect(page.locator("#past")).to_contain_text("Done")
    assert page.evaluate("window.first"), "it was loaded anew"


def hide(page: Page, *, hidden: bool) -> None:
    """Put a tab into the background, or back, as far as the page can tell."""
    page.evaluate(
        "value => { Object.defineProperty(document, 'hidden', {value, configurable: true});"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        hidden,
    )


def test_hidden_tab_rests(susan: Person) -> None:
    """In the background it lets go of its request, and asks at once when it is back."""

    def is_poll(request: object) -> bool:
        return "notifications" in request.url  # type: ignore[attr-defined]

    with susan.page.expect_event("request", is_poll):
        page = susan.open("/")
    with page.expect_event("requestfailed", is_poll):
        hide(page, hidden=True)
    susan.ask("POST", "/v1/exports", {})
    with page.expect_event("request", is_poll):
        hide(page, hidden=False)
    expect(page.locator("#past")).to_contain_text("Done")


def test_signed_out_elsewhere(susan: Person) -> None:
    """A tab whose session ended asks to sign in as soon as it is looked at."""
    page = susan.open("/")
    other = susan.open("/account", susan.context.new_page())
    hide(page, hidden=True)
    other.click("text=Sign out")
    other.wait_for_selector("text=Create an account")
    hide(page, hidden=False)
    page.wait_for_selector("text=Create an account")


@pytest.mark.usefixtures("stack")
def test_operations(join: Join, wiring: Wiring) -> None:
    """The operators' page follows by itself: what goes on, who works, what failed."""
    root, susan = join(), join()
    with wiring.database.write() as session:
        session.execute(sa.update(User).where(User.username == root.name).values(is_admin=True))
    page = root.open("/admin")
    task = susan.ask("POST", "/v1/tasks", {"name": "example", "params": {"seconds": LONG_S}})
    expect(page.locator("main")).to_contain_text(task["id"])
    expect(page.locator("main")).to_contain_text("Working")
    assert page.locator("svg.plot").count() >= 2
    shoot(page, "operations")
    page.locator("li", has_text=task["id"]).get_by_role("button", name="Cancel").click()
    expect(page.locator("main")).not_to_contain_text(task["id"])
    assert susan.ask("GET", f"/v1/tasks/{task['id']}")["status"] == "cancelled"
