"""What must vanish from S3, written down in the transaction that makes it worthless."""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.adapters.object_store import FILENAME
from chalicelib.db.engine import Database
from chalicelib.db.models import ACTIVE, Removal, Task

KEPT = (*ACTIVE, "succeeded")
"""Tasks in these states may still need the object that they name."""


class Bucket(Protocol):
    """What a removal needs of the storage."""

    def clear(self, prefix: str, *, keep: Callable[[], Collection[str]]) -> None:
        """Delete all objects and unfinished uploads under a prefix, but for the keys to keep.

        Args:
            prefix: Where to look.
            keep: Asked for the keys after each look, never before.
        """


def user_prefix(user_id: int) -> str:
    """Where all files of a user are."""
    return f"exports/{user_id}/"


def task_prefix(user_id: int, task_id: str) -> str:
    """Where all files of a task are, whichever attempt wrote them."""
    return f"exports/{user_id}/{task_id}/"


def attempt_key(user_id: int, task_id: str, claim: int) -> str:
    """Where a claim's attempt writes what it begins; no other attempt ever writes there."""
    return f"{task_prefix(user_id, task_id)}{claim}/{FILENAME}"


def wish(session: so.Session, prefix: str, *, now: datetime, lease_s: int) -> None:
    """Have everything under a prefix removed at once, and again when the last lease is over.

    The second time catches what a worker wrote that did not know yet that it had lost its task.
    """
    session.add(Removal(prefix=prefix, due_at=now))
    session.add(Removal(prefix=prefix, due_at=now + timedelta(seconds=2 * lease_s)))


def carry_out(database: Database, bucket: Bucket, prefix: str) -> None:
    """Remove what lies under a prefix and is not what a task in the ledger names.

    The claim, and with it the key, is in the ledger before anything is in S3, and one that was
    dropped never comes back. So what was seen in S3 first and is not in the ledger then is
    worthless for good, however slow this process is.
    """
    owner = int(prefix.split("/")[1])
    kept = sa.select(Task.object_key, Task.id, Task.claim, Task.status).where(
        Task.user_id == owner, Task.status.in_(KEPT), Task.gone_at.is_(None)
    )

    def keep() -> set[str]:
        with database.read() as session:
            tasks = session.execute(kept).all()
        named = {task.object_key for task in tasks if task.object_key is not None}
        begun = {attempt_key(owner, task.id, task.claim) for task in tasks if task.status in ACTIVE}
        return named | begun

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

    Raises:
        Exception: What the first one that failed raised; the others were carried out.
    """
    due = sa.select(Removal).where(Removal.due_at <= now).order_by(Removal.due_at).limit(most)
    with database.read() as session:
        removals = session.scalars(due).all()
    ids: dict[str, list[int]] = {}
    for removal in removals:
        ids.setdefault(removal.prefix, []).append(removal.id)
    errors = [_try(database, bucket(), prefix, ids[prefix]) for prefix in ids]
    for error in errors:
        if error is not None:
            raise error
    return len(removals)


def _try(database: Database, bucket: Bucket, prefix: str, ids: Collection[int]) -> Exception | None:
    """Carry out one removal and forget it; one that fails must not keep the others waiting."""
    try:
        carry_out(database, bucket, prefix)
    except Exception as error:  # noqa: BLE001 - handed to the caller
        return error
    with database.write() as session:
        session.execute(sa.delete(Removal).where(Removal.id.in_(ids)))
    return None
