"""The people and the settings of the tests of the API."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from chalice.test import Client

from app import app
from chalicelib.accounts import accounts
from chalicelib.db.engine import Database
from chalicelib.settings import Settings
from chalicelib.wiring import Wiring
from tests.harness.ledgers import make_user, now
from tests.harness.people import Person

Join = Callable[..., Person]
Rewire = Callable[..., Wiring]


class Later(Wiring):
    """Wiring whose clock is ahead."""

    def __init__(self, settings: Settings, *, by: timedelta) -> None:
        super().__init__(settings)
        vars(self)["by"] = by

    def now(self) -> datetime:
        """The time, and some more."""
        by: timedelta = vars(self)["by"]
        return super().now() + by


@pytest.fixture
def join(client: Client, database: Database) -> Join:
    """Makes a person of a name, with an account and a token."""

    def make(username: str, *, is_admin: bool = False) -> Person:
        user_id = make_user(database, username, is_admin=is_admin)
        with database.write() as session:
            new = accounts.issue_token(session, user_id, ttl_s=3600 * 24 * 7, now=now())
        return Person(client, new.token, user_id)

    return make


@pytest.fixture
def susan(join: Join) -> Person:
    """A user."""
    return join("susan")


@pytest.fixture
def david(join: Join) -> Person:
    """Another user."""
    return join("david")


@pytest.fixture
def nobody(client: Client) -> Person:
    """Somebody without an account."""
    return Person(client)


@pytest.fixture
def rewire(client: Client, environment: dict[str, str]) -> Iterator[Rewire]:
    """Gives the app other settings, by their keys, or a clock that is ahead (`later`)."""
    assert client
    made: list[Wiring] = []

    def wire(*, later: timedelta = timedelta(0), **settings: str) -> Wiring:
        made.append(Later(Settings.from_mapping(environment | settings), by=later))
        app.__dict__["wiring"] = made[-1]
        return made[-1]

    yield wire
    for one in made:
        one.database.close()
        one.queue.redis.close()
