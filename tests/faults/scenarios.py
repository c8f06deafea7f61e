"""What a process may be about when a call of it goes wrong."""

import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from chalicelib.db.engine import db_clock
from chalicelib.db.models import OutboxMessage
from chalicelib.exports import files, removals
from chalicelib.tasks import leases
from chalicelib.tasks import requests as task_requests
from chalicelib.tasks.registry import TASKS
from chalicelib.tasks.requests import TaskRequest
from chalicelib.wiring import Wiring
from tests.faults import world as worlds
from tests.faults.calls import FAULTS, Call, Calls, Fault
from tests.faults.oracle import ERASED, Expected, Promise
from tests.faults.world import World, attempt
from tests.harness.ledgers import the_task
from tests.harness.waiting import wait_until
from worker import process
from worker.export import upload

READER = "pages_"
"""How the threads that read ahead are called; the calls of each come in a certain order."""

MIDWAY = "s3 PUT partNumber=2"
"""The call to S3 before which something happens in the middle of an export."""

SEND = "ses POST"
"""The call to SES that sends an email."""

EVERY_FAULT = frozenset(fault for faults in FAULTS.values() for fault in faults)
SOME_FAULTS = frozenset[Fault]({"die before", "stall", "lost"})
"""Of all that can go wrong, what is no repetition: dying before a call is dying after the one
before it."""


class Scenario:
    """An attempt at an export with several parts, from nothing; and what others build upon.

    Attributes:
        outcomes: How the tasks may end.
        asked_again: How often, at most, the user asked to have the last email sent once more.
        promised: Emails about the account that must be sent.
        beats: Whether the attempt's heart beats, in a thread of its own. Then each transaction has
            a connection of its own, or it would depend on chance who opens which.
        faults: What goes wrong with each call; none where the scenario is enough.
        may: Numbers of the posts that may be missing.
    """

    outcomes: Collection[str] = ("succeeded",)
    asked_again = 0
    promised: Collection[Promise] = ()
    beats = False
    faults: Collection[Fault] = SOME_FAULTS

    def __init__(self, world: World) -> None:
        self.world = world
        self.may: Collection[int] = ()
        self.task_id = ""
        self._happened = False

    def prepare(self) -> None:
        """Bring about what must be there before."""
        self.task_id = self.world.request()
        self.posts = self.world.posts()
        self.user_id = self.world.user_id
        self.world.empty_queue()

    def concerns(self, calls: list[Call]) -> list[Call]:
        """Which of the recorded calls go wrong: by default those after what happens midway."""
        mine = [call for call in calls if call.thread == "MainThread"]
        if type(self).midway is Scenario.midway:
            return mine
        begin = next(index for index, call in enumerate(mine) if call.is_to(MIDWAY))
        return mine[begin:]

    def work(self, wiring: Wiring) -> None:
        """What the process does whose call goes wrong."""
        attempt(self.task_id, wiring)

    def midway(self, wiring: Wiring) -> None:
        """What happens in the middle, in the same process but past the recorder."""

    def start(self, calls: Calls, *, ended: Callable[[], object] = lambda: None) -> int:
        """Fork the process; return its id.

        Args:
            calls: What it sees.
            ended: Called in it when its work is over, well or not.
        """
        calls.midway = lambda what: self._midway(what, calls)

        def work(wiring: Wiring) -> None:
            if not self.beats:
                worlds.quietly()
            try:
                self.work(wiring)
            finally:
                ended()

        return self.world.fork(work, calls, pool_size=0 if self.beats else worlds.POOL_SIZE)

    def _midway(self, what: str, calls: Calls) -> None:
        if what == MIDWAY and not self._happened:
            self._happened = True
            with calls.paused():
                self.midway(self.world.rewired())

    def meanwhile(self) -> None:
        """What happens after others have recovered the task of a process that is stopped."""

    def expected(self) -> dict[str, Expected]:
        """What every task in the ledger must have come to."""
        one = Expected(
            user_id=self.user_id,
            username=worlds.USERNAME,
            must=[pair for number, pair in self.posts if number not in self.may],
            may=[pair for number, pair in self.posts if number in self.may],
            outcomes=self.outcomes,
            asked_again=self.asked_again,
        )
        return dict.fromkeys(
            {*self.world.task_ids(), *([self.task_id] if self.task_id else [])}, one
        )


