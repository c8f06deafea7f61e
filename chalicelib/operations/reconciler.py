"""The reconciler: finds what was lost and gets it going again.

Safe with many at once: each step changes a task in `transitions` alone, which checks again under
its lock, and enqueueing twice changes nothing.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.accounts.rate_limits import WINDOW_S
from chalicelib.adapters.job_queue import JobQueue, QueueError
from chalicelib.db.engine import Database, db_clock
from chalicelib.db.models import (
    FILES_TO_EXPIRE,
    QUEUED,
    CountedEmail,
    ExportFile,
    FailedLogin,
    IdempotencyKey,
    LinkKey,
    Task,
    Token,
)
from chalicelib.errors import NotFound
from chalicelib.exports import files, removals
from chalicelib.exports.kinds import Export
from chalicelib.imports import staging, uploads
from chalicelib.outbox import allowances, deliveries, messages
from chalicelib.tasks import leases, schedules, shares
from chalicelib.tasks.leases import Lease
from chalicelib.tasks.pauses import is_paused
from chalicelib.tasks.registry import TASKS, TaskKind
from chalicelib.tasks.requests import IDEMPOTENCY_TTL, TaskRequest

log = logging.getLogger(__name__)

MOST = 1000
"""How many rows one step of a pass takes on; the next pass goes on."""


MOST_ENQUEUED = 5000
"""For how many tasks a pass enqueues jobs; after Redis has lost a long queue, the next goes on."""


@dataclass(frozen=True)
class Reconciler:
    """One pass after another over what may have been lost.

    Attributes:
        database: The ledger.
        queue: Where jobs go.
        bucket: Makes the client of the object store when the first removal is due.
        lease_s: The lease of a worker, in seconds.
        max_attempts: How many attempts a scheduled task gets.
        cooldown_s: How long after a success the same export has to wait, in seconds.
    """

    database: Database
    queue: JobQueue
    bucket: Callable[[], removals.Bucket]
    lease_s: int
    max_attempts: int = 5
    cooldown_s: int = 0

    def sweep(self, *, now: datetime) -> dict[str, int]:
        """Do one pass.

        Returns:
            How many tasks were `recovered` from dead workers or `enqueued` again, how many messages
            of the outbox were `recovered_messages` from dead senders, how many deliveries to
            webhooks likewise, how many files, uploads and reports `expired`, how many removals were
            executed, staged rows of an import included (`removed`), and how many tasks were
            launched by schedules (`scheduled`).
        """
        counts = {
            "recovered": self._recover(now),
            "recovered_messages": messages.recover(self.database, now=now, most=MOST),
            "recovered_deliveries": deliveries.recover(self.database, now=now, most=MOST),
            "expired": self._expire(now) + self._expire_imports(now),
            "scheduled": schedules.launch_due(self.database, self._request, most=MOST),
            "enqueued": self._enqueue(),
            "removed": self._remove(now) + staging.delete_due(self.database, most=MOST),
        }
        self._forget(now)
        if any(counts.values()):
            log.info("swept", extra={"action": "sweep", **counts})
        return counts

    def _recover(self, now: datetime) -> int:
        with self.database.read() as session:
            overdue = leases.overdue(session, most=MOST)
        lost = [Lease(self.database, *one, self.lease_s) for one in overdue]
        return sum(lease.recover(now=now, overdue=True) for lease in lost)

    def _expire(self, now: datetime) -> int:
        statement = (
            sa.select(ExportFile.task_id)
            .where(FILES_TO_EXPIRE, ExportFile.expires_at <= now)
            .limit(MOST)
        )
        with self.database.read() as session:
            expired = session.scalars(statement).all()
        for task_id in expired:
            try:
                with self.database.write() as session:
                    files.remove_file(session, task_id, lease_s=self.lease_s, now=now)
            except NotFound:
                continue
        return len(expired)

    def _expire_imports(self, now: datetime) -> int:
        with self.database.write() as session:
            return uploads.expire(session, now=now, lease_s=self.lease_s, most=MOST)

    def _request(self, kind: TaskKind, params: Mapping[str, Any]) -> TaskRequest:
        """What a schedule asks for: the cooldown is the operator's, and so holds here, too."""
        cooldown_s = self.cooldown_s if isinstance(kind, Export) else 0
        return TaskRequest(
            kind=kind, params=params, max_attempts=self.max_attempts, cooldown_s=cooldown_s
        )

    def _enqueue(self) -> int:
        """Enqueue jobs for tasks that are due and have none, the oldest first."""
        try:
            not_enqueued = self._not_enqueued(self.queue.waiting_ids())
            return self.queue.enqueue_again(not_enqueued)
        except QueueError:
            log.warning("the queue does not respond", extra={"action": "sweep"}, exc_info=True)
            return 0

    def _not_enqueued(self, enqueued: Collection[str]) -> list[tuple[str, str]]:
        """Pairs of id and name of the due tasks that have no job.

        Left out are kinds of tasks that hold their share of the workers, and those that this code
        does not know, as after a rollback: they would come before the others for ever. Of so many
        more rows than there are jobs, enough have none, if there are that many.
        """
        with self.database.read() as session:
            full = self._full_kinds(session)
            due = (
                sa.select(Task.id, Task.name)
                .where(
                    Task.status == QUEUED,
                    Task.due_at <= db_clock(),
                    Task.name.in_([name for name in TASKS if name not in full]),
                    ~is_paused(Task.name),
                )
                .order_by(Task.queued_at, Task.id)
                .limit(len(enqueued) + MOST_ENQUEUED)
            )
            rows = session.execute(due).all()
        return [(row[0], row[1]) for row in rows if row[0] not in enqueued][:MOST_ENQUEUED]

    def _full_kinds(self, session: so.Session) -> list[str]:
        """Kinds that hold their share of the workers; their tasks would be turned away."""
        if not shares.limited_kinds():
            return []
        return shares.full_kinds(session, workers=self.queue.workers_alive())

    def _remove(self, now: datetime) -> int:
        try:
            return removals.execute_due(self.database, self.bucket, now=now)
        except Exception:
            # What is not forgotten is executed by the next pass, when S3 responds again.
            log.warning("could not remove", extra={"action": "sweep"}, exc_info=True)
            return 0

    def _forget(self, now: datetime) -> None:
        rules = (
            (IdempotencyKey.created_at, IDEMPOTENCY_TTL),
            (Token.expires_at, timedelta(days=1)),
            (LinkKey.expires_at, timedelta(0)),
            (FailedLogin.at, timedelta(seconds=WINDOW_S)),
            (CountedEmail.at, timedelta(seconds=allowances.WINDOW_S)),
        )
        with self.database.write() as session:
            for moment, kept_for in rules:
                session.execute(sa.delete(moment.class_).where(moment < now - kept_for))
            deliveries.forget(session, now=now)
