"""What tests put into the ledger, and read out of it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from chalicelib.accounts.passwords import NOBODY
from chalicelib.adapters.object_store import Content
from chalicelib.db.engine import Database, db_clock
from chalicelib.db.models import ExportFile, OutboxMessage, Task, User
from chalicelib.exports import removals
from chalicelib.exports.publication import File
from chalicelib.microblog.models import Post
from chalicelib.tasks import leases
from chalicelib.tasks import requests as task_requests
from chalicelib.tasks.leases import Lease
from chalicelib.tasks.registry import TASKS, kind_of
from chalicelib.wiring import Wiring

LEASE_S = 30
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
JSON = Content("posts.json", "application/json")


def now() -> datetime:
    return datetime.now(UTC)


def make_user(database: Database, username: str = "susan", *, is_admin: bool = False) -> int:
    """A user whom no password lets in; hashing one would take longer than the test."""
    user = User(
        username=username,
        email=f"{username}@example.com",
        password_hash=NOBODY,
        language="en",
        is_admin=is_admin,
        created_at=now(),
        confirmed_at=now(),
    )
    with database.write() as session:
        session.add(user)
    return user.id


def write_posts(
    database: Database, user_id: int, bodies: Sequence[str], *, at: datetime = START
) -> list[int]:
    """Write posts of one moment; return their numbers."""
    with database.write() as session:
        posts = [Post(user_id=user_id, body=body, timestamp=at) for body in bodies]
        session.add_all(posts)
        session.flush()
        return [post.id for post in posts]


def launch(
    database: Database,
    user_id: int,
    name: str = "export_posts",
    *,
    max_attempts: int = 3,
    **params: Any,
) -> str:
    """Queue a task without enqueueing a job for it; return its id."""
    if name == "example":
        params = {"seconds": 1} | params
    request = task_requests.TaskRequest(kind=TASKS[name], params=params, max_attempts=max_attempts)
    with database.write() as session:
        return task_requests.launch_task(session, user_id, request, now=now()).task.id


def claim(database: Database, task_id: str, *, worker: str = "worker") -> Lease:
    """Claim a task that can be claimed, as a worker does whose job names its kind."""
    name = the_task(database, task_id).name
    claimed = leases.claim(database, task_id, worker=worker, lease_s=LEASE_S, now=now(), name=name)
    assert claimed is not None
    return claimed.lease


def the_task(database: Database, task_id: str) -> Task:
    """A task as it stands."""
    with database.read() as session:
        return session.get_one(Task, task_id)


def the_export(database: Database, task_id: str) -> ExportFile:
    """What an export adds to its task, as it stands."""
    with database.read() as session:
        return session.get_one(ExportFile, task_id)


def the_email(database: Database, task_id: str) -> OutboxMessage | None:
    """The email about an export's present outcome, as it stands; None while there is none."""
    with database.read() as session:
        export = session.get(ExportFile, task_id)
        if export is None or export.email_id is None:
            return None
        return session.get_one(OutboxMessage, export.email_id)


def put(database: Database, task_id: str, **values: Any) -> None:
    """Change a task behind the ledger's back, as time would."""
    with database.write() as session:
        session.execute(sa.update(Task).where(Task.id == task_id).values(**values))


def put_email(database: Database, task_id: str, **values: Any) -> None:
    """Change the messages about a task behind the ledger's back."""
    mine = OutboxMessage.task_id == task_id
    with database.write() as session:
        session.execute(sa.update(OutboxMessage).where(mine).values(**values))


def lapse(database: Database, task_id: str) -> None:
    """Let a task's leases run out, its emails' too, and the pauses before what comes next."""
    past = db_clock(-1)
    put(database, task_id, lease_until=past, due_at=past)
    put_email(database, task_id, lease_until=past, due_at=past)


def a_file(task: Task, claim: int, *, ttl_s: int = 3600) -> File:
    """A file as an attempt at an export writes it."""
    key = removals.attempt_prefix(task.user_id, task.id, claim) + JSON.filename
    return File(key, {"posts": 2}, 2, "0" * 64, ttl_s)


def publish(wiring: Wiring, task_id: str, *, ttl_s: int = 3600) -> str:
    """Do what an attempt of an export does; return the key of its file."""
    lease = claim(wiring.database, task_id)
    file = a_file(the_task(wiring.database, task_id), lease.claim, ttl_s=ttl_s)
    wiring.object_store.put(file.key, b"{}", JSON)
    lease.succeed(file, total=2, now=now())
    return file.key


def fail(database: Database, task_id: str, lease: Lease | None = None) -> None:
    """Fail a task for good; it is claimed for that, unless it is already."""
    lease, kind = lease or claim(database, task_id), kind_of(the_task(database, task_id))
    lease.fail("broken", "It broke.", now=now(), kind=kind)
