import email
import re
import sys
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import default
from html.parser import HTMLParser
from typing import Any, cast

import pytest

from chalicelib.db.engine import Database
from chalicelib.outbox.messages import Message, SendingLease
from chalicelib.values.fields import parse_time
from tests.harness import processes
from worker.outbox.export_email import write_email

FILE = b'{"posts":[\n]}\r\n\x00\xff' * 100
PAGE = "https://carryout.example/exports/0b6f2c1e"
FACTS: dict[str, Any] = {
    "name": "export_posts",
    "status": "succeeded",
    "requested_at": "2026-01-02T15:04:05Z",
    "exported_at": "2026-01-02T15:04:06Z",
    "finished_at": "2026-01-02T15:04:59.000123Z",
    "rows": {"posts": 1234},
    "size_bytes": len(FILE),
    "sha256": "0123456789abcdef" * 4,
    "expires_at": "2026-01-09T15:04:59Z",
    "error_code": None,
    "error_detail": None,
}
SUCCEEDED = Message(
    lease=SendingLease(cast("Database", None), "1", 1, 1, "0b6f2c1e"),  # never settled
    topic="export",
    payload=FACTS,
    address="susan@example.com",
    tries=1,
    created_at=datetime(2026, 1, 2, 15, 4, 59, tzinfo=UTC),
    username="susan",
    language="en",
    confirmed=True,
)


def having(message: Message, **facts: Any) -> Message:
    """The message with other facts."""
    return replace(message, payload={**message.payload, **facts})


FAILED = having(SUCCEEDED, status="failed", error_code="timeout", error_detail="3600 s")
CANCELLED = having(SUCCEEDED, status="cancelled")


def outcome(value: object) -> str | None:
    return value.payload["status"] if isinstance(value, Message) else None


def not_read() -> bytes:
    """Stand in for a file that nobody may read."""
    raise AssertionError("the file was read")


def build(message: Message, *, max_bytes: int = 5_000_000) -> bytes:
    return write_email(
        message,
        sender="Carryout <no-reply@carryout.example>",
        public_url="https://carryout.example",
        max_bytes=max_bytes,
        read_file=lambda: FILE,
    )


def parse(raw: bytes) -> EmailMessage:
    """Read an email as an email program would."""
    message = email.message_from_bytes(raw, policy=default)
    assert isinstance(message, EmailMessage)
    return message


def part(raw: bytes, kind: str) -> str:
    """Give the text or the HTML of an email."""
    body = parse(raw).get_body((kind,))
    assert isinstance(body, EmailMessage)
    return str(body.get_content())


class Words(HTMLParser):
    """Collects what a reader of the HTML sees, piece by piece, and the elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if data.strip() and self.elements[-1][0] != "style":
            self.pieces.append(data)


def test_the_file_is_attached_byte_for_byte() -> None:
    """The attachment has its name and type, and its bytes are the file's."""
    (attachment,) = parse(build(SUCCEEDED)).iter_attachments()

    assert isinstance(attachment, EmailMessage)
    assert attachment.get_filename() == "posts.json"
    assert attachment.get_content_type() == "application/json"
    assert attachment["Content-Transfer-Encoding"] == "base64"
    assert attachment.get_content() == FILE


def test_the_threshold_is_exact() -> None:
    """The built message may have just `max_bytes`; with one byte less the file stays away."""
    size = len(build(SUCCEEDED))

    assert len(build(SUCCEEDED, max_bytes=size)) == size
    assert list(parse(build(SUCCEEDED, max_bytes=size)).iter_attachments())
    smaller = build(SUCCEEDED, max_bytes=size - 1)
    assert not list(parse(smaller).iter_attachments())
    assert "too large" in part(smaller, "plain")


@pytest.mark.parametrize(
    "message", [having(SUCCEEDED, size_bytes=4_000_000), FAILED, CANCELLED], ids=outcome
)
def test_a_file_that_cannot_be_attached_is_not_read(message: Message) -> None:
    """Whether a huge file fits is seen from its size alone."""
    raw = write_email(
        message,
        sender="no-reply@carryout.example",
        public_url="https://carryout.example",
        max_bytes=5_000_000,
        read_file=not_read,
    )

    assert not list(parse(raw).iter_attachments())


def test_a_file_larger_than_it_was_said_to_be_is_not_attached() -> None:
    """The built message decides, not what the message says about the file."""
    assert not list(
        parse(build(having(SUCCEEDED, size_bytes=1), max_bytes=3000)).iter_attachments()
    )


