"""`MAIL_SENDER`: what is accepted goes to SES, and into every email, as it was meant."""

import email
from datetime import UTC, datetime
from email.policy import default

import pytest

from chalicelib.values.email_sender import MAX_NAME_BYTES, email_sender
from chalicelib.values.languages import language_for
from worker.outbox.email_message import Envelope, Words, write

LONGEST = "é" * (MAX_NAME_BYTES // 2)


def shown(sender: str) -> tuple[str, str, str]:
    """Name and address that an email program shows, and the domain of the Message-ID."""
    envelope = Envelope(
        sender=sender,
        username="susan",
        address="susan@example.com",
        sent_at=datetime(2026, 1, 2, tzinfo=UTC),
        unique="1",
    )
    words = Words(subject="x", intro="x", facts=(), outro="x", button="x", footer="x")
    message = email.message_from_bytes(
        write(envelope, words, language_for("en"), url="https://x"), policy=default
    )
    (address,) = message["From"].addresses
    assert not message["From"].defects
    return address.display_name, address.addr_spec, message["Message-ID"].split("@")[1]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("a@example.com", ""),
        ("<a@example.com>", ""),
        ("Carryout <a@example.com>", "Carryout"),
        ('"Carryout: exports" <a@example.com>', "Carryout: exports"),
        ('"Carryout, Inc." <a@example.com>', "Carryout, Inc."),
        ("Café <a@example.com>", "Café"),
        ('"Café: exports" <a@example.com>', "Café: exports"),
        ("캐리아웃 데이터 서비스 <a@example.com>", "캐리아웃 데이터 서비스"),
        (f"{LONGEST} <a@example.com>", LONGEST),
        ("=?utf-8?q?Caf=C3=A9?= <a@example.com>", "Café"),
    ],
)
def test_one_address(value: str, name: str) -> None:
    """A name of any script travels as ASCII (RFC 2047) and is read as it was written."""
    sender = email_sender(value)
    assert sender.isascii()
    assert shown(sender) == (name, "a@example.com", "example.com>")
    assert sender == value or not value.isascii()


@pytest.mark.parametrize(
    "value",
    [
        "Carryout: exports <a@example.com>",  # a group
        "Exports: a@example.com;",
        "a@example.com, b@example.com",
        "A <a@example.com>, B <b@example.com>",
        "Carryout, Inc. <a@example.com>",
        "Carryout <a@example.com> x",
        "Carryout <carryout>",
        "a@exämple.com",
        '"a b"@example.com',
        "=?utf-8?q?x=0D=0ABcc:y?= <a@example.com>",
        "=?utf-8?q?x=07?= <a@example.com>",
        "a@example.com\nBcc: b@example.com",
        f"{LONGEST}é <a@example.com>",
    ],
)
def test_anything_else(value: str) -> None:
    """Several addresses, a group, or a name that must be quoted would break From and Message-ID."""
    with pytest.raises(ValueError, match=r"^expected "):
        email_sender(value)