class Export(Scenario):
    """The plain case, with all that can go wrong."""

    faults: Collection[Fault] = EVERY_FAULT

    def concerns(self, calls: list[Call]) -> list[Call]:
        """Those of the threads that read ahead, too."""
        return [call for call in calls if call.thread.startswith(("MainThread", READER))]


class Beating(Scenario):
    """The same, but what matters are the calls of the heartbeat."""

    beats = True

    def concerns(self, calls: list[Call]) -> list[Call]:
        """The first beat and its connection; in another run there may be no second one."""
        mine = [call for call in calls if call.thread == "heartbeat"]
        end = next(index for index, call in enumerate(mine) if call.is_to("sql ROLLBACK"))
        return mine[: end + 1]

    def midway(self, wiring: Wiring) -> None:
        seen = the_task(wiring.database, self.task_id).last_seen_at
        wait_until(
            lambda: the_task(wiring.database, self.task_id).last_seen_at != seen, "a heartbeat"
        )


class Resumed(Scenario):
    """An attempt that goes on where one died."""

    def prepare(self) -> None:
        """Let an attempt die at its third part."""
        super().prepare()
        crash(self)
        wait_until(lambda: _recovered(self), "the task is queued again")
        self.world.empty_queue()


class Small(Scenario):
    """An export in a single PUT."""

    def work(self, wiring: Wiring) -> None:
        """Let a part be larger than all there is."""
        upload.PART_BYTES = 1 << 30
        super().work(wiring)


class Cancelled(Scenario):
    """The user cancels in mid-export."""

    outcomes = ("cancelled",)

    def midway(self, wiring: Wiring) -> None:
        worlds.cancel(wiring, self.task_id)


class Broken(Scenario):
    """A mistake of ours ends the export, unless it dies first."""

    outcomes = ("failed", "succeeded")

    def concerns(self, calls: list[Call]) -> list[Call]:
        """The call that is spoilt is not made."""
        return super().concerns(calls)[1:]

    def midway(self, wiring: Wiring) -> None:
        del wiring
        raise RuntimeError("a bug")


class Released(Scenario):
    """The worker is asked to stop in mid-export."""

    beats = True

    def midway(self, wiring: Wiring) -> None:
        del wiring
        process.request_stop(signal.SIGTERM, None)
        (beat,) = [one for one in threading.enumerate() if one.name == "heartbeat"]
        wait_until(lambda: beat.reason, "the heartbeat knows")  # type: ignore[attr-defined]


class Erased(Scenario):
    """The account is erased in mid-export."""

    outcomes = (ERASED,)

    def midway(self, wiring: Wiring) -> None:
        worlds.erase(wiring, self.user_id)


class Changed(Scenario):
    """Posts are added and deleted in mid-export."""

    def prepare(self) -> None:
        """Choose some that are exported already, and some that are not."""
        super().prepare()
        self.may = {self.posts[index][0] for index in (0, 25, 45)}

    def midway(self, wiring: Wiring) -> None:
        worlds.add_and_delete(wiring, list(self.may))


class Aborted(Scenario):
    """The upload is aborted behind the attempt's back."""

    def midway(self, wiring: Wiring) -> None:
        del wiring
        self.world.clear("exports/")


