"""The email about an export that has ended."""

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from chalicelib.exports.kinds import Export, ExportWords, titled_rows
from chalicelib.outbox.messages import Message
from chalicelib.tasks.registry import TASKS
from chalicelib.values.fields import parse_time
from chalicelib.values.languages import Language, language_for
from chalicelib.wiring import Wiring
from worker.outbox.email_message import Envelope, Facts, Words, write
from worker.outbox.mime import Attachment


def compose(message: Message, wiring: Wiring, content: bytes | None = None) -> bytes:
    """Write the email, with the file attached when it fits.

    Args:
        message: What to tell, and to whom.
        wiring: Clients and settings.
        content: The file, where it is at hand; else it is read from S3.
    """
    key, settings = message.payload.get("key", ""), wiring.settings
    return write_email(
        message,
        sender=settings.mail_sender,
        public_url=settings.public_url,
        max_bytes=settings.mail_attach_max_bytes,
        read_file=lambda: b"".join(wiring.object_store.read(key)) if content is None else content,
    )


def write_email(
    message: Message,
    *,
    sender: str,
    public_url: str,
    max_bytes: int,
    read_file: Callable[[], bytes],
) -> bytes:
    """Write the email, with the file attached when it fits.

    Args:
        message: What to tell. The same message makes the same email, but for MIME boundaries.
        sender: The `From` header: an address, with or without a name.
        public_url: Where the application's pages are, without a final slash.
        max_bytes: Size of the largest email that may carry the file, as it is built here.
        read_file: Gives the file's bytes; called only when they may fit.

    Returns:
        The email as it goes over the wire (RFC 5322), in ASCII with CRLF.

    Raises:
        ValueError: The name or the address holds what has no place in a header.
        KeyError: This code does not know the kind of export.
    """
    kind, facts = TASKS[message.payload["name"]], message.payload
    if not isinstance(kind, Export):
        raise KeyError(kind.name)
    language = language_for(message.language)
    finished_at = parse_time(facts["finished_at"])
    # A task that is retried ends more than once: each ending is an email of its own.
    ending = f"{message.lease.task_id}.{facts['status']}.{finished_at:%Y%m%d%H%M%S%f}"
    envelope = Envelope(
        sender=sender,
        username=message.username,
        address=message.address,
        sent_at=finished_at,
        unique=ending,
    )

    def build(attachment: Attachment | None = None) -> bytes:
        attached = attachment.filename if attachment else None
        words = _Writer(kind, message, language).words(attached)
        url = f"{public_url}/exports/{message.lease.task_id}"
        return write(envelope, words, language, url=url, attachment=attachment)

    if facts["status"] == "succeeded" and _encoded_bytes(facts["size_bytes"]) <= max_bytes:
        at = facts["exported_at"] or facts["finished_at"]
        filename = kind.name_of(message.username, parse_time(at))
        if len(built := build(Attachment(read_file(), kind.content_type, filename))) <= max_bytes:
            return built
    return build()


def _encoded_bytes(size_bytes: int) -> int:
    """Size of a file in base64: lines of 57 bytes become 76 characters and CRLF (RFC 2045)."""
    return math.ceil(size_bytes / 3) * 4 + math.ceil(size_bytes / 57) * 2


class _Writer:
    """Finds the words for an outcome."""

    def __init__(self, kind: Export, message: Message, language: Language) -> None:
        self._kind = kind
        self._said: ExportWords = kind.words
        self._message = message
        self._facts: Mapping[str, Any] = message.payload
        self._language = language

    def words(self, attached: str | None) -> Words:
        """The words.

        Args:
            attached: What the attached file is called; None when there is none.
        """
        status = self._facts["status"]
        if status == "succeeded":
            return self._succeeded(attached)
        return self._failed() if status == "failed" else self._cancelled()

    def _succeeded(self, attached: str | None) -> Words:
        language, facts = self._language, self._facts
        rows = sum(facts["rows"].values())
        number, size = language.number(rows), language.size(facts["size_bytes"])
        gettext, username = language.gettext, self._message.username
        return Words(
            subject=gettext("Your export is ready"),
            intro=language.ngettext(*self._said.ready, rows) % {"number": number, "size": size},
            facts=_known(
                (gettext("Contents"), gettext(self._said.contents) % {"username": username}),
                (gettext("Requested"), self._time("requested_at")),
                (gettext("Exported"), self._time("exported_at")),
                *((gettext(title), language.number(count)) for title, count in self._rows()),
                (gettext("Size"), size),
                ("SHA-256", facts["sha256"]),
                (gettext("Available until"), self._time("expires_at")),
            ),
            outro=gettext("The file is attached as %(filename)s. You can also download it here:")
            % {"filename": attached}
            if attached
            else gettext("The file is too large to attach. Sign in to download it:"),
            button=gettext("Open the download page"),
            footer=gettext(self._said.footer),
        )

    def _rows(self) -> list[tuple[str, int]]:
        return titled_rows(self._kind, self._facts["rows"])

    def _failed(self) -> Words:
        language, facts = self._language, self._facts
        gettext = language.gettext
        # The details are for people who read English; in other languages the reason says enough.
        detail = facts["error_detail"] if language.code == "en" else None
        return Words(
            subject=gettext("Your export failed"),
            intro=gettext("The export you requested couldn't be completed. %(reason)s")
            % {"reason": language.reason(facts["error_code"])},
            facts=_known(
                (gettext("Requested"), self._time("requested_at")),
                (gettext("Failed at"), self._time("finished_at")),
                (gettext("Error code"), facts["error_code"]),
                (gettext("Details"), detail),
            ),
            outro=gettext(self._said.retry),
            button=gettext("View export"),
            footer=gettext(self._said.footer),
        )

    def _cancelled(self) -> Words:
        gettext = self._language.gettext
        return Words(
            subject=gettext("Your export was cancelled"),
            intro=gettext("Your export was cancelled. No file was kept."),
            facts=_known(
                (gettext("Requested"), self._time("requested_at")),
                (gettext("Cancelled at"), self._time("finished_at")),
            ),
            outro=gettext("You can try again at any time:"),
            button=gettext("View export"),
            footer=gettext(self._said.footer),
        )

    def _time(self, name: str) -> str | None:
        moment: datetime | None = parse_time(self._facts[name]) if self._facts[name] else None
        return self._language.time(moment) if moment else None


def _known(*facts: tuple[str, str | None]) -> Facts:
    return tuple((label, value) for label, value in facts if value)
