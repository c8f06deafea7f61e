"""Attempts at imports."""

from collections.abc import Collection

from tests.faults import world as worlds
from tests.faults.calls import Fault
from tests.faults.oracle import Expected, FileToImport, Pair
from tests.faults.scenarios.scenario import EVERY_FAULT, Scenario, crash
from tests.harness.uploads import TIME, json_lines, launch_import

NEW = 60
"""How many posts the account lacks, of some 200 bytes each."""


class Imported(Scenario):
    """An import of several commits: posts that are new, posts that are there, and bad ones."""

    faults: Collection[Fault] = EVERY_FAULT

    def prepare(self) -> None:
        """Upload a file, and queue its import."""
        self.posts = self.world.posts()
        self.user_id = self.world.user_id
        self.new: list[Pair] = [(f"{number} " + "x" * 200, TIME) for number in range(NEW)]
        held = [pair for _, pair in self.posts]
        lines = [*held, ("", TIME), *self.new, ("", TIME)]
        self.rejected = [len(held) + 1, len(lines)]
        self.task_id = launch_import(self.world.wiring, self.user_id, json_lines(lines))
        self.world.empty_queue()

    def expected(self) -> dict[str, Expected]:
        """All of it, once."""
        held = [pair for _, pair in self.posts]
        file = FileToImport(self.new, len(held), self.rejected)
        by_number = [pair for _, pair in sorted(self.posts)]
        one = Expected(
            user_id=self.user_id,
            username=worlds.USERNAME,
            must=by_number,
            outcomes=self.outcomes,
            imports=file,
        )
        return {self.task_id: one}


class ImportResumed(Imported):
    """An attempt that goes on where one died, as it was about to publish."""

    def prepare(self) -> None:
        """Let an attempt die with all rows staged."""
        super().prepare()
        crash(self, "s3 PUT")
        self.recover()
