"""A long queue, and tables that have grown: nothing that is asked often depends on it."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
import sqlalchemy as sa

from chalicelib.accounts import accounts
from chalicelib.adapters.job_queue import JobQueue, doorbell
from chalicelib.db.engine import Database
from chalicelib.db.models import Task, User
from chalicelib.operations import queries
from chalicelib.operations.reconciler import MOST_RUNG, Sweeper
from chalicelib.tasks import requests as task_requests
from chalicelib.tasks.queue_position import EVERY, NEAR, Places
from chalicelib.values.paging import Page
from tests.conftest import both_databases
from tests.harness import ledgers
from tests.harness.fakes import FakeQueue, FakeStorage

LONG = NEAR + 3 * EVERY
FIRST_USER = 1000


def fill(database: Database, length: int, *, since: datetime) -> list[str]:
    """Queue tasks of as many users, a second apart; return their ids in their order."""
    ids = [f"{number:08}" for number in range(length)]
    users = [
        {
            "id": FIRST_USER + number,
            "username": f"user-{number}",
            "email": f"user-{number}@example.com",
            "password_hash": accounts.NOBODY,
            "language": "en",
            "created_at": since,
        }
        for number in range(length)
    ]
    rows = [
        {
            "id": task_id,
            "user_id": FIRST_USER + number,
            "name": "export_posts",
            "params": {},
            "max_attempts": 5,
            "created_at": since + timedelta(seconds=number),
            "queued_at": since + timedelta(seconds=number),
            "due_at": since,
        }
        for number, task_id in enumerate(ids)
    ]
    with database.write() as session:
        session.execute(sa.insert(cast("sa.Table", User.__table__)), users)
        session.execute(sa.insert(cast("sa.Table", Task.__table__)), rows)
    return ids


@both_databases
def test_places(database: Database, now: datetime) -> None:
    """Exact near the head, told to a hundred beyond, and never further than it is."""
    ids = fill(database, LONG, since=now - timedelta(days=1))
    places = Places(database)

    def place(index: int, *, at: datetime = now) -> int | None:
        with database.read() as session:
            seen = task_requests.get_task(session, FIRST_USER + index, ids[index])
        return places.tell(seen.task, seen.near, now=at)

    asked = (0, 1, NEAR - 1, NEAR, NEAR + EVERY, LONG - 1)
    assert [place(index) for index in asked] == [1, 2, NEAR, NEAR + 1, NEAR + EVERY, LONG]
    for index in range(2 * EVERY):
        ledgers.take(database, ids[index])
    assert place(0) is None
    assert place(2 * EVERY) == 1
    assert place(LONG - 1) == LONG  # as it was
    assert place(LONG - 1, at=now + timedelta(minutes=1)) == LONG - 2 * EVERY


@both_databases
def test_place_of_a_new_task(database: Database, now: datetime) -> None:
    """Who comes last stands last, and hears as much as can be counted."""
    fill(database, NEAR - 1, since=now - timedelta(days=1))
    for number, near in (("one", NEAR), ("two", NEAR + 1), ("three", NEAR + 1)):
        user_id = ledgers.make_user(database, number)
        wish = task_requests.Wish(name="export_posts", params={}, max_attempts=3)
        with database.write() as session:
            assert task_requests.launch(session, user_id, wish, now=ledgers.now()).near == near


def test_a_pass_rings_for_so_many(database: Database, now: datetime) -> None:
    """After Redis has lost a long queue, pass after pass goes on, the oldest first."""
    ids = fill(database, MOST_RUNG + 2, since=now - timedelta(days=1))
    queue = FakeQueue()
    sweeper = Sweeper(database, queue, FakeStorage, 30)
    assert sweeper.sweep(now=now)["rung"] == MOST_RUNG
    assert queue.rung == ids[:MOST_RUNG]
    assert sweeper.sweep(now=now)["rung"] == 2
    assert queue.rung == ids


def test_what_nobody_can_do_holds_up_nobody(
    database: Database, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks of an unknown kind are not rung for, and leave others their turn."""
    monkeypatch.setattr("chalicelib.operations.reconciler.MOST_RUNG", 2)
    ids = fill(database, 4, since=now - timedelta(days=1))
    for task_id in ids[:2]:
        ledgers.put(database, task_id, name="of_the_future")
    queue = FakeQueue()
    Sweeper(database, queue, FakeStorage, 30).sweep(now=now)
    assert queue.rung == ids[2:]


