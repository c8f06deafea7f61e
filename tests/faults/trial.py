"""One trial: a scenario, a database, a seed; what it did and what came of it."""

import contextlib
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.faults.lab import Lab, Plan
from tests.faults.settling import unknown_emails
from tests.faults.watch import Watch
from tests.harness.processes import ROOT
from tests.harness.servers import Servers

LOGS = ROOT / "build" / "faults"
"""Where the output of stacks goes on which something was wrong."""

SHOWN = 12
"""How many violations of one trial are printed."""


class Skipped(Exception):
    """The scenario cannot be played on this machine; the message says why."""


@dataclass
class Result:
    """What a trial found.

    Attributes:
        fault: The scenario and its database.
        runs: How often the fault was done.
        kills: How many processes were killed.
        recovered_s: For each kill, or each fault that has an end, the seconds until the work
            went on or was over.
        after_kill_s: Those after a kill, to the next claim or the end.
        duplicates: How many emails there were too many.
        lost: How many accepted tasks have no outcome.
        wrong: How many other things were not as they must be.
        unknown: How many emails may or may not have been sent.
        violations: All of these, in words.
        notes: Figures worth a line.
        skipped: Why it was not played.
        took_s: How long it took.
    """

    fault: str
    runs: int = 0
    kills: int = 0
    recovered_s: list[float] = field(default_factory=list)
    after_kill_s: list[float] = field(default_factory=list)
    duplicates: int = 0
    lost: int = 0
    wrong: int = 0
    unknown: int = 0
    violations: list[str] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    skipped: str | None = None
    took_s: float = 0

    def count(self, violations: Sequence[str]) -> None:
        self.violations += violations
        for sentence in violations:
            if "emails for one ending" in sentence:
                self.duplicates += 1
            elif any(word in sentence for word in LOSSES):
                self.lost += 1
            else:
                self.wrong += 1


LOSSES = ("lost: ", " is queued", " is running", " is cancelling", "has no ending")


@dataclass
class Trial:
    """What a scenario gets.

    Attributes:
        result: Where it counts its faults.
        chance: The seed's choices.
        quick: Whether a few repetitions are enough.
        database: `sqlite` or `postgresql`.
        servers: Make it.
    """

    result: Result
    chance: random.Random
    quick: bool
    database: str
    servers: Servers

    def few(self, many: int, few: int) -> int:
        """The number of repetitions."""
        return few if self.quick else many

    @contextlib.contextmanager
    def lab(self, plan: Plan) -> Iterator[Lab]:
        """A stack for the block; after it everything must settle, and the oracle is heard."""
        with contextlib.ExitStack() as stack:
            if self.database == "postgresql":
                url = stack.enter_context(self.servers.database(self.database))
                plan = replace(plan, database_url=url)
            lab = Lab(plan)
            stack.callback(lab.close)
            try:
                yield lab
                self.result.count(lab.settle())
                self.result.unknown += len(unknown_emails(lab.wiring))
            except Exception as error:  # noqa: BLE001 - a fault of whatever kind
                sentence = f"{type(error).__name__}: {error}"
                self.result.count([sentence, *lab.watch.faults])
            self._note_recoveries(lab.watch)
            if self.result.violations:
                self._keep_log(lab)

    def _note_recoveries(self, watch: Watch) -> None:
        self.result.recovered_s += watch.recoveries_s()
        if not watch.requeued_is_recovered:
            self.result.after_kill_s += watch.recoveries_s()

    def _keep_log(self, lab: Lab) -> None:
        LOGS.mkdir(parents=True, exist_ok=True)
        path: Path = LOGS / f"{self.result.fault.replace('/', '-')}.log"
        path.write_text(lab.log)
        self.result.notes["log"] = str(path.relative_to(ROOT))


Scenario = Callable[[Trial], None]


@dataclass(frozen=True)
class Entry:
    """A scenario by name.

    Attributes:
        play: What it does.
        databases: On which.
        alone: Whether no other may run at the same time.
    """

    name: str
    play: Scenario
    databases: tuple[str, ...]
    alone: bool


SCENARIOS: list[Entry] = []


def scenario(name: str, *databases: str, alone: bool = False) -> Callable[[Scenario], Scenario]:
    """Register a scenario: under a name, for databases (SQLite when none is named)."""

    def register(play: Scenario) -> Scenario:
        SCENARIOS.append(Entry(name, play, databases or ("sqlite",), alone))
        return play

    return register


def play(entry: Entry, database: str, *, seed: int, quick: bool, servers: Servers) -> Result:
    """Play a scenario once; whatever it raises is a violation."""
    fault = f"{entry.name}/{database}"
    result = Result(fault)
    trial = Trial(result, random.Random(f"{seed}/{fault}"), quick, database, servers)
    began = time.monotonic()
    try:
        entry.play(trial)
    except Skipped as reason:
        result.skipped = str(reason)
    except Exception as error:  # noqa: BLE001 - the others are to be played all the same
        result.count([f"{type(error).__name__}: {error}"])
    result.took_s = time.monotonic() - began
    return result


def percentile(values: Sequence[float], part: float = 0.99) -> float:
    """The value that this part of all does not exceed (nearest rank); 0 for none."""
    ordered = sorted(values)
    return ordered[math.ceil(part * len(ordered)) - 1] if ordered else 0.0


def median(values: Sequence[float]) -> float:
    """The value in the middle; 0 for none."""
    return statistics.median(values) if values else 0.0
