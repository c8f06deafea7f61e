from email.message import EmailMessage
from pathlib import Path

import pytest

from infra.local.mailbox import Mailbox


class Browser:
    """Calls the mailbox and keeps what it answered."""

    def __init__(self, folder: Path) -> None:
        self._mailbox = Mailbox(folder)
        self.status = ""
        self.headers: dict[str, str] = {}

    def get(self, path: str) -> bytes:
        """The body of a page; every page carries the protective headers."""
        body = b"".join(self._mailbox({"PATH_INFO": path, "REQUEST_METHOD": "GET"}, self._start))
        assert self.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in self.headers["Content-Security-Policy"]
        return body

    def _start(self, status: str, headers: list[tuple[str, str]]) -> None:
        self.status = status
        self.headers = dict(headers)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one email that means no good."""
    mail = EmailMessage()
    mail["From"] = "Carryout <carryout@example.com>"
    mail["To"] = "susan@example.com"
    mail["Subject"] = "<script>alert(1)</script> 안녕"
    mail.set_content("see https://example.com/exports/1 <b>not bold</b>")
    mail.add_alternative('<p class="x">hello "you"</p><script>alert(2)</script>', subtype="html")
    mail.add_attachment(
        b'{"a": 1}', maintype="application", subtype="json", filename="p\"o'sts.json"
    )
    (tmp_path / "1-a.eml").write_bytes(mail.as_bytes())
    (tmp_path / ".2-b.eml").write_bytes(b"unfinished")
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path


@pytest.fixture
def browser(folder: Path) -> Browser:
    return Browser(folder)


def test_list_shows_whole_mails(browser: Browser) -> None:
    """The list names every complete mail and escapes its subject."""
    page = browser.get("/").decode()
    assert 'href="/1-a.eml"' in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; 안녕" in page
    assert "2-b" not in page
    assert "<script" not in page


def test_empty_folder(tmp_path: Path) -> None:
    """Without email the page says so."""
    assert b"No emails yet" in Browser(tmp_path).get("/")


def test_mail_is_shown_harmlessly(browser: Browser) -> None:
    """Text is escaped with its links kept; HTML is in a frame that cannot run scripts."""
    page = browser.get("/1-a.eml").decode()
    assert 'href="https://example.com/exports/1"' in page
    assert "&lt;b&gt;not bold&lt;/b&gt;" in page
    assert "allow-scripts" not in page
    assert "allow-same-origin" not in page
    assert "&lt;p class=&#34;x&#34;&gt;hello" in page
    assert "<script" not in page
    assert "carryout@example.com" in page


def test_attachment_is_downloaded(browser: Browser) -> None:
    """An attachment comes byte for byte, and never as something that a browser would show."""
    assert browser.get("/1-a.eml/0") == b'{"a": 1}'
    assert browser.headers["Content-Type"] == "application/octet-stream"
    assert browser.headers["Content-Disposition"] == (
        "attachment; filename*=UTF-8''p%22o%27sts.json"
    )


def test_source_is_the_file(browser: Browser, folder: Path) -> None:
    """The source is what SES was given."""
    assert browser.get("/1-a.eml/source") == (folder / "1-a.eml").read_bytes()


@pytest.mark.parametrize(
    "path", ["/secret.txt", "/../secret.txt", "/.2-b.eml", "/x.eml", "/1-a.eml/1", "/1-a.eml/x"]
)
def test_nothing_else_is_served(browser: Browser, path: str) -> None:
    """Only emails and their parts are there."""
    browser.get(path)
    assert browser.status.startswith("404")


def test_mail_that_is_no_mail(tmp_path: Path) -> None:
    """Bytes that make no sense are shown as far as they go."""
    (tmp_path / "1-a.eml").write_bytes(
        b"Content-Type: text/plain; charset=klingon\r\nSubject: \xff\r\n\r\n\xff\xfe"
    )
    browser = Browser(tmp_path)
    assert browser.get("/")
    assert browser.get("/1-a.eml")
    assert browser.status == "200 OK"
