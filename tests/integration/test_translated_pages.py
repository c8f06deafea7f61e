"""One language a page: what people read in Korean and Spanish holds no English."""

import re
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any

import pytest
import sqlalchemy as sa

from app import app
from chalicelib.db.models import User
from chalicelib.outbox import webhooks
from chalicelib.outbox.messages import Message, SendingLease
from chalicelib.wiring import Wiring
from tests.conftest import Join
from tests.harness import ledgers
from tests.harness.pages import Browser
from tests.harness.people import Person
from tests.harness.uploads import upload
from worker.outbox.sender import COMPOSERS

ENGLISH = (
    "an and are at be by can cannot done email every expired failed file for from have"
    " if in is it last may new next not now of on or password posts running size task tasks"
    " that the this time to until users was we when with you your"
)
"""Words that no Spanish text has, unlike `a`, `has` and `no`."""

NAMES = (
    "api carryout csv d export feed ff ffff fields freq get gone html http https id json"
    " lines mastodon mib ms ndjson oauth ok openapi rfc redis sha txt twitter url utc webhook x zip"
    " activitystreams kb mb gb tb kib ping bymonthday byhour bymonth monthly daily weekly"
    " curl javascript python amazon ses cloudwatch logs insights"
)
"""What is called so in every language."""

NO_PAGES = {"/static/{name}", "/.well-known/security.txt"}
"""What is no page."""

QUIET = {"script", "style", "code", "pre", "time"}


class Visible(HTMLParser):
    """Collects what a reader of a page sees, without names, code, and what says it is English."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self._left_out: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        foreign = "lang" in given and tag != "html"
        if self._left_out:
            self._left_out += [tag] if tag == self._left_out[0] else []
        elif tag in QUIET or foreign:
            self._left_out.append(tag)
        else:
            names = ("aria-label", "title", "alt", "data-confirm")
            self.pieces += [text for name in names if (text := given.get(name))]

    def handle_endtag(self, tag: str) -> None:
        if self._left_out and tag == self._left_out[-1]:
            self._left_out.pop()

    def handle_data(self, data: str) -> None:
        if not self._left_out and data.strip():
            self.pieces.append(data.strip())


def english(pieces: list[str], code: str, *names: str) -> set[str]:
    """The pieces that hold an English word; in Korean every Latin word is one, but for names."""
    found = set()
    for piece in pieces:
        # Addresses, names of files, of zones and of kinds of task are the same everywhere.
        plain = re.sub(r"\S*[@/_]\S*|\S+\.\w+|\w*\d\w*", " ", piece)
        for name in names:
            plain = plain.replace(name, " ")
        words = set(re.findall(r"[a-z]+", plain.lower()))
        words = words & set(ENGLISH.split()) if code == "es" else words - set(NAMES.split())
        found |= {piece} if words else set()
    return found


@pytest.fixture
def root(join: Join, wiring: Wiring) -> Person:
    """An administrator with an account in which everything has happened."""
    person = join("root", is_admin=True)
    person.write("...")
    user_id = person.user_id
    ledgers.publish(wiring, ledgers.launch(wiring.database, user_id))
    ledgers.fail(wiring.database, ledgers.launch(wiring.database, user_id))
    person.cancel(ledgers.launch(wiring.database, user_id))
    ledgers.launch(wiring.database, user_id, "count_words")
    ledgers.claim(wiring.database, ledgers.launch(wiring.database, user_id, "export_archive"))
    for rule in ("FREQ=HOURLY", "FREQ=MONTHLY;BYMONTHDAY=1;BYHOUR=3"):
        wanted = {"task": {"name": "export_posts"}, "rrule": rule, "timezone": "UTC"}
        person.call("POST", "/v1/schedules", wanted, 201)
    return person


def places(root: Person, wiring: Wiring) -> dict[str, list[str]]:
    """What stands in for each part of a page's path."""
    with wiring.database.write() as session:
        webhook = webhooks.create_webhook(
            session, root.user_id, url="https://1.2.3.4/", events=webhooks.EVENTS, now=ledgers.now()
        )
        webhooks.deliver_test(session, webhook.id, now=ledgers.now())
    tasks = root.get("/v1/tasks?limit=100").json_body["items"]
    return {
        "username": ["root"],
        "name": ["none"],
        "task_id": [one["id"] for one in tasks if one["name"].startswith("export")] + ["x"],
        "import_id": [upload(root, b"{}"), str(root.call("POST", "/v1/imports", {}, 201)["id"])],
        "webhook_id": [webhook.id],
    }


