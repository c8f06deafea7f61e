"""What must vanish from S3, written down in the transaction that makes it worthless."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db import Database
from chalicelib.models import ACTIVE, Removal, Task

KEPT = (*ACTIVE, "succeeded")
"""Tasks in these states may still need the object that they name."""


class Bucket(Protocol):
    """What a removal needs of the storage."""

    def clear(self, prefix: str, *, keep: set[str]) -> None:
        """Delete all objects and unfinished uploads under a prefix, but for the keys to keep."""


def user_prefix(user_id: int) -> str:
    """Where all files of a user are."""
    return f"exports/{user_id}/"


def task_prefix(user_id: int, task_id: str) -> str:
    """Where all files of a task are, whichever attempt wrote them."""
    return f"exports/{user_id}/{task_id}/"


def wish(session: so.Session, prefix: str, *, now: datetime, lease_s: int) -> None:
    """Have everything under a prefix removed at once, and again when the last lease is over.

    The second time catches what a worker wrote that did not know yet that it had lost its task.
    """
    session.add(Removal(prefix=prefix, due_at=now))
    session.add(Removal(prefix=prefix, due_at=now + timedelta(seconds=2 * lease_s)))


def carry_out(database: Database, bucket: Bucket, prefix: str) -> None:
    """Remove what lies under a prefix and is not what a task in the ledger names."""
    with database.read() as session:
        keys = session.scalars(
            sa.select(Task.object_key).where(
                Task.object_key.startswith(prefix, autoescape=True),
                Task.status.in_(KEPT),
                Task.gone_at.is_(None),
            )
        )
        keep = {key for key in keys if key is not None}
    bucket.clear(prefix, keep=keep)


def carry_out_due(
    database: Database, bucket: Callable[[], Bucket], *, now: datetime, most: int = 100
) -> int:
    """Carry out the removals that are due, the oldest first.

    Args:
        database: The ledger.
        bucket: Makes the storage's client; called only when something is due.
        now: The time.
        most: How many to carry out.

    Returns:
        How many were carried out; each is forgotten only after it was.
    """
    due = sa.select(Removal).where(Removal.due_at <= now).order_by(Removal.due_at).limit(most)
    with database.read() as session:
        removals = session.scalars(due).all()
    for prefix in {removal.prefix for removal in removals}:
        carry_out(database, bucket(), prefix)
    if not removals:
        return 0
    ids = [removal.id for removal in removals]
    with database.write() as session:
        session.execute(sa.delete(Removal).where(Removal.id.in_(ids)))
    return len(ids)
