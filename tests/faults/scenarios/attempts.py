"""Attempts at exports."""

import signal
import threading
from collections.abc import Collection
from typing import Any

from chalicelib.exports.archive import FORMATS
from chalicelib.wiring import Wiring
from tests.faults import world as worlds
from tests.faults.calls import Call, Fault
from tests.faults.oracle import ERASED
from tests.faults.scenarios.scenario import EVERY_FAULT, READER, Scenario, as_many, crash
from tests.harness.ledgers import the_task
from tests.harness.waiting import wait_until
from worker import attempts, process
from worker.export import upload


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
        renewed = next(index for index, call in enumerate(mine) if call.is_to("sql UPDATE tasks"))
        ends = [call for call in mine[renewed + 1 : renewed + 2] if call.is_to("sql COMMIT")]
        return [*mine[: renewed + 1], *ends]

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
        self.recover()


class Archived(Scenario):
    """An archive in every format, in several parts."""

    def request(self) -> str:
        """Request one."""
        params: dict[str, Any] = {
            "datasets": ["profile", "posts"],
            "formats": list(FORMATS),
            "viewer": False,
        }
        return self.world.request("export_archive", **params)


class ArchiveResumed(Archived, Resumed):
    """The same, where one died in the middle of a member."""


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


class Sliced(Scenario):
    """Others wait in mid-export: it makes room at the next part, and goes on after them."""

    def midway(self, wiring: Wiring) -> None:
        del wiring
        attempts.Attempt._others_have_waited = _always  # type: ignore[assignment, method-assign]


class OutOfTime(Scenario):
    """Its time is over in mid-export; it has got on, so it goes on."""

    def midway(self, wiring: Wiring) -> None:
        del wiring
        attempts.Attempt.deadline = property(lambda _attempt: 0.0)  # type: ignore[assignment]


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


class Outdated(Scenario):
    """An export is deleted while a zombie that lost it still writes."""

    faults: Collection[Fault] = frozenset[Fault]({"stall"})

    def meanwhile(self) -> None:
        worlds.delete(self.world.wiring, self.user_id, self.task_id)


class Crowd(Scenario):
    """The same job is delivered ten times at once."""

    faults = ()

    def work(self, wiring: Wiring) -> None:
        with as_many(10):
            super().work(wiring)


def _always(_attempt: attempts.Attempt) -> bool:
    return True
