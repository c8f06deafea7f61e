"""Cursors that were tampered with: every list answers with its caller's own items, or refuses."""

import random
from urllib.parse import quote

import pytest

from app import app
from chalicelib.db.engine import Database
from chalicelib.outbox import webhooks
from chalicelib.wiring import Wiring
from tests.conftest import Join, both_databases
from tests.harness import ledgers
from tests.harness.people import Person
from tests.harness.uploads import upload

LISTS = sorted(
    one.path
    for one in app.endpoints
    if one.method == "GET" and "cursor" in one.query.__struct_fields__
)
SCHEDULE = {"task": {"name": "export_posts"}, "rrule": "FREQ=DAILY", "timezone": "UTC"}
MUTANTS = 20
WORST = ["1" * 18 + "_" + "9" * 40, "0_0", "9" * 18 + "_x", "1_-1", "1_1e9", "1_" + "f" * 400]


def fill(wiring: Wiring, person: Person) -> str:
    """Give somebody three of everything that is listed; return a webhook's id."""
    for _ in range(3):
        person.call("POST", "/v1/posts", {"body": person.username}, 201)
        person.call("POST", "/v1/schedules", SCHEDULE, 201)
        ledgers.fail(wiring.database, ledgers.launch(wiring.database, person.user_id))
        upload(person, b"{}")
    with wiring.database.write() as session:
        webhook = [
            webhooks.create_webhook(
                session,
                person.user_id,
                url="https://example.com/",
                events=webhooks.EVENTS,
                now=ledgers.now(),
            )
            for _ in range(3)
        ][-1]
        for _ in range(3):
            webhooks.deliver_test(session, webhook.id, now=ledgers.now())
    return webhook.id


def mutated(chance: random.Random, text: str) -> str:
    """A cursor with a few characters changed, doubled, cut or added."""
    characters = list(text)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(characters) + 1)
        characters[at : at + chance.randint(0, 3)] = chance.choice(
            [str(chance.randrange(10)), "_", "-", "\0", "é", "'", "%", " ", "9" * 20, ""]
        )
    return "".join(characters)


@both_databases
def test_tampered_cursors(join: Join, wiring: Wiring, database: Database) -> None:
    """Nothing breaks, nobody's items but the caller's come, and the error names the parameter."""
    assert database
    assert len(LISTS) >= 7
    others = join("david")
    fill(wiring, others)
    susan = join("susan", is_admin=True)
    own = {"username": "susan", "webhook_id": fill(wiring, susan)}
    chance = random.Random(1)
    for pattern in LISTS:
        path = pattern.format(**own)
        everything = susan.get(f"{path}?limit=100").json_body["items"]
        first = susan.get(f"{path}?limit=1").json_body
        for text in (*WORST, *(mutated(chance, first["next"]) for _ in range(MUTANTS))):
            answer = susan.get(f"{path}?cursor={quote(text)}")
            assert answer.status_code in {200, 422}, (path, text, answer.body)
            if answer.status_code == 200:
                assert all(item in everything for item in answer.json_body["items"]), (path, text)
            else:
                (error,) = answer.json_body["errors"]
                assert error["pointer"] == "?cursor"


def test_a_cursor_opens_nothing(join: Join, wiring: Wiring) -> None:
    """Another one's cursor is a place in one's own list: it says nothing about the other's."""
    david, susan = join("david"), join("susan")
    fill(wiring, david)
    fill(wiring, susan)
    for path in ("/v1/tasks", "/v1/imports", "/v1/schedules", "/v1/webhooks"):
        own = susan.get(f"{path}?limit=100").json_body["items"]
        place = david.get(f"{path}?limit=1").json_body["next"]
        found = susan.get(f"{path}?cursor={quote(place)}").json_body["items"]
        assert all(item in own for item in found)


@pytest.mark.parametrize("path", [one for one in LISTS if "{" not in one])
def test_a_cursor_of_another_list(path: str, join: Join, wiring: Wiring) -> None:
    """A cursor of any other list is refused or a place in this one."""
    susan = join("susan", is_admin=True)
    fill(wiring, susan)
    for other in (one for one in LISTS if "{" not in one):
        place = susan.get(f"{other}?limit=1").json_body["next"]
        assert susan.get(f"{path}?cursor={quote(place or '')}").status_code in {200, 422}
