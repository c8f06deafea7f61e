"""What works beside attempts: the reconciler, senders, and the API."""

from collections.abc import Collection

import sqlalchemy as sa

from chalicelib.db.engine import db_clock
from chalicelib.db.models import OutboxMessage, Schedule, Task
from chalicelib.exports import files
from chalicelib.tasks import leases
from chalicelib.tasks import requests as task_requests
from chalicelib.tasks.registry import TASKS
from chalicelib.tasks.requests import TaskRequest
from chalicelib.wiring import Wiring
from tests.faults import world as worlds
from tests.faults.calls import Fault
from tests.faults.oracle import Expected, Promise
from tests.faults.scenarios.attempts import Broken
from tests.faults.scenarios.scenario import (
    EVERY_FAULT,
    SEND,
    SOME_FAULTS,
    Scenario,
    as_many,
    crash,
    succeed_unsent,
)
from tests.faults.world import World


class Reconciled(Scenario):
    """The reconciler dies over a dead attempt, and over what it left behind."""

    def prepare(self) -> None:
        """Let an attempt die at its third part, and its lease pass."""
        super().prepare()
        crash(self)
        self.world.pass_time()
        assert _is_overdue(self.world)

    def work(self, wiring: Wiring) -> None:
        """Make a pass; without a pause, so that it also enqueues."""
        leases.MAX_PAUSE_S = 0
        wiring.reconciler.sweep(now=wiring.now())


class Expired(Reconciled):
    """The reconciler dies as it expires a file whose email was not sent yet."""

    def prepare(self) -> None:
        """Let the file's time be over."""
        Scenario.prepare(self)
        succeed_unsent(self)
        worlds.expire(self.world.wiring, self.task_id)


class Unheard(Scenario):
    """The reconciler dies over emails whose sender died as it asked SES.

    One is about an export and may have been sent; one is about an account and is sent again.
    """

    outcomes = ("cancelled",)
    promised = (Promise("reset", worlds.ADDRESS),)

    def prepare(self) -> None:
        """Let a sender die over each, and their leases pass."""
        super().prepare()
        worlds.cancel(self.world.wiring, self.task_id)
        worlds.send_link(self.world.wiring, "reset")
        for _ in range(2):
            crash(self, SEND, by=worlds.send_all)
        while _sending(self.world, overdue=False):
            self.world.pass_time()
        assert _sending(self.world, overdue=True) == 2

    def work(self, wiring: Wiring) -> None:
        wiring.reconciler.sweep(now=wiring.now())


class Sent(Scenario):
    """A sender's turn: the email about an export that was cancelled before it began."""

    outcomes: Collection[str] = ("cancelled",)
    faults: Collection[Fault] = EVERY_FAULT

    def prepare(self) -> None:
        """Cancel."""
        super().prepare()
        worlds.cancel(self.world.wiring, self.task_id)

    def work(self, wiring: Wiring) -> None:
        worlds.send_all(wiring)


class Attached(Sent):
    """A sender's turn: the email about an export whose attempt died before it sent it."""

    outcomes = ("succeeded",)

    def prepare(self) -> None:
        """Let the file be published, and nobody be told; then others may send the email."""
        Scenario.prepare(self)
        succeed_unsent(self)
        self.world.pass_time()


class Linked(Sent):
    """A sender's turn: emails about an account, each of which is sent at least once."""

    outcomes = ()
    promised: Collection[Promise] = (
        Promise("confirm", worlds.ADDRESS),
        Promise("reset", worlds.ADDRESS),
    )

    def prepare(self) -> None:
        """Ask for two links."""
        self.posts = self.world.posts()
        self.user_id = self.world.user_id
        worlds.send_link(self.world.wiring, "confirm")
        worlds.send_link(self.world.wiring, "reset")


class Senders(Sent):
    """Ten senders look for the same email at once."""

    faults = ()

    def work(self, wiring: Wiring) -> None:
        with as_many(10):
            super().work(wiring)


class Asked(Linked):
    """The API dies as it notes that somebody asked for a link."""

    promised = ()
    faults: Collection[Fault] = SOME_FAULTS

    def prepare(self) -> None:
        """Nothing is there yet."""
        self.posts = self.world.posts()
        self.user_id = self.world.user_id

    def work(self, wiring: Wiring) -> None:
        worlds.send_link(wiring, "reset")


class Confirmed(Scenario):
    """The API dies as a user confirms an address, and the email about an export waits for that."""

    def prepare(self) -> None:
        """Let the email wait."""
        super().prepare()
        worlds.unconfirm(self.world.wiring)
        self.world.perform(self.task_id)

    def work(self, wiring: Wiring) -> None:
        worlds.confirm(wiring)


