"""The mails about an account: confirm an address, reset a password, tell the old address."""

from email.headerregistry import Address
from email.message import EmailMessage

from chalicelib.fields import Email, flaw
from chalicelib.languages import Language, language_for
from chalicelib.models import Letter, User
from worker.mail.compose import POLICY, Words, templates


def compose(letter: Letter, user: User, *, url: str, sender: str) -> bytes:
    """Write the mail.

    Args:
        letter: What is to be said, and to which address.
        user: To whom.
        url: Where the button leads.
        sender: The `From` header.

    Raises:
        ValueError: The address holds what has no place in a header.
    """
    if detail := flaw(letter.address, Email):
        raise ValueError(f"the mail address {detail}")
    language = language_for(user.language)
    message = EmailMessage(policy=POLICY)
    message["From"] = sender
    message["To"] = Address(user.username, addr_spec=letter.address)
    message["Date"] = letter.created_at
    message["Message-ID"] = f"<{letter.id}.{letter.tries}@{message['From'].addresses[0].domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answering machine replies
    said = _words(letter.kind, user, language)
    message["Subject"] = said.subject
    facts = {
        "lang": language.code,
        "letter": said,
        "greeting": language.gettext("Hello %(username)s,") % {"username": user.username},
        "url": url,
        "footer": language.gettext(
            "You receive this message because of your account. If you did not ask for it, you can"
            " ignore it."
        ),
    }
    message.set_content(templates().get_template("letter.txt").render(facts))
    html = templates().get_template("letter.html").render(facts)
    message.add_alternative(html, subtype="html")
    return message.as_bytes()


def _words(kind: str, user: User, language: Language) -> Words:
    if kind == "confirm":
        return Words(
            subject=language.gettext("Confirm your mail address"),
            intro=language.gettext("Confirm that this mail address is yours."),
            facts=((language.gettext("Username"), user.username),),
            outro=language.gettext("The link works once, within three days:"),
            button=language.gettext("Confirm the address"),
        )
    if kind == "reset":
        return Words(
            subject=language.gettext("Choose a new password"),
            intro=language.gettext("Somebody, probably you, asked for a new password."),
            facts=((language.gettext("Username"), user.username),),
            outro=language.gettext("The link works once, within 15 minutes:"),
            button=language.gettext("Choose a new password"),
        )
    return Words(
        subject=language.gettext("Your mail address was changed"),
        intro=language.gettext("Your account has another mail address now; this one is not used."),
        facts=((language.gettext("Username"), user.username),),
        outro=language.gettext("If that was not you, sign in and change your password at once:"),
        button=language.gettext("Open Carryout"),
    )
