"""The email about a schedule that was disabled because its tasks failed."""

from chalicelib.outbox.messages import Message
from chalicelib.tasks.registry import TASKS
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
    url = f"{wiring.settings.public_url}/schedules"
    return write(envelope, _words(message, language), language, url=url)


def _words(message: Message, language: Language) -> Words:
    gettext, about = language.gettext, message.payload
    name = about["name"]
    return Words(
        subject=gettext("Your schedule was paused"),
        intro=gettext(
            "A task that you scheduled failed three times in a row, so we paused its schedule."
        ),
        facts=(
            (gettext("Task"), gettext(TASKS[name].title) if name in TASKS else name),
            (gettext("Rule"), about["rrule"]),
            (gettext("Time zone"), about["timezone"]),
            (gettext("Last failure"), language.reason(about["error_code"])),
        ),
        outro=gettext("You can resume it at any time:"),
        button=gettext("View schedules"),
        footer=gettext(
            "You're receiving this email because of a schedule in your Carryout account."
        ),
    )