class Launched(Scenario):
    """The API dies as it answers a request; a task that is not in the ledger was not promised."""

    def prepare(self) -> None:
        """Nothing is there yet."""
        self.posts = self.world.posts()
        self.user_id = self.world.user_id

    def work(self, wiring: Wiring) -> None:
        request = TaskRequest(kind=TASKS["export_posts"], params={}, max_attempts=5)
        with wiring.database.write() as session:
            task = task_requests.launch_task(session, self.user_id, request, now=wiring.now()).task
        wiring.queue.hint(task.id, task.name)


class Scheduled(Scenario):
    """The reconciler dies as it launches what a schedule has due: in the end there is one task."""

    faults: Collection[Fault] = EVERY_FAULT

    def prepare(self) -> None:
        """Let a schedule have been due for an hour."""
        self.posts = self.world.posts()
        self.user_id = self.world.user_id
        self.schedule_id = worlds.schedule(self.world.wiring, self.user_id)

    def work(self, wiring: Wiring) -> None:
        wiring.reconciler.sweep(now=wiring.now())

    def expected(self) -> dict[str, Expected]:
        """One task, which the schedule names."""
        with self.world.wiring.database.read() as session:
            schedule = session.get_one(Schedule, self.schedule_id)
        assert self.world.task_ids() == [schedule.last_task_id]
        assert (schedule.skipped, schedule.failures, schedule.enabled) == (0, 0, True)
        return super().expected()


class ThirdFailure(Broken):
    """A schedule's tasks have failed twice; the failure of a third one disables it."""

    def prepare(self) -> None:
        """Launch the third."""
        wiring = self.world.wiring
        self.posts = self.world.posts()
        self.user_id = self.world.user_id
        self.schedule_id = worlds.schedule(wiring, self.user_id, failures=2)
        wiring.reconciler.sweep(now=wiring.now())
        (self.task_id,) = self.world.task_ids()
        self.world.empty_queue()

    def expected(self) -> dict[str, Expected]:
        """The schedule is disabled, and its owner told, if and only if the task failed."""
        with self.world.wiring.database.read() as session:
            schedule = session.get_one(Schedule, self.schedule_id)
            has_failed = session.get_one(Task, self.task_id).status == "failed"
            told = session.scalars(
                sa.select(OutboxMessage.state).where(OutboxMessage.topic == "schedule")
            ).all()
        assert (schedule.enabled, schedule.failures) == ((False, 3) if has_failed else (True, 0))
        assert len(told) == has_failed
        return super().expected()


class Reconcilers(Scheduled):
    """Ten reconcilers look at the same schedule at once."""

    faults = ()

    def work(self, wiring: Wiring) -> None:
        with as_many(10):
            super().work(wiring)


class Retried(Scenario):
    """The API dies as it queues a cancelled export again; the email about the past is withdrawn."""

    outcomes = ("cancelled", "succeeded")

    def prepare(self) -> None:
        """Cancel before the first attempt."""
        super().prepare()
        worlds.cancel(self.world.wiring, self.task_id)

    def work(self, wiring: Wiring) -> None:
        with wiring.database.write() as session:
            task = task_requests.retry_task(session, self.task_id, now=wiring.now())
        wiring.queue.hint(task.id, task.name)


class EmailedAgain(Scenario):
    """The API dies as a user has the email about an export sent once more."""

    asked_again = 1

    def prepare(self) -> None:
        """Let the export and its email be over."""
        super().prepare()
        self.world.perform(self.task_id)

    def work(self, wiring: Wiring) -> None:
        with wiring.database.write() as session:
            files.email_again(session, self.task_id, now=wiring.now())
        wiring.outbox_hint.send()


class Deleted(Scenario):
    """The API dies as it deletes an export."""

    def prepare(self) -> None:
        """Let there be one."""
        super().prepare()
        self.world.perform(self.task_id)

    def work(self, wiring: Wiring) -> None:
        worlds.delete(wiring, self.user_id, self.task_id)


class Withdrawn(Deleted):
    """The same, before the email about it was sent."""

    def prepare(self) -> None:
        """Let nobody be told."""
        Scenario.prepare(self)
        succeed_unsent(self)


def _is_overdue(world: World) -> bool:
    with world.wiring.database.read() as session:
        return bool(leases.overdue(session, most=1))


def _sending(world: World, *, overdue: bool) -> int:
    """How many messages are being sent whose lease is over, or is not."""
    late = OutboxMessage.lease_until < db_clock()
    statement = sa.select(sa.func.count()).where(
        OutboxMessage.state == "sending", late if overdue else ~late
    )
    with world.wiring.database.read() as session:
        return session.scalar(statement) or 0
