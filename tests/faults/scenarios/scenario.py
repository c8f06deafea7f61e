"""What a process may be about when a call of it goes wrong, and what all of that has in common."""

import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from chalicelib.wiring import Wiring
from tests.faults import world as worlds
from tests.faults.calls import FAULTS, Call, Calls, Fault
from tests.faults.oracle import Expected, Promise
from tests.faults.world import World, attempt
from tests.harness.ledgers import the_task

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
        beats: Whether the attempt's heart beats, in a thread of its own, from the middle on. Then
            each transaction has a connection of its own, or it would depend on chance who opens
            which.
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
        self._reached = threading.Event()

    def prepare(self) -> None:
        """Bring about what must be there before."""
        self.task_id = self.request()
        self.posts = self.world.posts()
        self.user_id = self.world.user_id
        self.world.empty_queue()

    def recover(self) -> None:
        """Let the lease of an attempt that died be over, and its task be queued again."""
        wiring = self.world.wiring
        self.world.pass_time()
        wiring.reconciler.sweep(now=wiring.now())
        assert the_task(wiring.database, self.task_id).status == "queued"
        self.world.empty_queue()

    def request(self) -> str:
        """Request the export that it is about; return its task's id."""
        return self.world.request()

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
            if self.beats:
                worlds.beating_after(self._reached)
            else:
                worlds.quietly()
            try:
                self.work(wiring)
            finally:
                ended()

        return self.world.fork(work, calls, pool_size=0 if self.beats else worlds.POOL_SIZE)

    def _midway(self, what: str, calls: Calls) -> None:
        if what == MIDWAY and not self._reached.is_set():
            self._reached.set()
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
