"""The email about a webhook that was disabled because its receiver failed or left."""

from urllib.parse import urlsplit, urlunsplit

from chalicelib.outbox.messages import Message
from chalicelib.values.languages import Language, language_for
from chalicelib.wiring import Wiring
from worker.outbox.email_message import Envelope, Words, write


def compose(message: Message, wiring: Wiring, _content: bytes | None = None) -> bytes:
    """Write the email.

    Raises:
        ValueError: The name or the address holds what has no place in a header.
    """
    language = language_for(message.language)
    sender, unique = wiring.settings.mail_sender, message.lease.message
    envelope = Envelope.of(message, sender=sender, unique=unique)
    url = f"{wiring.settings.public_url}/webhooks/{message.payload['webhook_id']}"
    return write(envelope, _words(message, language), language, url=url)


def _words(message: Message, language: Language) -> Words:
    gettext = language.gettext
    if message.payload["reason"] == "gone":
        intro = gettext(
            "We disabled one of your webhooks: its receiver no longer wants deliveries (410 Gone)."
        )
    else:
        intro = gettext("We disabled one of your webhooks: every delivery to it failed for a day.")
    return Words(
        subject=gettext("A webhook was disabled"),
        intro=intro,
        facts=((gettext("URL"), _without_query(message.payload["url"])),),
        outro=gettext(
            "Deliveries that were waiting are kept. When the receiver works again, you can enable"
            " the webhook here:"
        ),
        button=gettext("View webhook"),
        footer=gettext("You're receiving this email because your account has a webhook."),
    )


def _without_query(url: str) -> str:
    """A URL as it is recognized; its query may hold a secret, and emails are not kept secret."""
    return urlunsplit(urlsplit(url)._replace(query=""))
