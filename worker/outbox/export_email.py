"""The mail about an export that has ended."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from functools import cache
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from chalicelib.values.fields import Email, flaw
from chalicelib.values.languages import Language, language_for

# 7bit: no server on the way has to announce 8BITMIME (RFC 6152).
POLICY = SMTP.clone(cte_type="7bit")

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class ExportNotice:
    """All that a mail tells about an export; moments are aware UTC.

    Attributes:
        status: How the export ended.
        email: Where the mail goes, an address alone.
        language: A code that `language_for` knows.
        exported_at: As of when the posts were taken; None before the first attempt.
        expires_at: Until when the file can be had.
        size_bytes: The file's size.
        error_code: Stable; known ones are explained in the user's language.
        error_detail: For people, in English.
    """

    status: Literal["succeeded", "failed", "cancelled"]
    task_id: str
    username: str
    email: str
    language: str
    requested_at: datetime
    exported_at: datetime | None
    finished_at: datetime
    posts: int
    size_bytes: int
    sha256: str | None
    expires_at: datetime | None
    error_code: str | None
    error_detail: str | None


def compose(
    notice: ExportNotice,
    *,
    sender: str,
    public_url: str,
    max_bytes: int,
    read_file: Callable[[], bytes],
) -> bytes:
    """Write the mail, with the file attached when it fits.

    Args:
        notice: What to tell. The same notice makes the same mail, but for MIME boundaries.
        sender: The `From` header: an address, with or without a name.
        public_url: Where the application's pages are, without a final slash.
        max_bytes: Size of the largest message that may carry the file, as it is built here.
        read_file: Gives the file's bytes; called only when they may fit.

    Returns:
        The message as it goes over the wire (RFC 5322), in ASCII with CRLF.

    Raises:
        ValueError: The name or the address holds what has no place in a header.
    """
    if notice.status == "succeeded" and _encoded_bytes(notice.size_bytes) <= max_bytes:
        message = _message(notice, sender=sender, public_url=public_url, attached=True)
        message.add_attachment(
            read_file(), maintype="application", subtype="json", filename="posts.json"
        )
        if len(built := message.as_bytes()) <= max_bytes:
            return built
    return _message(notice, sender=sender, public_url=public_url, attached=False).as_bytes()


@dataclass(frozen=True, kw_only=True)
class Words:
    """What a mail says, from top to bottom; text and HTML lay out the same letter."""

    subject: str
    intro: str
    facts: Facts
    outro: str  # leads to the address of the export's page, which follows
    button: str  # what the link is called where it is more than its address


def _encoded_bytes(size_bytes: int) -> int:
    """Size of a file in base64: lines of 57 bytes become 76 characters and CRLF (RFC 2045)."""
    return math.ceil(size_bytes / 3) * 4 + math.ceil(size_bytes / 57) * 2


def _message(notice: ExportNotice, *, sender: str, public_url: str, attached: bool) -> EmailMessage:
    language = language_for(notice.language)
    letter = _letter(notice, language, attached=attached)
    message = EmailMessage(policy=POLICY)
    _address(message, notice, sender=sender)
    message["Subject"] = letter.subject
    words = {
        "lang": language.code,
        "letter": letter,
        "greeting": language.gettext("Hello %(username)s,") % {"username": notice.username},
        "url": f"{public_url}/exports/{notice.task_id}",
        "footer": language.gettext(
            "You're receiving this email because an export of your posts was requested from"
            " your account."
        ),
    }
    message.set_content(templates().get_template("letter.txt").render(words))
    html = templates().get_template("letter.html").render(words)
    message.add_alternative(html, subtype="html")
    return message


def _address(message: EmailMessage, notice: ExportNotice, *, sender: str) -> None:
    # The email package refuses line breaks, but not those that an encoded word (RFC 2047) hides.
    if not notice.username.isprintable() or "=?" in notice.username:
        raise ValueError("the name of the user has no place in a header")
    if detail := flaw(notice.email, Email):
        raise ValueError(f"the user's mail address {detail}")
    message["From"] = sender
    message["To"] = Address(notice.username, addr_spec=notice.email)
    message["Date"] = notice.finished_at
    # A task that is retried ends more than once: each ending is a message of its own.
    ending = f"{notice.task_id}.{notice.status}.{notice.finished_at:%Y%m%d%H%M%S%f}"
    message["Message-ID"] = f"<{ending}@{message['From'].addresses[0].domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answering machine replies


def _letter(notice: ExportNotice, language: Language, *, attached: bool) -> Words:
    if notice.status == "succeeded":
        return _succeeded(notice, language, attached=attached)
    if notice.status == "failed":
        return _failed(notice, language)
    return _cancelled(notice, language)


def _succeeded(notice: ExportNotice, language: Language, *, attached: bool) -> Words:
    number, size = language.number(notice.posts), language.size(notice.size_bytes)
    return Words(
        subject=language.gettext("Your export is ready"),
        intro=language.ngettext(
            "The export you requested is ready: %(number)s post, %(size)s.",
            "The export you requested is ready: %(number)s posts, %(size)s.",
            notice.posts,
        )
        % {"number": number, "size": size},
        facts=_facts(
            (
                language.gettext("Contents"),
                language.gettext("All posts by %(username)s") % {"username": notice.username},
            ),
            (language.gettext("Requested"), language.time(notice.requested_at)),
            (
                language.gettext("Exported"),
                _time(notice.exported_at, language),
            ),
            (language.gettext("Posts"), number),
            (language.gettext("Size"), size),
            ("SHA-256", notice.sha256),
            (
                language.gettext("Available until"),
                _time(notice.expires_at, language),
            ),
        ),
        outro=language.gettext("The file is attached as posts.json. You can also download it here:")
        if attached
        else language.gettext("The file is too large to attach. Sign in to download it:"),
        button=language.gettext("Open the download page"),
    )


def _failed(notice: ExportNotice, language: Language) -> Words:
    return Words(
        subject=language.gettext("Your export failed"),
        intro=language.gettext("The export you requested couldn't be completed. %(reason)s")
        % {"reason": language.reason(notice.error_code)},
        facts=_facts(
            (language.gettext("Requested"), language.time(notice.requested_at)),
            (language.gettext("Failed at"), language.time(notice.finished_at)),
            (language.gettext("Error code"), notice.error_code),
            (language.gettext("Details"), notice.error_detail),
        ),
        outro=language.gettext("Your posts are safe. You can try again here:"),
        button=language.gettext("View export"),
    )


def _cancelled(notice: ExportNotice, language: Language) -> Words:
    return Words(
        subject=language.gettext("Your export was cancelled"),
        intro=language.gettext("Your export was cancelled. No file was kept."),
        facts=_facts(
            (language.gettext("Requested"), language.time(notice.requested_at)),
            (language.gettext("Cancelled at"), language.time(notice.finished_at)),
        ),
        outro=language.gettext("You can try again at any time:"),
        button=language.gettext("View export"),
    )


def _time(moment: datetime | None, language: Language) -> str | None:
    return language.time(moment) if moment else None


def _facts(*facts: tuple[str, str | None]) -> Facts:
    return tuple((label, value) for label, value in facts if value)


@cache
def templates() -> Environment:
    """The templates of all mails."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
    )
