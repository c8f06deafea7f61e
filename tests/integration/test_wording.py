"""What is said where: sentences that once stood in the wrong place, or said what is not so."""

import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage

import click
import pytest

import infra.aws.__main__
import infra.local.__main__
import infra.local.emulate
import infra.package.__main__
import worker.__main__
from chalicelib import errors
from chalicelib.outbox.messages import Message, SendingLease
from chalicelib.values.languages import LANGUAGES, language_for
from chalicelib.web import problems
from chalicelib.wiring import Wiring
from tests.harness import ledgers
from tests.harness.pages import Browser
from tests.harness.people import Person
from worker.outbox.account_email import PAGES, compose

IGNORE = {"en": "ignore", "es": "ignorar", "ko": "무시"}

PROGRAMS = {
    "worker": worker.__main__.main,
    "infra.local": infra.local.__main__.main,
    "infra.local.emulate": infra.local.emulate.main,
    "infra.package": infra.package.__main__.main,
    "infra.aws": infra.aws.__main__.main,
}

TITLES = {
    errors.BodyTooLarge: "Content Too Large",
    errors.Invalid: "Unprocessable Content",
    errors.Unauthenticated: "Unauthorized",
    errors.TooMany: "Too Many Requests",
}
"""Titles of RFC 9110 and RFC 6585; Python called the first two otherwise up to 3.12."""


@pytest.mark.parametrize("code", LANGUAGES)
@pytest.mark.parametrize("topic", PAGES)
def test_a_warning_is_not_to_be_ignored(
    susan: Person, wiring: Wiring, topic: str, code: str
) -> None:
    """Only who did not ask for a link may ignore the email; a changed address is no such thing."""
    message = Message(
        SendingLease(wiring.database, "1", 1, susan.user_id, "1"),
        *(topic, {"user_id": susan.user_id}, "susan@example.com", 1),
        *(ledgers.now(), "susan", code, True),
    )
    email = message_from_bytes(compose(message, wiring), policy=policy.default)
    assert isinstance(email, EmailMessage)
    for body in (email.get_body(("plain",)), email.get_body(("html",))):
        assert body
        assert (IGNORE[code] in body.get_content()) == (topic != "moved")


def test_where_an_email_went_is_not_said(susan: Person, wiring: Wiring) -> None:
    """The page of an export says when its email was sent; the address may be another by now."""
    task_id = ledgers.launch(wiring.database, susan.user_id)
    ledgers.publish(wiring, task_id)
    ledgers.put_email(wiring.database, task_id, state="sent", sent_at=ledgers.now())
    page = Browser(susan.client, susan.token).get(f"/exports/{task_id}").body.decode()
    assert re.search(r"sent <time datetime=", page)
    assert re.search(r"Requested <time datetime=", page)
    assert "&lt;time" not in page
    assert susan.address not in page


def test_a_post_is_of_no_known_language(susan: Person) -> None:
    """A screen reader does not read what others wrote as if it were in the page's language."""
    susan.write("Hola.")
    page = Browser(susan.client, susan.token).get(f"/users/{susan.username}").body.decode()
    assert '<p class="body" dir="auto" lang="">Hola.</p>' in page


@pytest.mark.parametrize("kind", TITLES, ids=lambda kind: kind.__name__)
def test_titles_are_those_of_the_standards(kind: type[errors.CarryoutError]) -> None:
    """The title of a problem is the same in every version of Python."""
    assert problems.describe(kind)["title"] == TITLES[kind]


@pytest.mark.parametrize("code", ["es", "ko"])
@pytest.mark.parametrize("number", [1, 2])
def test_numbers_agree(code: str, number: int) -> None:
    """A number of failed tasks is a label and a number, and a duration takes no article."""
    language = language_for(code)
    failed = language.gettext("%(number)s failed") % {"number": number}
    left = language.gettext("about %(time)s left") % {"time": language.duration(3600 * number)}
    hours = language.duration(3600 * number)
    assert failed == {"es": f"Fallidas: {number}", "ko": f"실패 {number}건"}[code]
    assert left == {"es": f"tiempo restante: aprox. {hours}", "ko": f"약 {hours} 남음"}[code]


def options(command: click.Command, name: str) -> Iterator[tuple[str, click.Option]]:
    """Every option of a command and of those in it, each by the name of its command."""
    for option in command.params:
        if isinstance(option, click.Option):
            yield name, option
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        yield from options(inner, f"{name} {inner.name}")


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_option_has_help(name: str) -> None:
    """No option of a command line is left to be guessed."""
    found = [(where, one.name) for where, one in options(PROGRAMS[name], name) if not one.help]
    assert found == []
