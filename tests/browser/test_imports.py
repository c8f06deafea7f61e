"""Bringing posts along, with a script and without one."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Join
from tests.browser.people import Visitor, shoot
from tests.harness.uploads import TIME, json_lines, posts_of

POSTS = [("one", TIME), ("two \U0001f642", TIME)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two posts, and one that is left out."""
    path = tmp_path / "old posts.jsonl"
    path.write_bytes(json_lines([*POSTS, ("", TIME)]))
    return path


def test_with_a_script(susan: Visitor, file: Path) -> None:
    """One chooses a file and clicks once; the page goes on to the import and its report."""
    page = susan.open("/imports")
    expect(page.locator("#past")).to_contain_text("No imports yet.")
    shoot(page, "imports")
    page.set_input_files("[name=file]", file)
    page.click("text=Upload and import")
    page.wait_for_url("**/imports/*-*")
    expect(page.locator("dl")).to_contain_text("old posts.jsonl")
    expect(page.locator("dl dd").nth(2)).to_have_text("2")
    shoot(page, "import-done")
    with page.expect_download() as download:
        page.click("text=Download the report")
    report = Path(download.value.path()).read_text()
    assert download.value.suggested_filename == "import-report.ndjson"
    assert report == '{"position":3,"reason":"body_empty"}\n'
    page.click("text=View your posts")
    expect(page.locator("article .body").first).to_have_text(POSTS[1][0])
    page.click("nav >> text=Import")
    expect(page.locator("#past li")).to_contain_text("2 posts added")


def test_a_file_that_nobody_knows(susan: Visitor, tmp_path: Path) -> None:
    """The page says what is wrong with a file, and that nothing was imported."""
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    page = susan.open("/imports")
    page.set_input_files("[name=file]", path)
    page.click("text=Upload and import")
    page.wait_for_url("**/imports/*-*")
    expect(page.locator(".notice.danger")).to_have_text(
        "This isn't a file that Carryout can import."
    )
    expect(page.locator("main")).to_contain_text("Nothing was imported.")
    shoot(page, "import-failed")


def test_without_a_script(join: Join, file: Path) -> None:
    """Plain forms are enough: one to the bucket, which sends the browser back."""
    susan = join(java_script_enabled=False)
    page = susan.open("/imports")
    page.click("text=Choose a file")
    page.wait_for_url("**/imports/*-*")
    page.set_input_files("[name=file]", file)
    shoot(page, "import-without-javascript")
    page.click("main button:text-is('Upload')")
    page.wait_for_selector("text=The file has been uploaded.")
    page.click("text=Start import")
    page.wait_for_selector("text=Posts added")  # it reloads
    assert posts_of(susan) == POSTS
