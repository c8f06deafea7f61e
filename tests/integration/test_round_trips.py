"""How often a request asks the database and Redis: each answer is waited for."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from redis import Connection

from chalicelib.db.engine import Database
from chalicelib.wiring import Wiring
from tests.conftest import Rewire, both_databases
from tests.harness import ledgers
from tests.harness.people import Person

AUTHENTICATION = 1
"""How many statements it takes to find out who calls; a poll does so with its one."""


@dataclass
class Asked:
    """What was sent.

    Attributes:
        statements: Every statement but BEGIN, COMMIT and ROLLBACK.
        redis: How often something was sent to Redis, however many commands at once.
    """

    statements: list[str] = field(default_factory=list)
    redis: int = 0


@pytest.fixture
def asked(client: object, wiring: Wiring) -> Asked:
    """Everything that the app sends from now on."""
    assert client
    return listen(wiring)


def listen(wiring: Wiring) -> Asked:
    """Note what goes through some clients."""
    noted = Asked()

    class Noting(Connection):
        """A connection that says when something is sent."""

        def send_packed_command(self, command: Any, check_health: bool = True) -> None:
            noted.redis += 1
            super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]

    def note(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        noted.statements.append(statement)

    sa.event.listen(wiring.database.engine, "before_cursor_execute", note)
    queue = wiring.queue
    queue.redis.connection_pool.connection_class = Noting
    queue.redis.ping()  # connects, which takes more than one
    return noted


@contextmanager
def asking(noted: Asked, *, statements: int, redis: int) -> Iterator[None]:
    """Check how often something is asked inside, authentication aside."""
    noted.statements.clear()
    noted.redis = 0
    yield
    assert len(noted.statements) == AUTHENTICATION + statements, noted.statements
    assert noted.redis == redis


@both_databases
def test_request_an_export(susan: Person, asked: Asked, database: Database) -> None:
    """One statement, or three on SQLite; and one script that enqueues a job."""
    with asking(asked, statements=1 if database.is_postgresql else 3, redis=1):
        answer = susan.post("/v1/exports", {})
    assert (answer.status_code, answer.json_body["queue_position"]) == (202, 1)


@both_databases
def test_request_an_export_by_a_key(susan: Person, asked: Asked, database: Database) -> None:
    """The key is a part of the one statement; asking again costs a few."""
    headers = {"Idempotency-Key": "once"}
    with asking(asked, statements=1 if database.is_postgresql else 4, redis=1):
        assert susan.post("/v1/exports", {}, headers=headers).status_code == 202
    with asking(asked, statements=5 if database.is_postgresql else 4, redis=1):
        assert susan.post("/v1/exports", {}, headers=headers).status_code == 202


@both_databases
def test_poll(susan: Person, asked: Asked, database: Database) -> None:
    """No other statement; while the task is queued, a look who is alive."""
    path = f"/v1/tasks/{susan.post('/v1/exports', {}).json_body['id']}"
    with asking(asked, statements=0, redis=1):
        etag = susan.get(path).headers["ETag"]
    with asking(asked, statements=0, redis=1):
        assert susan.get(path, headers={"If-None-Match": etag}).status_code == 304
    ledgers.claim(database, path.rpartition("/")[2])
    with asking(asked, statements=0, redis=0):
        assert susan.get(path).json_body["status"] == "running"


@both_databases
def test_notifications(susan: Person, asked: Asked) -> None:
    """One statement, whether there is news or not."""
    with asking(asked, statements=1, redis=0):
        assert susan.get("/v1/notifications").json_body["items"] == []
    susan.post("/v1/exports", {})
    with asking(asked, statements=1, redis=0):
        assert len(susan.get("/v1/notifications").json_body["items"]) == 1


@both_databases
def test_list(susan: Person, david: Person, asked: Asked) -> None:
    """One statement and one look who is alive, however many tasks are queued."""
    for person in (susan, david):
        person.post("/v1/exports", {})
        person.post("/v1/tasks", {"name": "example", "params": {"seconds": 1}})
    with asking(asked, statements=1, redis=1):
        assert len(susan.get("/v1/tasks").json_body["items"]) == 2


def test_limits(susan: Person, rewire: Rewire) -> None:
    """Counting a request takes one round trip; exports are counted by user, once it is known."""
    noted = listen(rewire(LIMITS="on"))
    with asking(noted, statements=1, redis=1):
        assert susan.get("/v1/notifications").status_code == 200
    with asking(noted, statements=3, redis=3):
        assert susan.post("/v1/exports", {}).status_code == 202
    with asking(noted, statements=1, redis=1):  # there is news, so it is not held
        assert susan.get("/v1/notifications?wait=20").json_body["items"]
    with asking(noted, statements=2, redis=3):  # takes a slot, and gives it back
        assert susan.get("/v1/notifications?after=9&wait=0.1").json_body["items"] == []


def test_one_connection(susan: Person, wiring: Wiring) -> None:
    """Requests one after another, as Lambda hands them over, share one connection."""
    connected: list[object] = []
    sa.event.listen(wiring.database.engine, "connect", lambda *args: connected.append(args))
    for _ in range(3):
        susan.post("/v1/exports", {})
        susan.get("/v1/tasks")
    assert len(connected) <= 1
