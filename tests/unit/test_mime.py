import email
from email.message import EmailMessage
from email.policy import default

import pytest

from worker.outbox import mime
from worker.outbox.mime import Attachment

TEXTS = [
    "",
    "Hello susan,\n\nyour export is ready.\n",
    "no end of the last line",
    "long " * 40 + "\n",
    "a line of 998 characters would pass, but no longer one: " + "x" * 2000 + "\n",
    "white space \nat the end\t\n of lines   \n",
    ".\n..\n.hidden\n",
    "From here on\n>From there on\n",
    "a=b, =3D, ==, =_\n" + "=" * 100 + "\n",
    "--===============0000000000000000001==--\n",
    "¿Español? " * 30 + "\n",
    "게시물 내보내기가 준비되었습니다.\n" * 30,
    "emoji 🎉 and a lone \u2028 separator, \x85 and \x0c too\n",
]


def read(raw: bytes) -> EmailMessage:
    """Read an email as an email program would."""
    message = email.message_from_bytes(raw, policy=default)
    assert isinstance(message, EmailMessage)
    return message


def shown(part: EmailMessage) -> str:
    """The text of a part with the line ends that it was written with."""
    return str(part.get_content()).replace("\r\n", "\n")


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("subtype", ["plain", "html"])
def test_a_text_comes_back(text: str, subtype: str) -> None:
    """Whatever it holds, it travels as ASCII in short lines, and is read as it was written."""
    raw = mime.message(mime.header("Subject", "x"), {subtype: text})

    assert raw.isascii()
    assert raw.count(b"\n") == raw.count(b"\r\n") == raw.count(b"\r")
    assert max(map(len, raw.split(b"\r\n"))) <= mime.PLAIN_CHARACTERS
    (part,) = read(raw).iter_parts()
    assert not part.defects
    assert isinstance(part, EmailMessage)
    ended = text if text.endswith("\n") or not text else text + "\n"
    assert shown(part) == ended


@pytest.mark.parametrize("size", [0, 1, 56, 57, 58, 114, 100_000])
def test_a_file_comes_back(size: int) -> None:
    """An attachment has its bytes, its type and its name, beside both variants of the text."""
    content = bytes(number % 256 for number in range(size))
    attachment = Attachment(content, "application/zip", "posts.zip")
    found = read(mime.message(b"", {"plain": "a\n", "html": "<p>b</p>\n"}, attachment))

    assert found.get_content_type() == "multipart/mixed"
    (attached,) = found.iter_attachments()
    assert isinstance(attached, EmailMessage)
    assert attached.get_content() == content
    assert attached.get_content_type() == "application/zip"
    assert attached.get_content_disposition() == "attachment"
    for kind, text in (("plain", "a\n"), ("html", "<p>b</p>\n")):
        body = found.get_body((kind,))
        assert isinstance(body, EmailMessage)
        assert shown(body) == text


@pytest.mark.parametrize("filename", ['a"b.json', "año.json", "x" * 150 + ".json", "a; b=c.json"])
def test_a_filename_is_a_parameter(filename: str) -> None:
    """What has no place in a header is encoded (RFC 2231), and opens no other header."""
    raw = mime.message(b"", {"plain": "a\n"}, Attachment(b"1", "application/json", filename))

    assert raw.isascii()
    (attached,) = read(raw).iter_attachments()
    assert isinstance(attached, EmailMessage)
    assert attached.get_filename() == filename


@pytest.mark.parametrize("name", ["Subject", "Message-ID", "From"])
@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
def test_a_header_stays_one(name: str, end: str) -> None:
    """A line break in a value is refused, also where the value is remembered."""
    for make in (mime.header, mime.constant):
        with pytest.raises(ValueError, match=r"."):
            make(name, f"a@example.com{end}Bcc: eve@example.com")


def test_nobody_can_know_a_boundary() -> None:
    """Each email has others."""
    first, second = (read(mime.message(b"", {"plain": "a\n"})).get_boundary() for _ in range(2))

    assert first != second