@pytest.mark.parametrize("code", ["es", "ko"])
def test_pages(root: Person, wiring: Wiring, code: str) -> None:
    """Every page, of somebody with everything and of nobody, is in the language alone."""
    found = places(root, wiring)
    with wiring.database.write() as session:
        session.execute(sa.update(User).values(language=code))
    looked_at = 0
    for browser in (Browser(root.client, root.token), Browser(root.client)):
        for page in app.pages:
            if page.method != "GET" or page.path in NO_PAGES:
                continue
            part = next(iter(re.findall(r"{(\w+)}", page.path)), "")
            for value in found.get(part, [""]):
                path = page.path.replace(f"{{{part}}}", value)
                answer = browser.get(path, **{"Accept-Language": code})
                if answer.status_code == 303:
                    continue
                html = answer.body.decode()
                assert f'<html lang="{code}">' in html
                left = english(Visible(html).pieces, code, "root", "microblog-tasks")
                assert (path, left) == (path, set())
                looked_at += 1
    assert looked_at > 40


def drafts(user_id: int) -> list[tuple[str, dict[str, Any]]]:
    """Each kind of email, and what it is about."""
    export = {
        "name": "export_archive",
        "requested_at": "2026-01-02T15:04:05Z",
        "exported_at": "2026-01-02T15:04:06Z",
        "finished_at": "2026-01-02T15:04:59Z",
        "rows": {"posts": 2},
        "size_bytes": 2,
        "sha256": "0" * 64,
        "expires_at": "2026-01-09T15:04:59Z",
        "error_code": "worker_lost",
        "error_detail": "The worker stopped unexpectedly.",
    }
    schedule = {"name": "export_posts", "rrule": "FREQ=DAILY", "timezone": "UTC"}
    webhook = {"webhook_id": "1", "url": "https://1.2.3.4/"}
    return [
        *(("export", {**export, "status": one}) for one in ("succeeded", "failed", "cancelled")),
        *((topic, {"user_id": user_id}) for topic in ("confirm", "reset", "moved")),
        ("schedule", {**schedule, "error_code": "timeout"}),
        *(("webhook_disabled", {**webhook, "reason": one}) for one in ("gone", "failing")),
    ]


@pytest.mark.parametrize("code", ["es", "ko"])
def test_emails(susan: Person, wiring: Wiring, code: str) -> None:
    """So is every email, its subject, its text and its HTML."""
    written = drafts(susan.user_id)
    assert {topic for topic, _ in written} == set(COMPOSERS)
    for topic, payload in written:
        message = Message(
            SendingLease(wiring.database, "1", 1, susan.user_id, "1"),
            *(topic, payload, "susan@1.2.3.4", 1, ledgers.now(), "susan", code, True),
        )
        content = b"{}" if topic == "export" else None
        email = message_from_bytes(
            COMPOSERS[topic](message, wiring, content), policy=policy.default
        )
        assert isinstance(email, EmailMessage)
        text, html = email.get_body(("plain",)), email.get_body(("html",))
        assert text
        assert html
        pieces = [email["Subject"], *text.get_content().splitlines()]
        pieces += Visible(html.get_content()).pieces
        assert (topic, english(pieces, code, "susan")) == (topic, set())


def test_the_net_is_fine_enough() -> None:
    """An English sentence among others is found, and so is a label."""
    for code in ("es", "ko"):
        assert english(["Your file is ready.", "123"], code) == {"Your file is ready."}
    assert english(["Failed at"], "ko") == {"Failed at"}
