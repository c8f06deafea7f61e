"""The rows of the table `exports`, written in the transactions of the tasks that they belong to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db import engine
from chalicelib.db.models import ExportFile, Task
from chalicelib.db.pipelines import unanswered
from chalicelib.errors import ClaimLost
from chalicelib.exports import removals
from chalicelib.exports.datasets import Dataset
from chalicelib.outbox import messages
from chalicelib.tasks import notifications
from chalicelib.tasks.notifications import USER
from chalicelib.tasks.transitions import ROW as TASK
from chalicelib.tasks.transitions import task_table

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
        kept: How many files of its kind its owner keeps, this one included; None for all, and where
            it is known that there are fewer.
    """

    key: str
    rows: dict[str, int]
    size_bytes: int
    sha256: str
    ttl_s: int
    kept: int | None = None


def fix_snapshot(
    session: so.Session, task: Task, datasets: Sequence[Dataset]
) -> tuple[str, str, dict[str, Any], int]:
    """Fix what an export sees of its datasets, unless an earlier attempt did.

    Returns:
        The user's name and language, the snapshot, and how many files of the kind there are.

    Raises:
        ClaimLost: The user is gone.
    """
    found = session.execute(
        _looking(tuple(datasets)), {"of": task.user_id, "task_id": task.id, **_names(task)}
    ).one_or_none()
    if found is None:
        raise ClaimLost
    username, language, snapshot, files, *newest = found
    if snapshot is None:
        values = zip(datasets, newest, strict=True)
        snapshot = {one.name: one.snapshot_to_json(value) for one, value in values}
        unanswered(
            session,
            _upsert(engine.dialect(session), "snapshot"),
            {"task_id": task.id, "snapshot": snapshot},
        )
    return username, language, snapshot, files


def _names(task: Task) -> dict[str, Any]:
    return {"of": task.user_id, "kind": task.name, "about": task.id}


@cache
def _looking(datasets: tuple[Dataset, ...]) -> sa.Select[Any]:
    """One statement for the user, the snapshot of earlier attempts, and the newest row of each."""
    earlier = sa.select(ROW.snapshot).where(ROW.task_id == sa.bindparam("task_id"))
    newest = [one.snapshot_query().label(f"newest_{one.name}") for one in datasets]
    snapshot = earlier.scalar_subquery().label("snapshot")
    files = sa.select(sa.func.count()).select_from(_OTHERS.subquery()).scalar_subquery()
    columns = USER.username, USER.language, snapshot, files.label("files"), *newest
    return sa.select(*columns).where(USER.id == sa.bindparam("of"))


@cache
def _upsert(dialect: str, *names: str) -> Any:
    statement = engine.insert(dialect, ExportFile)
    values = {name: statement.excluded[name] for name in names}
    return statement.on_conflict_do_update(index_elements=["task_id"], set_=values)


_OTHER = sa.alias(EXPORTS)
_OTHERS = (
    sa.select(_OTHER.c.task_id, _OTHER.c.email_id)
    .join(task_table, TASK.id == _OTHER.c.task_id)
    .where(
        TASK.user_id == sa.bindparam("of"),
        TASK.name == sa.bindparam("kind"),
        TASK.status == "succeeded",
        TASK.id != sa.bindparam("about"),
        _OTHER.c.gone_at.is_(None),
    )
)
"""The files of a user's kind of task, but for one task's."""

_OLDER = _OTHERS.order_by(TASK.finished_at.desc(), TASK.id.desc()).offset(
    sa.bindparam("others", type_=sa.Integer)
)
"""The files of a user's kind of task, but for one that is published and so many of the newest."""

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
_PUBLISH_AND_LOOK = _PUBLISH.returning(_OLDER.exists())


@dataclass(frozen=True)
class Publisher:
    """Publishes the file of a task in the transaction of its success, with its user locked.

    Attributes:
        session: The transaction.
        task: The task.
        lease_s: The lease of a worker, in seconds.
        now: The time.
    """

    session: so.Session
    task: Task
    lease_s: int
    now: datetime

    def publish(self, file: File, *, expires_at: datetime, email_id: str) -> None:
        """Write down where the file is and what it is; the oldest beyond `kept` expire for it."""
        values = {
            "key": file.key,
            "counts": file.rows,
            "size": file.size_bytes,
            "digest": file.sha256,
            "until": expires_at,
            "email": email_id,
        }
        names = _names(self.task)
        if file.kept is None:
            unanswered(self.session, _PUBLISH, {**values, "about": self.task.id})
            return
        names["others"] = file.kept - 1
        if self.session.scalar(_PUBLISH_AND_LOOK, {**values, **names}):
            for older in self.session.execute(_OLDER, names).all():
                self._retire(older.task_id, older.email_id)

    def _retire(self, task_id: str, email_id: str | None) -> None:
        """Have a file expire now."""
        session, user_id = self.session, self.task.user_id
        session.execute(_RETIRE, {"older": task_id, "moment": self.now})
        if email_id is not None:
            messages.withdraw(session, email_id)  # there is nothing left to attach
        removals.request_removal(session, user_id, task_id, now=self.now, lease_s=self.lease_s)
        (seq,) = session.execute(_RAISE, {"of": user_id}).one()
        notifications.announce_again(session, user_id, task_id, seq=seq, now=self.now)


_RAISE = notifications.raising()
_RETIRE = (
    sa.update(EXPORTS)
    .where(ROW.task_id == sa.bindparam("older"))
    .values(expires_at=sa.bindparam("moment"), gone_at=sa.bindparam("moment"))
)


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