@pytest.mark.parametrize("max_bytes", [5_000_000, 1])
def test_both_variants_tell_everything(max_bytes: int) -> None:
    """What, when, how many, size, digest, until when, and the page: in text and in HTML."""
    raw = build(SUCCEEDED, max_bytes=max_bytes)

    for words in (part(raw, "plain"), " ".join(Words(part(raw, "html")).pieces)):
        assert "All posts by susan" in words
        assert "January 2, 2026, 15:04:06 UTC" in words
        assert "1,234" in words
        assert "1.7 kB" in words
        assert "0123456789abcdef" * 4 in words
        assert "January 9, 2026, 15:04:59 UTC" in words
        assert PAGE in words


def test_headers() -> None:
    """The headers are those of a notice that a program sends to one person."""
    message = parse(build(SUCCEEDED))

    assert message["From"] == "Carryout <no-reply@carryout.example>"
    assert message["To"] == "susan <susan@example.com>"
    assert message["Subject"] == "Your export is ready"
    assert message["Date"].datetime == parse_time(FACTS["finished_at"]).replace(microsecond=0)
    assert re.fullmatch(r"<0b6f2c1e\.[\w.]+@carryout\.example>", message["Message-ID"])
    assert message["Auto-Submitted"] == "auto-generated"
    assert "List-Unsubscribe" not in message


def test_each_ending_has_its_own_message_id() -> None:
    """A task that failed and then, tried again, succeeded is told in two messages."""
    assert parse(build(SUCCEEDED))["Message-ID"] != parse(build(FAILED))["Message-ID"]


