"""The mails about an account: confirm an address, reset a password, tell the old address."""

from email.headerregistry import Address
from email.message import EmailMessage

from chalicelib.db.models import Letter, User
from chalicelib.values.fields import Email, flaw
from chalicelib.values.languages import Language, language_for
from worker.outbox.export_email import POLICY, Words, templates


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
        "footer": _footer(letter.kind, language),
    }
    message.set_content(templates().get_template("letter.txt").render(facts))
    html = templates().get_template("letter.html").render(facts)
    message.add_alternative(html, subtype="html")
    return message.as_bytes()


def _words(kind: str, user: User, language: Language) -> Words:
    if kind == "confirm":
        return Words(
            subject=language.gettext("Confirm your email address"),
            intro=language.gettext("Please confirm that this email address is yours."),
            facts=((language.gettext("Username"), user.username),),
            outro=language.gettext("The link works once and expires in 3 days:"),
            button=language.gettext("Confirm email address"),
        )
    if kind == "reset":
        return Words(
            subject=language.gettext("Reset your password"),
            intro=language.gettext("We received a request to reset the password of your account."),
            facts=((language.gettext("Username"), user.username),),
            outro=language.gettext("The link works once and expires in 15 minutes:"),
            button=language.gettext("Reset your password"),
        )
    return Words(
        subject=language.gettext("Your email address was changed"),
        intro=language.gettext(
            "Your account now uses a different email address, and this one is no longer used."
        ),
        facts=((language.gettext("Username"), user.username),),
        outro=language.gettext("If this wasn't you, sign in and change your password right away:"),
        button=language.gettext("Open Carryout"),
    )


def _footer(kind: str, language: Language) -> str:
    if kind == "moved":  # nobody may ignore that one
        return language.gettext(
            "You're receiving this email because the email address of your Carryout account was"
            " changed."
        )
    return language.gettext(
        "You're receiving this email because of your Carryout account. If you didn't request it,"
        " you can ignore it."
    )
