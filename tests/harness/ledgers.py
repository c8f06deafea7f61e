"""What tests put into the ledger, and read out of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from chalicelib.accounts.accounts import NOBODY
from chalicelib.db.engine import Database, db_clock
from chalicelib.db.models import Task, User
from chalicelib.exports import removals
from chalicelib.tasks import leases
from chalicelib.tasks import requests as task_requests
from chalicelib.tasks.leases import File, Holder
from chalicelib.wiring import Wiring

FILE = File(key="exports/1/posts.json", posts=2, size_bytes=2, sha256="0" * 64)
LEASE_S = 30


def now() -> datetime:
    """The time."""
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


def launch(
    database: Database, user_id: int, name: str = "export_posts", *, max_attempts: int = 3
) -> str:
    """Queue a task without ringing for it; return its id."""
    params = {"seconds": 1} if name == "example" else {}
    wish = task_requests.Wish(name=name, params=params, max_attempts=max_attempts)
    with database.write() as session:
        return task_requests.launch_task(session, user_id, wish, now=now()).id


def take(database: Database, task_id: str, *, worker: str = "worker") -> Holder:
    """Claim a task that can be claimed."""
    taken = leases.take(database, task_id, worker=worker, lease_s=LEASE_S, now=now())
    assert taken is not None
    return taken[0]


def the_task(database: Database, task_id: str) -> Task:
    """A task as it stands."""
    with database.read() as session:
        return session.get_one(Task, task_id)


def put(database: Database, task_id: str, **values: Any) -> None:
    """Change a task behind the ledger's back, as time would."""
    with database.write() as session:
        session.execute(sa.update(Task).where(Task.id == task_id).values(**values))


def lapse(database: Database, task_id: str) -> None:
    """Let the lease of a task run out, or the pause before its next attempt."""
    past = db_clock(-1)
    put(database, task_id, lease_until=past, mail_lease_until=past, due_at=past, mail_due_at=past)


def publish(wiring: Wiring, task_id: str, *, ttl_s: int = 3600) -> str:
    """Do what an attempt of an export does; return the key of its file."""
    holder = take(wiring.database, task_id)
    user_id = the_task(wiring.database, task_id).user_id
    key = removals.attempt_key(user_id, task_id, holder.claim)
    wiring.storage.put(key, b"{}")
    expires_at = now() + timedelta(seconds=ttl_s)
    holder.succeed(now=now(), file=replace(FILE, key=key), expires_at=expires_at)
    return key


def fail(database: Database, task_id: str) -> None:
    """Claim a task and fail it for good."""
    take(database, task_id).fail("broken", "It broke.", now=now())
