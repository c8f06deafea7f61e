"""A long queue, and tables that have grown: nothing that is asked often depends on it."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
import sqlalchemy as sa

from chalicelib.accounts import passwords
from chalicelib.adapters.job_queue import JobQueue, api_client
from chalicelib.db.engine import Database
from chalicelib.db.models import Task, User
from chalicelib.exports import views
from chalicelib.microblog import posts
from chalicelib.operations import oversight, queries
from chalicelib.operations.backlog import measure
from chalicelib.operations.reconciler import MOST_ENQUEUED, Reconciler
from chalicelib.outbox import messages
from chalicelib.tasks import leases
from chalicelib.tasks import requests as task_requests
from chalicelib.tasks.queue_position import EXACT_UP_TO, MARKER_INTERVAL, QueuePositions
from chalicelib.tasks.registry import TASKS
from chalicelib.values.paging import Page
from tests.conftest import both_databases
from tests.harness import ledgers
from tests.harness.fakes import FakeObjectStore, FakeQueue

LONG = EXACT_UP_TO + 3 * MARKER_INTERVAL
FIRST_USER = 1000


def fill(database: Database, length: int, *, since: datetime) -> list[str]:
    """Queue tasks of as many users, a second apart; return their ids in their order."""
    ids = [f"{number:08}" for number in range(length)]
    users = [
        {
            "id": FIRST_USER + number,
            "username": f"user-{number}",
            "email": f"user-{number}@example.com",
            "password_hash": passwords.NOBODY,
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
def test_positions(database: Database, now: datetime) -> None:
    """Exact near the head, rounded to a hundred beyond, and never further than it is."""
    ids = fill(database, LONG, since=now - timedelta(days=1))
    positions = QueuePositions(database)

    def position(index: int, *, at: datetime = now) -> int | None:
        with database.read() as session:
            view = views.view_task(session, ids[index], owner=FIRST_USER + index)
        return positions.position(view.task, view.counted, now=at)

    asked = (0, 1, EXACT_UP_TO - 1, EXACT_UP_TO, EXACT_UP_TO + MARKER_INTERVAL, LONG - 1)
    told = [1, 2, EXACT_UP_TO, EXACT_UP_TO + 1, EXACT_UP_TO + MARKER_INTERVAL, LONG]
    assert [position(index) for index in asked] == told
    for index in range(2 * MARKER_INTERVAL):
        ledgers.claim(database, ids[index])
    assert position(0) is None
    assert position(2 * MARKER_INTERVAL) == 1
    assert position(LONG - 1) == LONG  # as it was
    assert position(LONG - 1, at=now + timedelta(minutes=1)) == LONG - 2 * MARKER_INTERVAL


def an_export() -> task_requests.TaskRequest:
    """What somebody asks for who wants their posts."""
    return task_requests.TaskRequest(kind=TASKS["export_posts"], params={}, max_attempts=3)


@both_databases
def test_position_of_a_new_task(database: Database, now: datetime) -> None:
    """A task that comes last stands last, and is told as much as can be counted."""
    fill(database, EXACT_UP_TO - 1, since=now - timedelta(days=1))
    told = []
    for username in ("one", "two", "three"):
        user_id = ledgers.make_user(database, username)
        with database.write() as session:
            launched = task_requests.launch_task(session, user_id, an_export(), now=ledgers.now())
        assert launched.is_new
        told.append(launched.position)
    assert told == [EXACT_UP_TO, EXACT_UP_TO + 1, EXACT_UP_TO + 1]


def test_a_pass_enqueues_so_many(database: Database, now: datetime) -> None:
    """After Redis has lost a long queue, pass after pass goes on, the oldest first."""
    ids = fill(database, MOST_ENQUEUED + 2, since=now - timedelta(days=1))
    queue = FakeQueue()
    reconciler = Reconciler(database, queue, FakeObjectStore, 30)
    assert reconciler.sweep(now=now)["enqueued"] == MOST_ENQUEUED
    assert queue.enqueued == ids[:MOST_ENQUEUED]
    assert reconciler.sweep(now=now)["enqueued"] == 2
    assert queue.enqueued == ids


def test_what_nobody_can_do_holds_up_nobody(
    database: Database, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks of an unknown kind get no job, and leave others their turn."""
    monkeypatch.setattr("chalicelib.operations.reconciler.MOST_ENQUEUED", 2)
    ids = fill(database, 4, since=now - timedelta(days=1))
    for task_id in ids[:2]:
        ledgers.put(database, task_id, name="of_the_future")
    queue = FakeQueue()
    Reconciler(database, queue, FakeObjectStore, 30).sweep(now=now)
    assert queue.enqueued == ids[2:]