class Reconciled(Scenario):
    """The reconciler dies over a dead attempt, and over what it left behind."""

    def prepare(self) -> None:
        """Let an attempt die at its third part, and its lease pass."""
        super().prepare()
        crash(self)
        wait_until(lambda: _overdue(self.world), "the lease is over")

    def work(self, wiring: Wiring) -> None:
        """Make a pass; without a pause, so that it also enqueues."""
        leases.MAX_PAUSE_S = 0
        wiring.reconciler.sweep(now=wiring.now())


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
        wait_until(lambda: not _sending(self.world, overdue=False), "the leases are over")
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
        """Let the file be published, and nobody be told."""
        Scenario.prepare(self)
        succeed_unsent(self)


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
        with wiring.database.write() as session:
            lease_s = wiring.settings.lease_s
            files.remove_file(session, self.task_id, lease_s=lease_s, now=wiring.now())
        removals.execute(wiring.database, wiring.object_store, self.user_id, self.task_id)


class Withdrawn(Deleted):
    """The same, before the email about it was sent."""

    def prepare(self) -> None:
        """Let nobody be told."""
        Scenario.prepare(self)
        succeed_unsent(self)


class Expired(Reconciled):
    """The reconciler dies as it expires a file whose email was not sent yet."""

    def prepare(self) -> None:
        """Let the file's time be over."""
        Scenario.prepare(self)
        succeed_unsent(self)
        worlds.expire(self.world.wiring, self.task_id)


class Outdated(Scenario):
    """An export is deleted while a zombie that lost it still writes."""

    faults: Collection[Fault] = frozenset[Fault]({"stall"})

    def meanwhile(self) -> None:
        Deleted.work(self, self.world.wiring)  # type: ignore[arg-type]


class Crowd(Scenario):
    """The same job is delivered ten times at once."""

    faults = ()

    def work(self, wiring: Wiring) -> None:
        with as_many(10):
            super().work(wiring)


class Senders(Sent):
    """Ten senders look for the same email at once."""

    faults = ()

    def work(self, wiring: Wiring) -> None:
        with as_many(10):
            super().work(wiring)


@contextmanager
def as_many(count: int) -> Iterator[None]:
    """Be so many processes, the first of which waits for the others."""
    children: list[int] = []
    while len(children) < count - 1 and (child := os.fork()):
        children.append(child)
    yield
    if child:
        for one in children:
            os.waitpid(one, 0)


def crash(
    scenario: Scenario,
    before: str = "s3 PUT partNumber=3",
    *,
    by: Callable[[Wiring], None] | None = None,
) -> None:
    """Have a process die before a call: a first attempt, unless another is given."""

    def midway(what: str) -> None:
        if what == before:
            os.kill(os.getpid(), signal.SIGKILL)

    work = by or (lambda wiring: attempt(scenario.task_id, wiring))
    child = scenario.world.fork(work, Calls(midway=midway))
    assert os.WIFSIGNALED(scenario.world.wait(child))


def succeed_unsent(scenario: Scenario) -> None:
    """Have an attempt publish its file, and die before the email about it."""

    def work(wiring: Wiring) -> None:
        worlds.without_follow_up()
        attempt(scenario.task_id, wiring)

    scenario.world.wait(scenario.world.fork(work))
    assert the_task(scenario.world.wiring.database, scenario.task_id).status == "succeeded"


def _overdue(world: World) -> bool:
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


def _recovered(scenario: Scenario) -> bool:
    scenario.world.wiring.reconciler.sweep(now=scenario.world.wiring.now())
    return the_task(scenario.world.wiring.database, scenario.task_id).status == "queued"


SCENARIOS = {
    scenario.__name__.lower(): scenario
    for scenario in (
        Export,
        Beating,
        Resumed,
        Small,
        Cancelled,
        Broken,
        Released,
        Erased,
        Changed,
        Aborted,
        Reconciled,
        Unheard,
        Sent,
        Attached,
        Linked,
        Asked,
        Confirmed,
        Launched,
        Retried,
        EmailedAgain,
        Deleted,
        Withdrawn,
        Expired,
        Outdated,
        Crowd,
        Senders,
    )
}
