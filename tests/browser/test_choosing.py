"""Choosing what to export: with a mouse, with a screen reader, on a phone."""

import io
import zipfile

from playwright.sync_api import expect

from tests.browser.conftest import Join
from tests.browser.people import LONG_S, shoot
from tests.browser.test_access import overflow, violations


def test_somebody_chooses(join: Join) -> None:
    """They open the form, see how much there is, leave some out, and get what they chose."""
    susan = join()
    susan.write("Hello.", "And goodbye.")
    page = susan.open("/")
    page.click("#choose summary")
    expect(page.locator("#choose label", has_text="Posts")).to_contain_text("2 rows")
    shoot(page, "choose")
    page.set_viewport_size({"width": 375, "height": 667})
    assert violations(page) == []
    assert overflow(page) == 0
    for box in page.locator("#choose input[name=datasets]").all():
        box.set_checked(box.get_attribute("value") in {"profile", "posts"})
    page.check("#choose input[value=csv]")
    page.uncheck("#choose input[name=viewer]")
    page.fill("#choose input[name=from]", "2020-01-01")
    page.click("#choose button")
    page.wait_for_url("**/exports/*")
    link = page.get_by_role("link", name="Download carryout-")
    expect(link).to_be_visible()
    expect(page.locator("#export dl")).to_contain_text("Posts")
    shoot(page, "archive")
    data = susan.download(page.url.rpartition("/")[2])
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        assert set(found.namelist()) == {
            "README.txt",
            "data/profile.json",
            "data/posts.json",
            "spreadsheets/profile.csv",
            "spreadsheets/posts.csv",
            "manifest.json",
        }


def test_a_choice_that_is_none(join: Join) -> None:
    """The form comes back open with what was ticked, and says what to do."""
    susan = join(locale="es-ES")
    susan.patch("/v1/me", {"language": "es"})
    page = susan.open("/")
    page.click("#choose summary")
    page.uncheck("#choose input[value=json]")
    page.click("#choose button")
    expect(page.locator("#choose [role=alert]")).to_contain_text("Elige al menos un formato.")
    expect(page.locator("#choose")).to_have_attribute("open", "")
    shoot(page, "choose-none")
    assert violations(page) == []


def test_news_leave_the_form_alone(join: Join) -> None:
    """While a task comes and goes, the form stays open and as it was filled in."""
    susan = join()
    page = susan.open("/")
    page.click("#choose summary")
    page.uncheck("#choose input[value=audit]")
    task_id = susan.request("example", seconds=LONG_S)
    expect(page.locator("#tasks progress")).to_be_visible()
    susan.cancel(task_id)
    expect(page.locator("#tasks progress")).to_be_hidden()
    expect(page.locator("#choose input[value=audit]")).to_be_visible()
    expect(page.locator("#choose input[value=audit]")).not_to_be_checked()