def test_ringing_for_many(redis_url: str) -> None:
    """More than one script takes at once are rung for all the same."""
    queue = JobQueue(doorbell(redis_url), "microblog-tasks", timeout_s=77)
    queue.ring((f"task-{number}", "example") for number in range(2001))
    assert queue.depth() == 2001
    queue.redis.close()


Ask = Callable[[Database, datetime], object]


def reading(ask: Callable[[Any], object]) -> Ask:
    """Ask in a session."""

    def asked(database: Database, _now: datetime) -> object:
        with database.read() as session:
            return ask(session)

    return asked


def launch(database: Database, now: datetime) -> None:
    """Launch a task."""
    wish = task_requests.Wish(name="export_posts", params={}, max_attempts=3)
    with database.write() as session:
        task_requests.launch(session, 1, wish, now=now)


def sweep(database: Database, now: datetime) -> None:
    """Do what a pass does to tasks that nobody holds."""
    sweeper = Sweeper(database, FakeQueue(), FakeStorage, 30)
    sweeper._ring()
    sweeper._expire(now)


def mark(database: Database, now: datetime) -> None:
    """Set marks."""
    task = Task(id="x", queued_at=now)
    Places(database).tell(task, NEAR + 1, now=now)


PLANS: dict[str, tuple[Ask, Sequence[str]]] = {
    "a task": (
        reading(lambda s: s.execute(task_requests._OF_USER, {"task_id": "x", "of": 1}).all()),
        ["ix_tasks_queued"],
    ),
    "a launch": (launch, ["ix_tasks_queued"]),
    "the marks": (mark, ["ix_tasks_queued"]),
    "the oldest": (reading(queries.oldest_queued), ["ix_tasks_queued"]),
    "all tasks": (
        reading(lambda s: task_requests.list_tasks(s, page=Page())),
        ["ix_tasks_created_at_id", "ix_tasks_queued"],
    ),
    "a user's": (
        reading(lambda s: task_requests.list_tasks(s, page=Page(), user_id=1)),
        ["ix_tasks_user_id_created_at_id"],
    ),
    "what goes on": (
        reading(lambda s: queries.going_on(s, limit=20)),
        ["ix_tasks_held", "ix_tasks_queued"],
    ),
    "what failed": (reading(lambda s: queries.failed(s, limit=20)), ["ix_tasks_failed"]),
    "what ended": (
        lambda database, now: reading(lambda s: queries.ended_since(s, now, limit=20))(
            database, now
        ),
        ["ix_tasks_finished"],
    ),
    "a sweep": (sweep, ["ix_tasks_mail", "ix_tasks_queued", "ix_letters_due_at", "ix_tasks_file"]),
    "posts": (reading(lambda s: accounts.count_posts(s, 1)), ["ix_posts_user_id_timestamp_id"]),
}


@both_databases
@pytest.mark.parametrize("name", PLANS)
def test_indexes_are_used(database: Database, now: datetime, name: str) -> None:
    """Each statement finds what it looks for by an index, none goes through a table."""
    ledgers.make_user(database)
    ask, indexes = PLANS[name]
    plan = plan_of(database, lambda: ask(database, now))
    assert [index for index in indexes if index not in plan] == []
    assert re.findall(r"SCAN tasks$|Seq Scan on tasks", plan, re.MULTILINE) == []
    if name == "posts":
        assert re.search("COVERING INDEX|Index Only Scan", plan)


def plan_of(database: Database, ask: Callable[[], object]) -> str:
    """How the database goes about all statements of a call."""
    sent: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        sent.append((statement, parameters))

    sa.event.listen(database.engine, "before_cursor_execute", note)
    ask()
    sa.event.remove(database.engine, "before_cursor_execute", note)
    postgresql = database.engine.dialect.name == "postgresql"
    explain = "EXPLAIN " if postgresql else "EXPLAIN QUERY PLAN "
    plan: list[str] = []
    with database.engine.connect() as connection:
        if postgresql:  # which does not bother with indexes of small tables
            connection.exec_driver_sql("SET enable_seqscan = off")
            connection.exec_driver_sql("SET enable_bitmapscan = off")
        for statement, parameters in sent:
            plan += [row[-1] for row in connection.exec_driver_sql(explain + statement, parameters)]
    return "\n".join(plan)
