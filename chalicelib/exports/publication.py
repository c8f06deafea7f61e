"""The rows of the table `exports`, written in the transactions of the tasks that they belong to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db import engine
from chalicelib.db.models import ExportFile, Task, User
from chalicelib.errors import ClaimLost
from chalicelib.exports import removals
from chalicelib.exports.datasets import Dataset
from chalicelib.outbox import messages
from chalicelib.tasks import notifications

EXPORTS = cast("sa.Table", ExportFile.__table__)
ROW = EXPORTS.c


@dataclass(frozen=True)
class File:
    """A file that an attempt has written and that its task's success publishes.

    Attributes:
        key: Where it is in the bucket; `worker.export.publication.publish` chooses it.
        rows: By dataset, how many rows are in it.
        size_bytes: Its size.
        sha256: Its digest, as 64 hexadecimal digits.
        ttl_s: For how long it can be downloaded, in seconds.
        kept: How many files of its kind its owner keeps, this one included; None for all.
    """

    key: str
    rows: dict[str, int]
    size_bytes: int
    sha256: str
    ttl_s: int
    kept: int | None = None


def fix_snapshot(
    session: so.Session, task: Task, datasets: Sequence[Dataset]
) -> tuple[str, dict[str, Any]]:
    """Fix what an export sees of its datasets, unless an earlier attempt did.

    Returns:
        The user's name and the snapshot.

    Raises:
        ClaimLost: The user is gone.
    """
    found = session.execute(
        _looking(tuple(datasets)), {"of": task.user_id, "task_id": task.id}
    ).one_or_none()
    if found is None:
        raise ClaimLost
    username, snapshot, *newest = found
    if snapshot is None:
        values = zip(datasets, newest, strict=True)
        snapshot = {one.name: one.snapshot_to_json(value) for one, value in values}
        session.execute(
            _upsert(engine.dialect(session), "snapshot"), {"task_id": task.id, "snapshot": snapshot}
        )
    return username, snapshot


@cache
def _looking(datasets: tuple[Dataset, ...]) -> sa.Select[Any]:
    """One statement for the name, the snapshot of earlier attempts, and the newest row of each."""
    earlier = sa.select(ROW.snapshot).where(ROW.task_id == sa.bindparam("task_id"))
    newest = [one.snapshot_query().label(f"newest_{one.name}") for one in datasets]
    columns = User.username, earlier.scalar_subquery().label("snapshot"), *newest
    return sa.select(*columns).where(User.id == sa.bindparam("of"))


@cache
def _upsert(dialect: str, *names: str) -> Any:
    statement = engine.insert(dialect, ExportFile)
    values = {name: statement.excluded[name] for name in names}
    return statement.on_conflict_do_update(index_elements=["task_id"], set_=values)


_PUBLISH = (
    sa.update(EXPORTS)
    .where(ROW.task_id == sa.bindparam("about"))
    .values(
        object_key=sa.bindparam("key"),
        rows=sa.bindparam("counts", type_=ROW.rows.type),
        size_bytes=sa.bindparam("size"),
        sha256=sa.bindparam("digest"),
        expires_at=sa.bindparam("until", type_=ROW.expires_at.type),
        gone_at=None,
        email_id=sa.bindparam("email"),
    )
)


def publish(
    session: so.Session, task_id: str, file: File, *, expires_at: datetime, email_id: str
) -> None:
    """Write down where the file is and what it is."""
    values = {"key": file.key, "counts": file.rows, "size": file.size_bytes, "digest": file.sha256}
    about = {"about": task_id, "until": expires_at, "email": email_id}
    session.execute(_PUBLISH, {**values, **about})


def retire_older(
    session: so.Session, task: Task, kept: int, *, lease_s: int, now: datetime
) -> None:
    """Have files of a task's kind expire, but for so many of the newest, its own included.

    Args:
        session: The transaction that publishes the task's file, with its user locked.
        task: The task.
        kept: How many files its user keeps.
        lease_s: The lease of a worker, in seconds.
        now: The time.
    """
    names = {"of": task.user_id, "kind": task.name, "about": task.id}
    for older in session.execute(_older(kept), names).all():
        session.execute(_RETIRE, {"older": older.task_id, "moment": now})
        if older.email_id is not None:
            messages.withdraw(session, older.email_id)  # there is nothing left to attach
        removals.request_removal(session, task.user_id, older.task_id, now=now, lease_s=lease_s)
        (seq,) = session.execute(_RAISE, names).one()
        notifications.announce_again(session, task.user_id, older.task_id, seq=seq, now=now)


_RAISE = notifications.raising()
_RETIRE = (
    sa.update(EXPORTS)
    .where(ROW.task_id == sa.bindparam("older"))
    .values(expires_at=sa.bindparam("moment"), gone_at=sa.bindparam("moment"))
)


@cache
def _older(kept: int) -> sa.Select[Any]:
    """The files of a user's kind of task beyond the newest, of which one is about to be added."""
    return (
        sa.select(ROW.task_id, ROW.email_id)
        .join(Task, Task.id == ROW.task_id)
        .where(
            Task.user_id == sa.bindparam("of"),
            Task.name == sa.bindparam("kind"),
            Task.status == "succeeded",
            Task.id != sa.bindparam("about"),
            ROW.gone_at.is_(None),
        )
        .order_by(Task.finished_at.desc(), Task.id.desc())
        .offset(kept - 1)
    )


def count_rows(session: so.Session, user_id: int, datasets: Sequence[Dataset]) -> int:
    """How many rows a user has in some datasets."""
    counts = [
        sa.select(sa.func.count()).where(one.owner == user_id).scalar_subquery() for one in datasets
    ]
    return sum(session.execute(sa.select(*counts)).one())


def note_email(session: so.Session, task_id: str, email_id: str) -> None:
    """Write down which message tells about the task's outcome; it may never have been claimed."""
    statement = _upsert(engine.dialect(session), "email_id")
    session.execute(statement, {"task_id": task_id, "email_id": email_id})


def begin_anew(session: so.Session, task_id: str) -> None:
    """Forget the past of a task that is tried again, and withdraw the message about it."""
    export = session.get(ExportFile, task_id, with_for_update=True)
    if export is None:
        return
    if export.email_id is not None:
        messages.withdraw(session, export.email_id)
    export.snapshot = export.object_key = export.rows = export.email_id = None
    export.size_bytes = export.sha256 = export.expires_at = export.gone_at = None
