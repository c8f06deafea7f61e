"""How much there is to do, and how many are there to do it: what the service scales by."""

import logging
from dataclasses import dataclass

import sqlalchemy as sa

from chalicelib.adapters.job_queue import JobQueue, QueueError
from chalicelib.db.engine import Database, db_clock
from chalicelib.db.models import LEASED_TASKS, OPEN_MESSAGES, PENDING, QUEUED, OutboxMessage, Task
from chalicelib.logs import metrics
from chalicelib.operations.scaling import backlog_per_worker
from chalicelib.tasks.pauses import is_paused

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backlog:
    """What is to be done now: tasks that run or could run, and messages that are due.

    Attributes:
        unfinished: How many.
        oldest_s: For how long the first of those that wait has waited, in seconds.
        workers: How many are alive, or None while Redis does not respond.
    """

    unfinished: int
    oldest_s: float
    workers: int | None


def measure(database: Database, queue: JobQueue) -> Backlog:
    """Look what there is to do."""
    now = db_clock()
    waiting = sa.union_all(
        # Paused tasks are no reason to start workers.
        sa.select(Task.due_at.label("at")).where(
            Task.status == QUEUED, Task.due_at <= now, ~is_paused(Task.name)
        ),
        sa.select(OutboxMessage.due_at).where(
            OPEN_MESSAGES, OutboxMessage.state == PENDING, OutboxMessage.due_at <= now
        ),
    ).subquery()
    leased = sa.select(sa.func.count()).select_from(Task).where(LEASED_TASKS)
    with database.read() as session:
        count, oldest = session.execute(sa.select(sa.func.count(), sa.func.min(waiting.c.at))).one()
        running = session.scalar(leased) or 0
        clock = session.scalar(sa.select(now))
    oldest_s = (clock - oldest).total_seconds() if oldest and clock else 0.0
    try:
        workers: int | None = queue.workers_alive()
    except QueueError:
        workers = None
    return Backlog(count + running, max(0.0, oldest_s), workers)


def publish(backlog: Backlog, *, queue: str) -> None:
    """Log it, so that CloudWatch makes metrics of it.

    While nobody knows how many workers there are, nothing is said of them, and nothing scales.
    """
    values = {
        "Unfinished": (float(backlog.unfinished), "Count"),
        "OldestWaiting": (round(backlog.oldest_s, 3), "Seconds"),
    }
    if backlog.workers is not None:
        per_worker = backlog_per_worker(backlog.unfinished, backlog.workers)
        values["Workers"] = (float(backlog.workers), "Count")
        values["BacklogPerWorker"] = (round(per_worker, 3), "Count")
    log.info("backlog", extra={"action": "measure", **metrics(values, queue=queue)})
