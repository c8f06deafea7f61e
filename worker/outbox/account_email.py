"""The emails about an account: confirm an address, reset a password, tell the old address."""

from chalicelib.accounts import link_keys
from chalicelib.outbox.messages import Message
from chalicelib.values.languages import Language, language_for
from chalicelib.wiring import Wiring
from worker.outbox.email_message import Envelope, Words, write

PAGES = {"confirm": "/confirm", "reset": "/new-password", "moved": "/restore-address"}
"""Where the link of a topic leads."""


def compose(message: Message, wiring: Wiring, _content: bytes | None = None) -> bytes:
    """Write the email.

    Each try has a link of its own: the secret of an earlier one is known to nobody but its reader.

    Raises:
        ValueError: The name or the address holds what has no place in a header.
    """
    topic, user_id, now = message.topic, message.lease.user_id, wiring.now()
    key = link_keys.make_key(wiring.database, user_id, topic, address=message.address, now=now)
    url = f"{wiring.settings.public_url}{PAGES[topic]}?key={key}"
    language = language_for(message.language)
    unique = f"{message.lease.message}.{message.tries}"
    envelope = Envelope.of(message, sender=wiring.settings.mail_sender, unique=unique)
    return write(envelope, _words(message, language), language, url=url)


def _words(message: Message, language: Language) -> Words:
    facts = ((language.gettext("Username"), message.username),)
    footer = language.gettext(
        "You're receiving this email because of your Carryout account. If you didn't request it,"
        " you can ignore it."
    )
    if message.topic == "confirm":
        return Words(
            subject=language.gettext("Confirm your email address"),
            intro=language.gettext("Please confirm that this email address is yours."),
            facts=facts,
            outro=language.gettext("The link works once and expires in 3 days:"),
            button=language.gettext("Confirm email address"),
            footer=footer,
        )
    if message.topic == "reset":
        return Words(
            subject=language.gettext("Reset your password"),
            intro=language.gettext("We received a request to reset the password of your account."),
            facts=facts,
            outro=language.gettext("The link works once and expires in 15 minutes:"),
            button=language.gettext("Reset your password"),
            footer=footer,
        )
    return Words(
        subject=language.gettext("Your email address was changed"),
        intro=language.gettext(
            "Your account now uses a different email address, and this one is no longer used."
        ),
        facts=facts,
        outro=language.gettext("If this wasn't you, take the change back within 7 days:"),
        button=language.gettext("Take the change back"),
        # Nobody should ignore this one.
        footer=language.gettext(
            "You're receiving this email because the email address of your Carryout account was"
            " changed."
        ),
    )
