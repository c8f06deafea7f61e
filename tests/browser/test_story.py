"""What people come for."""

import hashlib
import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from chalicelib.wiring import Wiring
from tests.browser.conftest import Join
from tests.browser.people import Visitor, busy, shoot
from tests.harness import ledgers
from tests.harness.people import PASSWORD
from tests.harness.stacks import Stack


def sign_up(page: Page, name: str) -> None:
    """Fill in the form of a new account and send it."""
    page.fill("[name=username]", name)
    page.fill("[name=email]", f"{name}@example.com")
    page.fill("[name=password]", PASSWORD)
    page.click("main button")


def download(page: Page, link: str) -> bytes:
    """Click a link and return the file that comes."""
    with page.expect_download() as download:
        page.click(link)
    assert download.value.suggested_filename == "posts.json"
    return Path(download.value.path()).read_bytes()


def test_from_sign_up_to_the_file(stack: Stack, browser: Browser) -> None:
    """A stranger makes an account, writes, exports, and has the very file in their hands."""
    page = browser.new_page(locale="en-US", timezone_id="UTC")
    page.goto(stack.app_url)
    shoot(page, "welcome")
    page.click("text=Create an account")
    shoot(page, "sign-up")
    sign_up(page, "newcomer")
    page.wait_for_url("**/users/newcomer")
    for body in ("The first one.", "سلام \U0001f642 <b>second</b>\nin two lines"):
        page.fill("textarea", body)
        page.click("main button:text-is('Post')")
        expect(page.locator("article .body").first).to_have_text(body)
    shoot(page, "profile")
    page.click("text=Exports")
    shoot(page, "home")
    page.click("main button")
    page.wait_for_selector("text=Download posts.json")
    expect(page.locator("dl")).to_contain_text("sent ")
    shoot(page, "export-done")
    content = download(page, "text=Download posts.json")
    assert hashlib.sha256(content).hexdigest() == page.inner_text("code")
    assert [post["body"] for post in json.loads(content)["posts"]] == [
        "The first one.",
        "سلام \U0001f642 <b>second</b>\nin two lines",
    ]

    page.on("dialog", lambda dialog: dialog.accept())
    page.click("text=Delete file")
    expect(page.locator("dl")).to_contain_text("no longer available")
    page.click("text=All exports")
    shoot(page, "home-past")
    page.click("text=Sign out")
    page.wait_for_selector("text=Create an account")
    page.context.close()


def test_taken_name(stack: Stack, browser: Browser, susan: Visitor) -> None:
    """The form comes again with what was typed, and says what is wrong."""
    page = browser.new_page(locale="en-US")
    page.goto(f"{stack.app_url}/sign-up")
    sign_up(page, susan.username.upper())
    expect(page.get_by_role("alert")).to_have_text("This username is taken. Choose another one.")
    assert page.input_value("[name=username]") == susan.username.upper()
    shoot(page, "sign-up-taken")
    page.context.close()


def test_failed_export_is_tried_again(susan: Visitor, wiring: Wiring) -> None:
    """The page says why it failed; the button tries again, and then there is a file."""
    with busy(wiring):
        task_id = susan.request()
        page = susan.open(f"/exports/{task_id}")
        expect(page.locator(".progress")).to_contain_text("in the queue")
        shoot(page, "export-queued")
        lease = ledgers.claim(wiring.database, task_id)
        lease.fail("storage_unavailable", "S3 is away.", now=ledgers.now())
        expect(page.locator("main")).to_contain_text("We couldn't reach our file storage.")
        shoot(page, "export-failed")
    page.click("text=Try again")
    page.wait_for_selector("text=Download posts.json")


def test_more_posts_come_while_scrolling(susan: Visitor) -> None:
    """Twenty at a time, the newest first, each once."""
    for number in range(45):
        susan.ask("POST", "/v1/posts", {"body": f"number {number}"})
    page = susan.open(f"/users/{susan.username}")
    assert page.locator("article").count() == 20
    for expected in (40, 45):
        page.keyboard.press("End")
        expect(page.locator("article")).to_have_count(expected)
    bodies = page.locator("article .body").all_inner_texts()
    assert bodies == [f"number {number}" for number in reversed(range(45))]


def test_post_is_deleted(susan: Visitor, join: Join) -> None:
    """One's own, after a question; others' posts have no button."""
    susan.write("a mistake")
    page = susan.open(f"/users/{susan.username}")
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.click("article button")
    david = join().open(f"/users/{susan.username}")
    assert david.locator("article").count() == 1
    assert david.locator("main button").count() == 0
    page.once("dialog", lambda dialog: dialog.accept())
    page.click("article button")
    expect(page.locator("#posts")).to_contain_text("No posts yet.")


def test_account_is_changed_and_erased(susan: Visitor) -> None:
    """Address, language and password take effect at once; all that matters asks for the old one."""
    page = susan.open("/account")
    shoot(page, "account")
    page.fill("[name=email]", f"new-{susan.username}@example.com")
    page.fill("form[action='/account'] [name=current_password]", PASSWORD)
    page.select_option("[name=language]", "es")
    page.click("text=Save")
    expect(page.locator("h1")).to_have_text("Cuenta")
    assert susan.call("GET", "/v1/me")["email"] == f"new-{susan.username}@example.com"
    page.fill("form[action='/account/password'] [name=current_password]", PASSWORD)
    page.fill("[name=new_password]", "battery staple")
    page.click("button:text-is('Cambiar contraseña')")
    expect(page.get_by_role("status")).to_contain_text("Se cambió tu contraseña")
    shoot(page, "password-changed")
    page.on("dialog", lambda dialog: dialog.accept())
    page.fill("[name=password]", PASSWORD)
    page.click("text=Eliminar cuenta definitivamente")
    expect(page.get_by_role("alert")).to_have_text(
        "La contraseña no es correcta. Inténtalo de nuevo."
    )
    page.fill("[name=password]", "battery staple")
    page.click("text=Eliminar cuenta definitivamente")
    expect(page.get_by_role("status")).to_have_text("Tu cuenta y todo su contenido se eliminaron.")
    shoot(page, "erased")


@pytest.mark.parametrize("path", ["/exports/nothing", "/users/nobody-at-all", "/admin"])
def test_pages_of_errors(susan: Visitor, path: str) -> None:
    """What is not there, or not for everybody, is told on a page."""
    page = susan.open(path)
    expect(page.locator("h1")).to_be_visible()
    expect(page.locator("main a")).to_have_text("Go to the home page")
    shoot(page, "problem" + path.replace("/", "-"))