def test_enqueueing_many(redis_url: str) -> None:
    """More jobs than one script takes at once are enqueued all the same."""
    queue = JobQueue(api_client(redis_url), "microblog-tasks", timeout_s=77)
    queue.enqueue((f"task-{number}", "example") for number in range(2001))
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
    with database.write() as session:
        task_requests.launch_task(session, 1, an_export(), now=now)


def sweep(database: Database, now: datetime) -> None:
    """Do what a pass does to tasks, files and messages."""
    reconciler = Reconciler(database, FakeQueue(), FakeObjectStore, 30)
    reconciler._recover(now)
    reconciler._enqueue()
    reconciler._expire(now)
    messages.recover(database, now=now, most=1000)


def sample_markers(database: Database, now: datetime) -> None:
    task = Task(id="x", queued_at=now)
    QueuePositions(database).position(task, EXACT_UP_TO + 1, now=now)


def settle(database: Database, now: datetime) -> None:
    """Write down what became of a message about a task."""
    messages.SendingLease(database, "x", 1, 1, "x").settle("sent", now=now)


def release(database: Database, _now: datetime) -> None:
    """Have the messages sent that waited for a user's address."""
    with database.write() as session:
        messages.release_unconfirmed(session, 1)


PLANS: dict[str, tuple[Ask, Sequence[str]]] = {
    "a task": (
        reading(lambda s: s.execute(views._OF_USER, {"task_id": "x", "of": 1}).all()),
        ["ix_tasks_queued"],
    ),
    "a launch": (launch, ["ix_tasks_queued"]),
    "the markers": (sample_markers, ["ix_tasks_queued"]),
    "the oldest": (reading(queries.oldest_queued), ["ix_tasks_queued"]),
    "all tasks": (
        reading(lambda s: views.list_tasks(s, page=Page())),
        ["ix_tasks_created_at_id", "ix_tasks_queued"],
    ),
    "a user's": (
        reading(lambda s: views.list_tasks(s, page=Page(), user_id=1)),
        ["ix_tasks_user_id_created_at_id"],
    ),
    "what goes on": (
        reading(lambda s: queries.going_on(s, limit=20)),
        ["ix_tasks_leased", "ix_tasks_queued"],
    ),
    "what failed": (reading(lambda s: queries.failed(s, limit=20)), ["ix_tasks_failed"]),
    "what ended": (
        lambda database, now: reading(
            lambda s: queries.ended_between(s, now - timedelta(days=1), now, limit=20)
        )(database, now),
        ["ix_tasks_finished"],
    ),
    "everybody's messages": (
        reading(lambda s: oversight.list_messages(s, page=Page())),
        ["ix_outbox_created_at_id"],
    ),
    "messages that failed": (
        reading(lambda s: oversight.list_messages(s, page=Page(), states=["failed"])),
        ["ix_outbox_failed"],
    ),
    "everybody's imports": (
        reading(lambda s: oversight.list_imports(s, page=Page())),
        ["ix_imports_created_at_id"],
    ),
    "a sweep": (
        sweep,
        ["ix_tasks_leased", "ix_tasks_queued", "ix_exports_expires_at", "ix_outbox_due_at"],
    ),
    "a dead worker's": (reading(lambda s: leases.leased_by(s, "worker")), ["ix_tasks_leased"]),
    "the backlog": (
        lambda database, _now: measure(database, FakeQueue()),
        ["ix_tasks_leased", "ix_tasks_queued", "ix_outbox_due_at"],
    ),
    "what is to be sent": (
        lambda database, _now: messages.claim_due(database, lease_s=30),
        ["ix_outbox_due_at"],
    ),
    "a task's messages": (
        lambda database, _now: messages.claim_of_task(database, "x", lease_s=30),
        ["ix_outbox_task_id"],
    ),
    "a message": (settle, ["outbox"]),
    "a user's messages": (release, ["ix_outbox_user_id_created_at_id"]),
    "posts": (reading(lambda s: posts.count_posts(s, 1)), ["ix_posts_user_id_timestamp_id"]),
}


@both_databases
@pytest.mark.parametrize("name", PLANS)
def test_indexes_are_used(database: Database, now: datetime, name: str) -> None:
    """Each statement finds what it looks for by an index, none goes through a table."""
    ledgers.make_user(database)
    ask, indexes = PLANS[name]
    plan = plan_of(database, lambda: ask(database, now))
    assert [index for index in indexes if index not in plan] == []
    tables = "(?:tasks|queue|exports|outbox)"
    assert re.findall(rf"SCAN {tables}$|Seq Scan on {tables}", plan, re.MULTILINE) == []
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
