"""What is left to do, and how to get it done."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

import sqlalchemy as sa
from rq.job import Job

from chalicelib.adapters.job_queue import JOB_TTL_S
from chalicelib.db.engine import Database, db_clock
from chalicelib.db.models import (
    ACTIVE,
    ExportFile,
    ImportUpload,
    OutboxMessage,
    Removal,
    Schedule,
    Task,
    User,
)
from chalicelib.exports.removals import import_prefix, prefix
from chalicelib.wiring import Wiring
from tests.faults.emails import OPEN
from tests.faults.times import pass_time

PAUSE_S = 0.05
"""Between two passes of the reconciler of which the first changed nothing."""

_DELIVERY = OutboxMessage.webhook_id.is_not(None)


@dataclass
class Ledger:
    """The rows that tell what is left to do, and what came of it, as they were read."""

    tasks: dict[str, Task] = field(default_factory=dict)
    exports: dict[str, ExportFile] = field(default_factory=dict)
    messages: list[OutboxMessage] = field(default_factory=list)
    deliveries: list[OutboxMessage] = field(default_factory=list)
    removals: list[Removal] = field(default_factory=list)
    users: dict[int, User] = field(default_factory=dict)
    imports: dict[str | None, ImportUpload] = field(default_factory=dict)
    due_schedules: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, database: Database) -> "Ledger":
        now = db_clock()
        with database.read() as session:
            return cls(
                {one.id: one for one in session.scalars(sa.select(Task))},
                {one.task_id: one for one in session.scalars(sa.select(ExportFile))},
                list(session.scalars(sa.select(OutboxMessage).where(~_DELIVERY))),
                list(session.scalars(sa.select(OutboxMessage).where(_DELIVERY))),
                list(session.scalars(sa.select(Removal))),
                {one.id: one for one in session.scalars(sa.select(User))},
                {one.task_id: one for one in session.scalars(sa.select(ImportUpload))},
                list(session.scalars(sa.select(Schedule.id).where(Schedule.next_run_at <= now))),
            )

    def messages_about(self, task_id: str | None) -> list[OutboxMessage]:
        """What the outbox holds about a task, or about accounts."""
        return [one for one in self.messages if one.task_id == task_id]

    def unsettled(self) -> Iterator[str]:
        """What the product still has to do; removals included, due or not."""
        for task in self.tasks.values():
            if task.status in ACTIVE:
                yield f"task {task.id} is {task.status}"
        for one in self.messages:
            if one.state in OPEN:
                about = f"of task {one.task_id}" if one.task_id else f"{one.id} ({one.topic})"
                yield f"the email {about} is {one.state}"
        for schedule_id in self.due_schedules:
            yield f"schedule {schedule_id} is due"
        for one in self.deliveries:
            if one.state in OPEN:
                yield f"the delivery {one.id} is {one.state}"
        yield from self._to_be_removed()

    def _to_be_removed(self) -> Iterator[str]:
        for upload in self.imports.values():
            if upload.staged and upload.upload_gone_at is not None:
                yield f"the staged rows of {upload.id} are to be removed"
        for removal in self.removals:
            if removal.import_id is not None:
                where = import_prefix(removal.user_id, removal.import_id)
            else:
                where = prefix(removal.user_id, removal.task_id)
            yield f"{where} is to be removed"


def unknown_emails(wiring: Wiring) -> list[str]:
    """Messages that may or may not have been sent: to be counted, not a violation."""
    messages = Ledger.read(wiring.database).messages
    return [one.id for one in messages if one.state == "unknown"]


def unsettled(wiring: Wiring) -> list[str]:
    """What the product still has to do, as sentences; removals included, due or not."""
    return list(Ledger.read(wiring.database).unsettled())


def settle(
    wiring: Wiring,
    perform: Callable[[str], object],
    send: Callable[[], object],
    *,
    within_s: float,
) -> float:
    """Sweep, perform the jobs that are in the queue, and send, until nothing is left to do.

    What has to wait does not: time passes at once when nothing is due, or when a pass of the
    reconciler changed nothing.

    Args:
        wiring: Clients; the reconciler is this wiring's.
        perform: Does one job, as a worker would; gets the task's id.
        send: Sends what is due in the outbox, as a worker's sender would.
        within_s: The deadline, in seconds.

    Returns:
        Seconds until every task was over and every email settled, those included that passed at
        once; removals take longer, because the second one waits for two leases.

    Raises:
        AssertionError: Something was left at the deadline.
    """
    began, passed_s, over_s = time.monotonic(), 0.0, 0.0
    left = unsettled(wiring)
    while left or wiring.queue.depth():
        if not over_s and all("removed" in one for one in left):
            over_s = time.monotonic() - began + passed_s
        if time.monotonic() - began > within_s:
            raise AssertionError(f"not settled within {within_s} s: {left}")
        wiring.reconciler.sweep(now=wiring.now())
        for task_id in _dequeue(wiring):
            perform(task_id)
        if any(" is pending" in one for one in left):
            send()
        before, left = left, unsettled(wiring)
        passed = pass_time(wiring.database, unless_due=left != before)
        passed_s += passed
        if left == before and not passed:
            time.sleep(PAUSE_S)  # Redis has times of its own
    return over_s or time.monotonic() - began + passed_s


def _dequeue(wiring: Wiring) -> Iterator[str]:
    """Remove the jobs from the queue one by one; like a worker, leave their hashes to expire."""
    redis = wiring.queue.redis
    while raw := cast("bytes | None", redis.lpop(wiring.queue.rq.key)):
        redis.expire(Job.key_for(raw.decode()), JOB_TTL_S)
        yield raw.decode()
