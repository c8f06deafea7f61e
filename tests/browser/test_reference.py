"""The reference as people use it: find a route, and try it with a token of one's own."""

from playwright.sync_api import expect

from tests.browser.conftest import Join
from tests.browser.people import Visitor, shoot
from tests.browser.test_access import overflow, violations


def test_a_route_is_found_and_tried(susan: Visitor) -> None:
    """Search leaves what was looked for; a request with the token shows its own response."""
    page = susan.open("/docs")
    page.get_by_label("Search").fill("your account POST")
    expect(page.locator("#create_schedule")).to_be_hidden()
    page.get_by_label("Search").fill("GET /v1/me")
    route = page.locator("#show_me")
    expect(route).to_be_visible()
    route.locator("summary").click()
    route.get_by_role("button", name="Send").click()
    expect(route.locator(".answer")).to_contain_text("401")
    page.get_by_label("Your token").fill(susan.token or "")
    route.get_by_role("button", name="Send").click()
    expect(route.locator(".answer")).to_contain_text(f'"username": "{susan.username}"')


def test_reading_without_javascript(join: Join) -> None:
    """Without a script no search is offered that does nothing, and each route can be opened."""
    page = join(java_script_enabled=False).open("/docs")
    expect(page.locator("#finder")).to_be_hidden()
    page.click("#create_export summary")
    expect(page.locator("#create_export pre").first).to_be_visible()


def test_no_barriers_in_open_routes(susan: Visitor) -> None:
    """With every sixth part open axe finds nothing serious, and the page is no wider than a phone.

    All come from one template, and axe takes minutes for all of them.
    """
    page = susan.open("/docs#create_export")
    expect(page.locator("#create_export")).to_have_attribute("open", "")
    page.set_viewport_size({"width": 375, "height": 667})
    page.evaluate("document.querySelectorAll('details').forEach((one, n) => one.open = n % 6 == 0)")
    assert violations(page) == []
    assert overflow(page) == 0
    shoot(page, "reference")
