"""What a process may be about when a call of it goes wrong."""

import os
import signal
import threading
from collections.abc import Callable, Collection

from chalicelib.accounts import accounts
from chalicelib.exports import files, removals
from chalicelib.outbox import messages
from chalicelib.tasks import leases
from chalicelib.tasks import requests as task_requests
from chalicelib.tasks.requests import Wish
from chalicelib.wiring import Wiring
from tests.faults import world as worlds
from tests.faults.calls import FAULTS, Call, Calls, Fault
from tests.faults.oracle import ERASED, Expected
from tests.faults.world import World, attempt
from tests.harness.ledgers import the_task
from tests.harness.servers import wait_until
from worker import process
from worker.export import upload

READER = "pages_"
"""How the threads that read ahead are called; the calls of each come in a certain order."""

MIDWAY = "s3 PUT partNumber=2"
"""The call to S3 before which something happens in the middle of an export."""


class Scenario:
    """An attempt at an export with several parts, from nothing; and what others build upon.

    Attributes:
        outcomes: How the tasks may end.
        beats: Whether the attempt's heart beats; then its calls come in no certain order.
        faults: What goes wrong with each call; none where the scenario is enough.
        may: Numbers of the posts that may be missing.
    """

    outcomes: Collection[str] = ("succeeded",)
    beats = False
    faults: Collection[Fault] = frozenset[Fault]({"die before", "stall", "lost"})

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
        begin = next(place for place, call in enumerate(mine) if call.is_to(MIDWAY))
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

        return self.world.fork(work, calls)

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
        )
        return dict.fromkeys(
            {*self.world.task_ids(), *([self.task_id] if self.task_id else [])}, one
        )


class Export(Scenario):
    """The plain case, with all that can go wrong.

    Elsewhere dying before a call must do, for it is dying after the one before.
    """

    faults: Collection[Fault] = frozenset(fault for faults in FAULTS.values() for fault in faults)

    def concerns(self, calls: list[Call]) -> list[Call]:
        """Those of the threads that read ahead, too."""
        return [call for call in calls if call.thread.startswith(("MainThread", READER))]


class Beating(Scenario):
    """The same, but what matters are the calls of the heartbeat."""

    beats = True

    def concerns(self, calls: list[Call]) -> list[Call]:
        """The first beat and its connection; in another run there may be no second one."""
        mine = [call for call in calls if call.thread == "heartbeat"]
        end = next(place for place, call in enumerate(mine) if call.is_to("sql ROLLBACK"))
        return mine[: end + 1]

    def midway(self, wiring: Wiring) -> None:
        """Wait until it has beaten."""
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
        wait_until(lambda: _swept(self), "the task is queued again")
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
        """Cancel."""
        worlds.cancel(wiring, self.task_id)


class Broken(Scenario):
    """A mistake of ours ends the export, unless it dies first."""

    outcomes = ("failed", "succeeded")

    def concerns(self, calls: list[Call]) -> list[Call]:
        """The call that is spoilt is not made."""
        return super().concerns(calls)[1:]

    def midway(self, wiring: Wiring) -> None:
        """Raise what nobody foresaw."""
        del wiring
        raise RuntimeError("a bug")


class HandedBack(Scenario):
    """The worker is asked to stop in mid-export."""

    beats = True

    def midway(self, wiring: Wiring) -> None:
        """Ask, and wait until the heartbeat knows."""
        del wiring
        process.request_stop(signal.SIGTERM, None)
        (beat,) = [one for one in threading.enumerate() if one.name == "heartbeat"]
        wait_until(lambda: beat.reason, "the heartbeat knows")  # type: ignore[attr-defined]


class Erased(Scenario):
    """The account is erased in mid-export."""

    outcomes = (ERASED,)

    def midway(self, wiring: Wiring) -> None:
        """Erase it."""
        with wiring.database.write() as session:
            lease_s = wiring.settings.lease_s
            accounts.erase(session, self.user_id, lease_s=lease_s, now=wiring.now())


