"""The reconciler: finds what was lost and gets it going again.

Safe with many at once: each step goes through the ledger's door and checks again under its lock,
and ringing twice changes nothing.
"""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from chalicelib.accounts.rate_limits import WINDOW_S
from chalicelib.adapters.job_queue import JobQueue, QueueError
from chalicelib.db.engine import Database, db_clock
from chalicelib.db.models import (
    OPEN_MAILS,
    PENDING,
    QUEUED,
    Guess,
    IdempotencyKey,
    Key,
    Letter,
    Task,
    Token,
)
from chalicelib.errors import NotFound
from chalicelib.exports import files, removals
from chalicelib.outbox import messages
from chalicelib.tasks import leases
from chalicelib.tasks import requests as task_requests
from chalicelib.tasks.leases import Holder
from chalicelib.tasks.registry import LETTER, TASKS

log = logging.getLogger(__name__)

MOST = 1000
"""How many rows one step of a pass takes on; the next pass goes on."""


MOST_RUNG = 5000
"""For how many tasks a pass rings; after Redis has lost a long queue, the next passes go on."""


@dataclass(frozen=True)
class Sweeper:
    """One pass after another over what may have been lost.

    Attributes:
        database: The ledger.
        queue: The doorbell.
        bucket: Makes the storage's client when the first removal is due.
        lease_s: The lease of a worker, in seconds.
    """

    database: Database
    queue: JobQueue
    bucket: Callable[[], removals.Bucket]
    lease_s: int

    def sweep(self, *, now: datetime) -> dict[str, int]:
        """Do one pass.

        Returns:
            How many tasks were `recovered` from dead workers, rung again (`rung`), how many mails
            became `unknown`, how many files `expired`, how many prefixes were `removed`.
        """
        counts = {
            "recovered": self._recover(now),
            "unknown": self._give_up_mails(now),
            "expired": self._expire(now),
            "rung": self._ring(),
            "removed": self._remove(now),
        }
        self._forget(now)
        if any(counts.values()):
            log.info("swept", extra={"action": "sweep", **counts})
        return counts

    def _recover(self, now: datetime) -> int:
        with self.database.read() as session:
            overdue = leases.overdue(session, most=MOST)
        holders = [Holder(self.database, *one, self.lease_s) for one in overdue]
        return sum(holder.bury(now=now, overdue=True) for holder in holders)

    def _give_up_mails(self, now: datetime) -> int:
        with self.database.read() as session:
            overdue = messages.overdue(session, most=MOST)
        for task_id, mail_claim in overdue:
            messages.MailHolder(self.database, task_id, mail_claim).settle("unknown", now=now)
        return len(overdue)

    def _expire(self, now: datetime) -> int:
        statement = (
            sa.select(Task.id)
            .where(Task.expires_at <= now, Task.expires_at.is_not(None), Task.gone_at.is_(None))
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

    def _ring(self) -> int:
        """Ring for tasks that should have a job in the queue and have none, the oldest first."""
        try:
            silent = self._silent(self.queue.waiting_ids())
            self.queue.ring(silent)
        except QueueError:
            log.warning("the queue does not answer", extra={"action": "sweep"}, exc_info=True)
            return 0
        return len(silent)

    def _silent(self, rung: Collection[str]) -> list[tuple[str, str]]:
        """Pairs of id and name of what has no job: letters, mails, then tasks.

        Left out are kinds of tasks that this code does not know, as after a rollback: they would
        stand before the others for ever. Of so many more rows than there are jobs, enough have
        none, if there are that many.
        """
        tasks = sa.select(Task.id, Task.name).where(Task.name.in_(TASKS))
        letters = sa.select(Letter.id, sa.literal(LETTER))
        due = (
            letters.where(Letter.due_at <= db_clock()).order_by(Letter.due_at),
            tasks.where(
                OPEN_MAILS, Task.mail_state == PENDING, Task.mail_due_at <= db_clock()
            ).order_by(Task.mail_due_at),
            tasks.where(Task.status == QUEUED, Task.due_at <= db_clock()).order_by(
                Task.queued_at, Task.id
            ),
        )
        silent: list[tuple[str, str]] = []
        with self.database.read() as session:
            for statement in due:
                rows = session.execute(statement.limit(len(rung) + MOST_RUNG))
                silent += [(row[0], row[1]) for row in rows if row[0] not in rung]
        return silent[:MOST_RUNG]

    def _remove(self, now: datetime) -> int:
        try:
            return removals.carry_out_due(self.database, self.bucket, now=now)
        except Exception:
            # What is not forgotten is carried out by the next pass, when S3 answers again.
            log.warning("could not remove", extra={"action": "sweep"}, exc_info=True)
            return 0

    def _forget(self, now: datetime) -> None:
        old = now - task_requests.IDEMPOTENCY_TTL
        with self.database.write() as session:
            session.execute(sa.delete(IdempotencyKey).where(IdempotencyKey.created_at < old))
            session.execute(sa.delete(Token).where(Token.expires_at < now - timedelta(days=1)))
            session.execute(sa.delete(Key).where(Key.expires_at < now))
            session.execute(sa.delete(Guess).where(Guess.at < now - timedelta(seconds=WINDOW_S)))
