"""The reconciler: finds what was lost and gets it going again.

Safe with many at once: each step goes through the ledger's door and checks again under its lock,
and ringing twice changes nothing.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from chalicelib import claims, exports, mails, removals, tasks
from chalicelib.claims import Holder
from chalicelib.db import Database, db_clock
from chalicelib.errors import NotFound
from chalicelib.job_queue import JobQueue, QueueError
from chalicelib.limits import WINDOW_S
from chalicelib.models import Guess, IdempotencyKey, Key, Letter, Task, Token
from chalicelib.registry import LETTER

log = logging.getLogger(__name__)

MOST = 1000
"""How many rows one step of a pass takes on; the next pass goes on."""


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
            overdue = claims.overdue(session, most=MOST)
        holders = [Holder(self.database, *one, self.lease_s) for one in overdue]
        return sum(holder.bury(now=now, overdue=True) for holder in holders)

    def _give_up_mails(self, now: datetime) -> int:
        with self.database.read() as session:
            overdue = mails.overdue(session, most=MOST)
        for task_id, mail_claim in overdue:
            try:
                mails.MailHolder(self.database, task_id, mail_claim).settle("unknown", now=now)
            except NotFound:
                continue
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
                    exports.remove_file(session, task_id, lease_s=self.lease_s, now=now)
            except NotFound:
                continue
        return len(expired)

    def _ring(self) -> int:
        """Ring for every task that should have a job in the queue and has none."""
        waiting = sa.select(Task.id, Task.name).where(
            sa.or_(
                sa.and_(Task.status == "queued", Task.due_at <= db_clock()),
                sa.and_(Task.mail_state == "pending", Task.mail_due_at <= db_clock()),
            )
        )
        letters = sa.select(Letter.id).where(Letter.due_at <= db_clock()).limit(MOST)
        try:
            rung = self.queue.waiting_ids()
            with self.database.read() as session:
                silent = [
                    (row[0], row[1]) for row in session.execute(waiting) if row[0] not in rung
                ]
                silent += [(one, LETTER) for one in session.scalars(letters) if one not in rung]
            self.queue.ring(silent)
        except QueueError:
            log.warning("the queue does not answer", extra={"action": "sweep"}, exc_info=True)
            return 0
        return len(silent)

    def _remove(self, now: datetime) -> int:
        try:
            return removals.carry_out_due(self.database, self.bucket, now=now)
        except Exception:
            # What is not forgotten is carried out by the next pass, when S3 answers again.
            log.warning("could not remove", extra={"action": "sweep"}, exc_info=True)
            return 0

    def _forget(self, now: datetime) -> None:
        old = now - tasks.IDEMPOTENCY_TTL
        with self.database.write() as session:
            session.execute(sa.delete(IdempotencyKey).where(IdempotencyKey.created_at < old))
            session.execute(sa.delete(Token).where(Token.expires_at < now - timedelta(days=1)))
            session.execute(sa.delete(Key).where(Key.expires_at < now))
            session.execute(sa.delete(Guess).where(Guess.at < now - timedelta(seconds=WINDOW_S)))