def test_the_same_message_makes_the_same_email() -> None:
    """Nothing but the boundaries changes from one call to the next."""
    first, second = (re.sub(rb"=====\d+==", b"", build(SUCCEEDED)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("message", [SUCCEEDED, FAILED, CANCELLED], ids=outcome)
@pytest.mark.parametrize("language", ["en", "es", "ko"])
def test_any_server_can_carry_it(message: Message, language: str) -> None:
    """The message is ASCII with CRLF and no line over the limit of RFC 5322."""
    raw = build(replace(message, language=language))

    assert raw.isascii()
    assert raw.count(b"\n") == raw.count(b"\r\n") == raw.count(b"\r")
    assert max(map(len, raw.split(b"\r\n"))) <= 998


@pytest.mark.parametrize(
    "change",
    [
        {"username": "susan\r\nBcc: eve@example.com"},
        {"username": "susan\nX-Header: 1"},
        {"username": "=?utf-8?q?x=0D=0ABcc:_eve=40example.com?="},  # the email package decodes it
        {"username": "susan\0"},
        {"username": "susan\u2028"},
        {"address": "susan@example.com\r\nBcc: eve@example.com"},
        {"address": "susan@example.com, eve@example.com"},
        {"address": "=?utf-8?q?x=0D=0ABcc:y?=@example.com"},
        {"address": "Susan <susan@example.com>"},
        {"address": ""},
        {"lease": SendingLease(cast("Database", None), "1", 1, 1, "x\r\nBcc: eve@example.com")},
    ],
)
def test_header_injection_is_refused(change: dict[str, Any]) -> None:
    """What could open another header or name another recipient makes no email at all."""
    with pytest.raises(ValueError, match=r"."):
        build(replace(SUCCEEDED, **change))


def test_markup_is_shown_and_not_obeyed() -> None:
    """Markup in what people and programs wrote stays text."""
    hostile = '"><script>alert(1)</script>&amp;{{ 7 * 7 }}'
    raw = build(having(replace(FAILED, username=hostile), error_code=hostile, error_detail=hostile))
    words = Words(part(raw, "html"))

    assert words.pieces.count(hostile) == 2
    assert f"Hello {hostile}," in words.pieces
    assert "script" not in [tag for tag, _ in words.elements]
    assert parse(raw)["To"].addresses[0].display_name == hostile
    assert part(raw, "plain").count(hostile) == 3


@pytest.mark.parametrize("message", [SUCCEEDED, FAILED, CANCELLED], ids=outcome)
@pytest.mark.parametrize("language", ["en", "es", "ko"])
@pytest.mark.parametrize("max_bytes", [5_000_000, 1])
def test_text_and_html_say_the_same(message: Message, language: str, max_bytes: int) -> None:
    """Piece by piece the words are the same, but for the title, the preheader and the button."""
    raw = build(replace(message, language=language), max_bytes=max_bytes)
    words = Words(part(raw, "html"))
    title, preheader, *shown, _button, url, footer = words.pieces
    flat = [
        re.sub(r"[\s:]", "", text) for text in ("".join([*shown, url, footer]), part(raw, "plain"))
    ]

    assert flat[0] == flat[1]
    assert {title, preheader} <= set(shown)
    assert ("html", {"lang": language}) in words.elements
    assert [attrs["href"] for tag, attrs in words.elements if tag == "a"] == [PAGE]


@pytest.mark.parametrize("message", [SUCCEEDED, FAILED, CANCELLED], ids=outcome)
@pytest.mark.parametrize("language", ["es", "ko"])
@pytest.mark.parametrize("max_bytes", [5_000_000, 1])
def test_nothing_is_left_in_english(message: Message, language: str, max_bytes: int) -> None:
    """A translated mail shares only values with the English one."""
    pieces, english = (
        set(Words(part(build(replace(message, language=code), max_bytes=max_bytes), "html")).pieces)
        for code in (language, "en")
    )

    assert pieces & english <= {
        "SHA-256",
        FACTS["sha256"],
        PAGE,
        "1,234",
        "timeout",
        "1.7 kB",
    }
    assert parse(build(replace(message, language=language)))["Subject"] in pieces


@pytest.mark.parametrize(
    "code",
    [
        "timeout",
        "worker_lost",
        "storage_unavailable",
        "database_unavailable",
        "service_unavailable",
        "task_failed",
        "internal_error",
        "never_heard_of",
        None,
    ],
)
def test_a_failure_says_why(code: str | None) -> None:
    """A known code has its own reason, another one a general sentence; the code is shown."""
    text = part(build(having(FAILED, error_code=code)), "plain")
    general = "couldn't be completed. Something went wrong on our side." in text

    assert general == (code in {"never_heard_of", None})
    assert (f"Error code: {code}" in text) == bool(code)
    assert "You can try again here" in text


def test_what_is_not_known_is_left_out() -> None:
    """A fact without a value has no line."""
    text = part(build(having(SUCCEEDED, exported_at=None, expires_at=None)), "plain")

    assert "Exported" not in text
    assert "Available until" not in text
    assert "None" not in text


def test_one_post_is_one_post() -> None:
    """A number takes the form of the noun that belongs to it."""
    assert "1 post," in part(build(having(SUCCEEDED, rows={"posts": 1})), "plain")
    assert "0 posts," in part(build(having(SUCCEEDED, rows={"posts": 0})), "plain")
    spanish = part(build(having(replace(SUCCEEDED, language="es"), rows={"posts": 1})), "plain")
    assert "1 publicación," in spanish


ARCHIVE = having(
    SUCCEEDED, name="export_archive", rows={"profile": 1, "posts": 1234, "sessions": 2}
)


@pytest.mark.parametrize(
    ("language", "lines"),
    [
        ("en", ["Profile: 1", "Posts: 1,234", "Sessions: 2"]),
        ("es", ["Perfil: 1", "Publicaciones: 1234", "Sesiones: 2"]),
        ("ko", ["프로필: 1", "게시물: 1,234", "로그인 세션: 2"]),
    ],
)
def test_an_archive_tells_the_rows_of_each_dataset(language: str, lines: list[str]) -> None:
    """Each dataset has its title and number; the attachment is the ZIP under its own name."""
    raw = build(replace(ARCHIVE, language=language))
    text = part(raw, "plain").replace("1.234", "1234")
    assert [line for line in text.splitlines() if line in lines] == lines
    (attachment,) = parse(raw).iter_attachments()
    assert isinstance(attachment, EmailMessage)
    assert attachment.get_content_type() == "application/zip"
    assert attachment.get_filename() == "carryout-susan-20260102.zip"
    assert "게시물 내보내기" not in text


WRITE_WHEN_WARM = """
import sys
from tests.unit.test_export_email import SUCCEEDED, build, replace
from worker.outbox import email_message

email_message.warm_up()
opened = []
sys.addaudithook(lambda event, given: event == "open" and opened.append(given[0]))
for language in ("en", "es", "ko"):
    build(replace(SUCCEEDED, language=language))
print(opened)
"""


def test_a_warm_process_reads_no_file_for_an_email() -> None:
    """A work horse inherits templates and languages, or its first email would wait for them."""
    assert processes.output(sys.executable, "-c", WRITE_WHEN_WARM).strip() == "[]"