class Changed(Scenario):
    """Posts are added and deleted in mid-export."""

    def prepare(self) -> None:
        """Choose some that are exported already, and some that are not."""
        super().prepare()
        self.may = {self.posts[place][0] for place in (0, 25, 45)}

    def midway(self, wiring: Wiring) -> None:
        """Add and delete."""
        worlds.add_and_delete(wiring, list(self.may))


class Aborted(Scenario):
    """The upload is aborted behind the attempt's back."""

    def midway(self, wiring: Wiring) -> None:
        """Do what a lifecycle rule does."""
        wiring.storage.clear("exports/", keep=set)


class Swept(Scenario):
    """A sweeper dies: over a dead attempt, a mail that was being sent, and a removal."""

    def prepare(self) -> None:
        """Let an attempt die at its third part, and its lease pass."""
        super().prepare()
        crash(self)
        wait_until(lambda: _overdue(self.world, leases.overdue), "the lease is over")

    def work(self, wiring: Wiring) -> None:
        """Sweep; without a pause, so that each pass also rings."""
        leases.MAX_PAUSE_S = 0
        wiring.sweeper.sweep(now=wiring.now())


class Unmailed(Swept):
    """A sweeper dies over a mail that was being sent, and over what a cancelled task left."""

    def prepare(self) -> None:
        """Let a process die as it mails."""
        Scenario.prepare(self)
        crash(self, "ses POST")
        wait_until(lambda: _overdue(self.world, messages.overdue), "the lease of the mail is over")


class Launched(Scenario):
    """The API dies as it takes a request; a task that is not in the ledger was not promised."""

    def prepare(self) -> None:
        """Nothing is there yet."""
        self.posts = self.world.posts()
        self.user_id = self.world.user_id

    def work(self, wiring: Wiring) -> None:
        """Launch and ring."""
        wish = Wish(name="export_posts", params={}, max_attempts=5)
        with wiring.database.write() as session:
            task = task_requests.launch_task(session, self.user_id, wish, now=wiring.now())
        wiring.queue.ring([(task.id, task.name)])


class Deleted(Scenario):
    """The API dies as it deletes an export."""

    def prepare(self) -> None:
        """Let there be one."""
        super().prepare()
        self.world.perform(self.task_id)

    def work(self, wiring: Wiring) -> None:
        """Delete."""
        with wiring.database.write() as session:
            lease_s = wiring.settings.lease_s
            prefix = files.remove_file(session, self.task_id, lease_s=lease_s, now=wiring.now())
        removals.carry_out(wiring.database, wiring.storage, prefix)


class Outdated(Scenario):
    """An export is deleted while a zombie that lost it still writes."""

    faults: Collection[Fault] = frozenset[Fault]({"stall"})

    def meanwhile(self) -> None:
        """Delete it."""
        Deleted.work(self, self.world.wiring)  # type: ignore[arg-type]


class Crowd(Scenario):
    """The same job is delivered ten times at once."""

    faults = ()

    def work(self, wiring: Wiring) -> None:
        """Be ten."""
        children: list[int] = []
        while len(children) < 9 and (child := os.fork()):
            children.append(child)
        super().work(wiring)
        if child:
            for child in children:
                os.waitpid(child, 0)


def crash(scenario: Scenario, before: str = "s3 PUT partNumber=3") -> None:
    """Have a first attempt die before a call."""

    def midway(what: str) -> None:
        if what == before:
            os.kill(os.getpid(), signal.SIGKILL)

    child = scenario.world.fork(
        lambda wiring: attempt(scenario.task_id, wiring), Calls(midway=midway)
    )
    assert os.WIFSIGNALED(scenario.world.wait(child))


def _overdue(world: World, overdue: Callable[..., list[tuple[str, int]]]) -> bool:
    with world.wiring.database.read() as session:
        return bool(overdue(session, most=1))


def _swept(scenario: Scenario) -> bool:
    scenario.world.wiring.sweeper.sweep(now=scenario.world.wiring.now())
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
        HandedBack,
        Erased,
        Changed,
        Aborted,
        Swept,
        Unmailed,
        Launched,
        Deleted,
        Outdated,
        Crowd,
    )
}
