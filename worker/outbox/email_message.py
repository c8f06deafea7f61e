"""The form that all emails share: headers, text and HTML of the same words."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from chalicelib.outbox.messages import Message
from chalicelib.values.fields import Email, flaw
from chalicelib.values.languages import LANGUAGES, Language, language_for
from worker.outbox import mime
from worker.outbox.mime import Attachment

Facts = tuple[tuple[str, str], ...]

_TEMPLATES = {"email.txt": "plain", "email.html": "html"}
"""Their names, and which subtype of `text` each makes; the simplest comes first."""


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """Who an email is for and who it is from.

    Attributes:
        sender: The `From` header: an address, with or without a name.
        username: The user's name.
        address: Where it goes, an address alone.
        sent_at: The `Date` header.
        unique: What tells this message from all others, for the `Message-ID` header.
    """

    sender: str
    username: str
    address: str
    sent_at: datetime
    unique: str

    @classmethod
    def of(cls, message: Message, *, sender: str, unique: str) -> "Envelope":
        """That of a message which is dated when its event happened."""
        return cls(
            sender=sender,
            username=message.username,
            address=message.address,
            sent_at=message.created_at,
            unique=unique,
        )


@dataclass(frozen=True, kw_only=True)
class Words:
    """What an email says, from top to bottom; its text and its HTML have the same layout.

    Attributes:
        outro: Leads to the address of a page, which follows.
        button: What the link is called where it is more than its address.
        footer: Why somebody receives the email.
    """

    subject: str
    intro: str
    facts: Facts
    outro: str
    button: str
    footer: str


def write(
    envelope: Envelope,
    words: Words,
    language: Language,
    *,
    url: str,
    attachment: Attachment | None = None,
) -> bytes:
    """Write an email.

    Args:
        envelope: Who it is for and who it is from.
        words: What it says.
        language: In which language.
        url: Where the button leads.
        attachment: A file, if there is one.

    Returns:
        The email as it goes over the wire (RFC 5322), in ASCII with CRLF.

    Raises:
        ValueError: The name or the address holds what has no place in a header.
    """
    headers = _headers(envelope, words.subject)
    facts = {
        "lang": language.code,
        "email": words,
        "greeting": language.gettext("Hello %(username)s,") % {"username": envelope.username},
        "url": url,
        "footer": words.footer,
    }
    variants = {
        subtype: _templates().get_template(name).render(facts)
        for name, subtype in _TEMPLATES.items()
    }
    return mime.message(headers, variants, attachment)


def _headers(envelope: Envelope, subject: str) -> bytes:
    # The email package refuses line breaks, but not those that an encoded word (RFC 2047) hides.
    if not envelope.username.isprintable() or "=?" in envelope.username:
        raise ValueError("the name of the user has no place in a header")
    if detail := flaw(envelope.address, Email):
        raise ValueError(f"the user's email address {detail}")
    to = Address(envelope.username, addr_spec=envelope.address)
    unique = f"<{envelope.unique}@{mime.domain_of(envelope.sender)}>"
    headers = (
        mime.constant("From", envelope.sender),
        mime.header("To", to),
        mime.header("Date", envelope.sent_at),
        mime.header("Message-ID", unique),
        # RFC 3834: no answering machine replies.
        mime.constant("Auto-Submitted", "auto-generated"),
        mime.constant("Subject", subject),
    )
    return b"".join(headers)


def warm_up() -> None:
    """Load now, before a fork, what an email would wait for: the templates, and each language."""
    for name in _TEMPLATES:
        _templates().get_template(name)
    for language in map(language_for, LANGUAGES):
        language.number(1)
        language.size(1)
        language.time(datetime.now(UTC))


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
    )
