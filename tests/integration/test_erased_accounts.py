"""What was begun for an account that is erased before it is done."""

from collections.abc import Callable

import pytest
from sqlalchemy import orm as so

from chalicelib.db.engine import Database
from chalicelib.errors import Unauthenticated
from chalicelib.outbox import webhooks
from chalicelib.tasks import notifications, requests, schedules
from chalicelib.tasks.registry import TASKS
from tests.conftest import both_databases
from tests.harness.ledgers import now

pytestmark = both_databases

GONE = 4711
"""The number of nobody."""


def create_webhook(session: so.Session) -> object:
    return webhooks.create_webhook(
        session, GONE, url="https://example.com/", events=webhooks.EVENTS, now=now()
    )


def create_schedule(session: so.Session) -> object:
    daily = schedules.Plan(name="export_posts", params={}, rrule="FREQ=DAILY", timezone="UTC")
    return schedules.create(session, GONE, daily)


def launch_task(session: so.Session) -> object:
    request = requests.TaskRequest(kind=TASKS["export_posts"], params={}, max_attempts=3)
    return requests.launch_task(session, GONE, request, now=now())


@pytest.mark.parametrize("begin", [create_webhook, create_schedule, launch_task])
def test_nothing_is_begun(database: Database, begin: Callable[[so.Session], object]) -> None:
    """Who was signed in a moment ago is nobody now."""

    def attempt() -> None:
        with database.write() as session:
            begin(session)

    with pytest.raises(Unauthenticated):
        attempt()


def test_nothing_is_new(database: Database) -> None:
    """A client that still watches hears nothing, and of no number to go on from."""
    with database.read() as session:
        assert notifications.since(session, GONE, after=0) == ([], None)
