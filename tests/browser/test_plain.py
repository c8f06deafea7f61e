"""The pages without JavaScript, and in other languages."""

from playwright.sync_api import Browser, expect

from tests.browser.conftest import Join
from tests.browser.people import LONG_S, shoot
from tests.browser.test_story import download, sign_up
from tests.harness.people import PASSWORD
from tests.harness.stacks import Stack


def test_without_javascript(join: Join) -> None:
    """Forms, links and a reload while a task runs are enough for the whole way."""
    susan = join(java_script_enabled=False)
    page = susan.open(f"/users/{susan.username}")
    page.fill("textarea", "written by hand")
    page.click("main button:text-is('Post')")
    expect(page.locator("article .body")).to_have_text("written by hand")
    blocker = susan.request("example", seconds=LONG_S)
    page.click("text=Export your posts")
    expect(page.get_by_role("progressbar").first).to_be_visible()
    shoot(page, "without-javascript")
    susan.cancel(blocker)
    page.wait_for_selector("text=Download posts.json")  # it reloads
    assert b"written by hand" in download(page, "text=Download posts.json")
    assert blocker != page.url.rpartition("/")[2]


def test_in_korean(stack: Stack, browser: Browser) -> None:
    """From the first page to the email, for a browser that asks for Korean."""
    page = browser.new_page(locale="ko-KR", timezone_id="Asia/Seoul")
    page.goto(stack.app_url)
    assert page.get_attribute("html", "lang") == "ko"
    expect(page.locator("h1")).to_have_text("내 데이터를 그대로 가져가세요")
    shoot(page, "welcome-ko")
    page.click("text=계정 만들기")
    assert page.input_value("select") == "ko"
    shoot(page, "sign-up-ko")
    sign_up(page, "korean")
    page.fill("textarea", "안녕하세요, 첫 글입니다.")
    page.click("main button:text-is('게시')")
    page.click("text=게시물 내보내기")
    page.wait_for_selector("text=posts.json 다운로드")
    expect(page.locator("dl")).to_contain_text("에 보냄")
    expect(page.locator("dd time").first).to_contain_text(
        "년" if page.locator("text=년").count() else "."
    )
    shoot(page, "export-done-ko")
    (mail,) = stack.emails("korean@example.com")
    assert mail["Subject"] == "내보내기가 완료되었습니다"
    page.goto(f"{stack.app_url}/exports/nothing")
    expect(page.locator("h1")).to_have_text("페이지를 찾을 수 없음")
    page.context.close()


def test_in_spanish(stack: Stack, browser: Browser) -> None:
    """What goes wrong is told in the language of the browser, too."""
    page = browser.new_page(locale="es-MX")
    page.goto(f"{stack.app_url}/sign-in")
    page.fill("[name=username]", "nobody")
    page.fill("[name=password]", PASSWORD)
    page.click("main button")
    alert = page.get_by_role("alert")
    expect(alert).to_have_text("El nombre de usuario o la contraseña no son correctos.")
    shoot(page, "sign-in-wrong-es")
    page.context.close()
