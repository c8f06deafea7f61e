"""An email as bytes: headers by the email package, bodies by a few lines.

The package turns each line of a file into an object of its own, several times over: an attachment
of 30 kB took it more CPU than an export of that size takes from the claim to S3.
"""

import random
from binascii import b2a_base64, b2a_qp
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from functools import lru_cache
from typing import Any

# 7bit: no server on the way has to announce 8BITMIME (RFC 6152).
_POLICY = SMTP.clone(cte_type="7bit")

LINE_CHARACTERS = 76
"""Of a line of base64; RFC 2045 allows no more."""

PLAIN_CHARACTERS = 78
"""Of a line that is sent as it is; RFC 5322 asks for no more."""

_REMEMBERED = 256


@dataclass(frozen=True)
class Attachment:
    """A file in an email.

    Attributes:
        content: Its bytes.
        content_type: Its media type.
        filename: What it is called.
    """

    content: bytes
    content_type: str
    filename: str


def header(name: str, value: Any) -> bytes:
    """A header, with its end; folded, and encoded where it is not ASCII.

    Raises:
        ValueError: The value would make another header of its own.
    """
    return _POLICY.fold_binary(*_POLICY.header_store_parse(name, value))


constant = lru_cache(_REMEMBERED)(header)
"""`header` for values that come again, such as the sender: to parse one takes a tenth of a ms."""


@lru_cache(_REMEMBERED)
def domain_of(sender: str) -> str:
    """The domain of the address in a `From` header."""
    _, parsed = _POLICY.header_store_parse("From", sender)
    return str(parsed.addresses[0].domain)


def message(
    headers: bytes, variants: Mapping[str, str], attachment: Attachment | None = None
) -> bytes:
    """An email (RFC 5322, RFC 2045): ASCII with CRLF.

    Args:
        headers: What `header` made.
        variants: The same text by subtype of `text`, the simplest first.
        attachment: A file, if there is one.
    """
    parts = [_text(text, subtype) for subtype, text in variants.items()]
    body = _multipart("alternative", *parts)
    if attachment is not None:
        body = _multipart("mixed", body, _attached(attachment))
    return headers + b"MIME-Version: 1.0\r\n" + body


def _multipart(subtype: str, *parts: bytes) -> bytes:
    # Nobody can know it who writes into a part; and of an encoded part no line begins with "--".
    boundary = b"===============%019d==" % random.getrandbits(63)  # nosec B311
    kind = b'Content-Type: multipart/%s;\r\n boundary="%s"' % (subtype.encode(), boundary)
    middle = b"".join(b"--%s\r\n%s\r\n" % (boundary, part) for part in parts)
    return b"%s\r\n\r\n%s--%s--\r\n" % (kind, middle, boundary)


def _text(text: str, subtype: str) -> bytes:
    encoding, body = _encoded(text)
    head = f'Content-Type: text/{subtype}; charset="utf-8"\r\nContent-Transfer-Encoding: {encoding}'
    return head.encode() + b"\r\n\r\n" + body


def _encoded(text: str) -> tuple[str, bytes]:
    """How a text is transferred, the shortest way, and its lines."""
    lines = text.encode().splitlines()
    raw = b"".join([line + b"\r\n" for line in lines])
    if raw.isascii() and max(map(len, lines), default=0) <= PLAIN_CHARACTERS:
        return "7bit", raw
    quoted = b2a_qp(raw, istext=True)
    encoded = _base64(raw)
    return ("quoted-printable", quoted) if len(quoted) <= len(encoded) else ("base64", encoded)


def _attached(attachment: Attachment) -> bytes:
    head = constant("Content-Type", attachment.content_type)
    head += b"Content-Transfer-Encoding: base64\r\n" + _disposition(attachment.filename)
    return head + b"\r\n" + _base64(attachment.content)


@lru_cache(_REMEMBERED)
def _disposition(filename: str) -> bytes:
    carrier = EmailMessage(policy=_POLICY)
    carrier.add_header("Content-Disposition", "attachment", filename=filename)
    return _POLICY.fold_binary(*carrier.items()[0])


def _base64(data: bytes) -> bytes:
    encoded = b2a_base64(data, newline=False)
    starts = range(0, len(encoded), LINE_CHARACTERS)
    return b"".join([encoded[at : at + LINE_CHARACTERS] + b"\r\n" for at in starts])
