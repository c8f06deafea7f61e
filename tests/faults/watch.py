"""Looks at the ledger all the time, and remembers what no look at its end can tell."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import sqlalchemy as sa

from chalicelib.db.engine import Database
from chalicelib.db.models import ACTIVE, ExportFile, OutboxMessage, Task
from chalicelib.exports.kinds import export_kinds
from tests.faults.emails import OPEN

TERMINAL = ("succeeded", "failed", "cancelled")

EVERY_TASK = (
    sa.select(
        *(Task.id, Task.name, Task.claim, Task.status, Task.percent, Task.failures, Task.worker),
        OutboxMessage.state,
    )
    .outerjoin(ExportFile, ExportFile.task_id == Task.id)
    .outerjoin(OutboxMessage, OutboxMessage.id == ExportFile.email_id)
)


@dataclass(frozen=True)
class Look:
    """A task as it was at one moment, and the email about its outcome."""

    task_id: str
    name: str
    claim: int
    status: str
    percent: int
    failures: int
    worker: str | None
    email_state: str | None

    @property
    def is_over(self) -> bool:
        return self.status in TERMINAL

    @property
    def is_settled(self) -> bool:
        """Whether it has its outcome and nothing more will be emailed about it."""
        return self.is_over and self.email_state not in OPEN


@dataclass(frozen=True)
class Kill:
    """A process that worked on a task was killed, at a moment of the monotonic clock."""

    task_id: str
    claim: int
    at: float


@dataclass
class Watch:
    """Polls in a thread of its own, from `start` to `stop`; only reads.

    Attributes:
        database: The ledger.
        interval_s: Seconds between two looks.
        requeued_is_recovered: Whether a task counts as recovered when it is queued again, where
            the queue is long.
        latest: Every task that was ever seen, as it was last.
        faults: What must never be seen, in words.
    """

    database: Database
    interval_s: float = 0.05
    requeued_is_recovered: bool = False
    latest: dict[str, Look] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    _kills: list[Kill] = field(default_factory=list)
    _recovered: dict[Kill, float] = field(default_factory=dict)
    _done: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread = field(default_factory=threading.Thread)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True, name="watch")
        self._thread.start()

    def stop(self) -> None:
        """End; a last look is taken."""
        self._done.set()
        self._thread.join()

    def killed(self, task_id: str, claim: int) -> None:
        """A process that worked under this claim was killed just now."""
        self._kills.append(Kill(task_id, claim, time.monotonic()))

    def recoveries_s(self) -> list[float]:
        """For each kill so far, the seconds until the next claim or the end of its task."""
        return list(self._recovered.values())

    def open_kills(self) -> list[Kill]:
        """Kills that nobody has recovered from yet."""
        return [kill for kill in list(self._kills) if kill not in self._recovered]

    def _run(self) -> None:
        while not self._done.wait(self.interval_s):
            try:
                self._look()
            except sa.exc.DBAPIError:
                continue  # the database is what is being killed
        self._look()

    def _look(self) -> None:
        with self.database.read() as session:
            looks = [Look(*row) for row in session.execute(EVERY_TASK)]
        now = time.monotonic()
        for look in looks:
            self._compare(self.latest.get(look.task_id), look)
            self.latest[look.task_id] = look
        for kill in self.open_kills():
            if self._goes_on(self.latest[kill.task_id], kill):
                self._recovered[kill] = max(0.0, now - kill.at)

    def _goes_on(self, look: Look, kill: Kill) -> bool:
        queued = self.requeued_is_recovered and look.status == "queued"
        return look.claim > kill.claim or look.is_over or queued

    def _compare(self, before: Look | None, look: Look) -> None:
        ends = look.is_over and not (before and before.is_over)
        if ends and look.email_state is None and look.name in _names_of_exports():
            self.faults.append(f"{look.task_id}: is over and nothing tells of it: {look}")
        if before is None:
            return
        for what, is_wrong in RULES.items():
            if is_wrong(before, look):
                self.faults.append(f"{look.task_id}: {what}: {before} became {look}")


def _names_of_exports() -> set[str]:
    return {kind.name for kind in export_kinds()}


RULES: dict[str, Callable[[Look, Look], bool]] = {
    "the percentage fell": lambda old, new: new.percent < old.percent,
    "the claim fell": lambda old, new: new.claim < old.claim,
    "an outcome changed": lambda old, new: old.is_over and new.status != old.status,
    "an email was revoked": lambda old, new: old.is_settled and new.email_state != old.email_state,
    "100 % without success": lambda _, new: (new.percent == 100) != (new.status == "succeeded"),
}
"""What must not be seen between two looks at a task; nobody retries or asks for a second email."""


def in_progress(looks: dict[str, Look]) -> list[Look]:
    return [look for look in list(looks.values()) if look.status in ACTIVE]
