"""Every boundary: each call that an attempt makes goes wrong once, in each way that it can.

The calls are those of a recorded run in which all went well. For each call and each fault there is
one run; the product recovers; the oracle judges.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import click
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from chalicelib.db.engine import connect
from tests.faults.calls import FAULTS, Call, Calls, Plan
from tests.faults.hooks import received, receiving_into
from tests.faults.oracle import violations
from tests.faults.scenarios import READER, SCENARIOS, Scenario
from tests.faults.world import PART_BYTES, RECEIVED, World, hurry, log_in
from tests.harness.servers import DATABASES, Servers, as_application

SLOTS = 6
"""How many runs go on at once; they wait most of the time."""

SMALL_PARTS = {"S3_UPLOAD_PART_MIN_SIZE": str(PART_BYTES)}
"""Of which a small export has several."""

TRIES = 3
"""How often a run is made in which the planned call does not come: a busy machine may stand still
for so long that PostgreSQL ends a transaction, and then an attempt takes another course."""

SHOWN = 300
"""How many characters of the log are shown of such a run."""

SHOWN_EVERY = 100
"""After so many runs one line says how far it is."""

ORPHANED = 0.5
"""For so many dead work horses there is a parent left that recovers their tasks."""

WARMING = ("export", "archived", "imported", "linked", "delivered")
"""Scenarios that together import whatever any of them does."""

OWNER = {"sqlite": "sqlite", "postgresql": "owner"}
"""What the harness calls a database of each kind, as its owner signs in."""

OUTSIDE = {"COMMIT", "ROLLBACK", "CONNECT", "PING"}
"""The calls to SQL that no transaction goes on after."""

Report = Callable[[str, bool, float], object]


@dataclass(frozen=True)
class Run:
    """One run, replayed by the same values.

    Attributes:
        database: `sqlite` or `postgresql`.
        scenario: What the process is about.
        plan: What goes wrong; None for nothing.
        seed: Of the posts, and of whatever else is left to chance.
    """

    database: str
    scenario: str
    plan: Plan | None
    seed: int

    def __str__(self) -> str:
        return f"seed {self.seed}, {self.database}, {self.scenario}, {self.plan}"


@dataclass(frozen=True)
class Result:
    """What came of a run: what was wrong, and the seconds until every task was over."""

    run: Run
    violations: Sequence[str]
    recovered_after_s: float = 0.0


@dataclass(frozen=True)
class Slot:
    """Servers with which runs go on, one after the other.

    Attributes:
        folder: Its files.
        environment: How to join its servers.
        databases: A migrated database of each kind, as its owner signs in.
        hook_url: A receiver of webhooks.
    """

    folder: Path
    environment: dict[str, str]
    databases: dict[str, str]
    hook_url: str


_worlds: dict[str, World] = {}
"""The databases of this process's slot."""


def _occupy(slots: Any) -> None:
    """Give a process of the pool a slot of its own."""
    slot: Slot = slots.get()
    os.environ |= slot.environment
    hurry(log_in(slot.folder))
    for name, owner_url in slot.databases.items():
        url = as_application(owner_url) if name == "postgresql" else owner_url
        _worlds[name] = World(
            slot.environment | {"DATABASE_URL": url, "VERIFY_EMAIL": "on"},
            slot.folder,
            slot.hook_url,
        )
        _worlds[name].spy(owner_url)
        _warm_up(_worlds[name])


def _warm_up(world: World) -> None:
    """Do once, in this process, what children do: they inherit what it imports and caches."""
    for name in WARMING:
        world.reset(0)
        scenario = SCENARIOS[name](world)
        scenario.prepare()
        scenario.work(world.rewired())
        world.settle()
    world.depopulate()  # the posts are those of a run's seed


class NotMetError(Exception):
    """The run did not come as far as the planned call; the message says how far."""


def _prepare(run: Run) -> Scenario:
    world = _worlds[run.database]
    world.reset(run.seed)
    scenario = SCENARIOS[run.scenario](world)
    try:
        scenario.prepare()
    except AssertionError as error:
        raise NotMetError(f"not prepared, {world.log.read_text()[-SHOWN:]}") from error
    return scenario


def record(run: Run) -> list[Plan]:
    """Make runs in which all goes well, until two are alike; return what can go wrong in them.

    If no two are, it is what can go wrong in any of them: a call that never comes again is bad.
    """
    plans: list[Plan] = []
    seen: dict[Plan, None] = {}
    for _ in range(2 * TRIES):
        before, plans = plans, _record(run)
        if set(plans) == set(before):
            return plans
        seen |= dict.fromkeys(plans)
    return list(seen)


def _record(run: Run) -> list[Plan]:
    scenario, calls = _prepare(run), Calls()
    path = scenario.world.folder / "calls.json"

    def write() -> None:
        path.write_text(json.dumps([asdict(call) for call in calls.seen]))

    scenario.world.wait(scenario.start(calls, ended=write))
    seen = [Call(**call) for call in json.loads(path.read_text())]
    return [
        Plan(call, fault)
        for call in scenario.concerns(seen)
        for fault in FAULTS[call.kind]
        if fault in scenario.faults
        and (
            fault != "stall" or run.database == "postgresql" or not _may_lock(seen, call, scenario)
        )
    ]


def _may_lock(seen: list[Call], call: Call, scenario: Scenario) -> bool:
    """Whether it may have locks: on SQLite, a process stopped with those stops everybody."""
    if call.thread.startswith(READER) or scenario.beats:
        return True  # who knows where the others are
    if call.kind == "sql" and call.what not in OUTSIDE:
        return True  # the transaction has begun: that is no call of its own
    mine = [one for one in seen[: seen.index(call)] if one.thread == call.thread]
    before = [one.what for one in mine if one.kind == "sql"]
    return bool(before) and before[-1] not in OUTSIDE


def execute(run: Run) -> Result:
    """Make one run, and judge it; again when the planned call did not come."""
    met: list[str] = []
    while len(met) < TRIES:
        try:
            return _execute(run)
        except NotMetError as error:
            met.append(str(error))
        except (AssertionError, OperationalError) as error:
            return Result(run, (repr(error),))
    return Result(run, (f"the planned call was never made: {'; '.join(met)}",))


def _execute(run: Run) -> Result:
    scenario, calls = _prepare(run), Calls(run.plan)
    met = scenario.world.folder / "met"
    met.unlink(missing_ok=True)
    calls.met = met.touch
    pid = scenario.start(calls)
    try:
        return _judge(run, scenario, pid)
    finally:
        scenario.world.end(pid)  # stopped with a lock, it would be in the way of all that follow


def _judge(run: Run, scenario: Scenario, pid: int) -> Result:
    world, met = scenario.world, scenario.world.folder / "met"
    status = world.wait(pid)
    if run.plan is not None and not met.exists():
        raise NotMetError(f"status {status}, {world.log.read_text()[-SHOWN:]}")
    recovered_after_s = _recover(run, scenario, pid, status)
    found = violations(
        world.wiring,
        world.mail_dir,
        accepted=scenario.expected(),
        promised=scenario.promised,
        samples=world.percentages(),
        received=received(world.received) if world.has_webhook else None,
    )
    return Result(run, tuple(found), recovered_after_s)


def _recover(run: Run, scenario: Scenario, pid: int, status: int) -> float:
    """Let the product do what it does; return the seconds until every task was over."""
    world = scenario.world
    if os.WIFSTOPPED(status):
        recovered_after_s = world.settle()
        scenario.meanwhile()
        os.kill(pid, signal.SIGCONT)
        world.wait(pid)
        world.settle()
        return recovered_after_s
    # A work horse that died has a parent who knows, unless that died, too.
    if os.WIFSIGNALED(status) and random.Random(str(run)).random() < ORPHANED:
        world.recover(status)
    return world.settle()


@contextmanager
def pool(databases: Sequence[str], *, slots: int = SLOTS) -> Iterator[ProcessPoolExecutor]:
    """Start the servers and the processes that make runs."""
    with ExitStack() as stack:
        shared = stack.enter_context(Servers())
        # Who works in a slot forks, and must have no threads: its servers are others' processes.
        homes = [stack.enter_context(Servers(**SMALL_PARTS)) for _ in range(slots)]
        context = get_context("spawn")
        queue = context.SimpleQueue()
        with ThreadPoolExecutor(slots) as starting:
            environments = starting.map(lambda home: home.environment(""), homes)
        for home, environment in zip(homes, environments, strict=True):
            urls = {name: stack.enter_context(shared.database(OWNER[name])) for name in databases}
            if "sqlite" in urls:
                stack.enter_context(_open(urls["sqlite"]))
            hook_url = stack.enter_context(receiving_into(home.aws.folder / RECEIVED))
            queue.put(Slot(home.aws.folder, environment, urls, hook_url))
        executor = ProcessPoolExecutor(slots, context, _occupy, (queue,))
        stack.callback(executor.shutdown, cancel_futures=True)  # if this block ends too early
        yield executor


@contextmanager
def _open(url: str) -> Iterator[None]:
    """Keep a file of SQLite open, as the API does: whoever closes it last has to tidy up."""
    database = connect(url, pool_size=1)
    with database.engine.connect() as connection:
        connection.execute(sa.text("SELECT 1 FROM users")).all()
        connection.rollback()
        yield
    database.close()


def plain_runs(databases: Sequence[str], scenarios: Iterable[str], seed: int) -> list[Run]:
    """One run of each scenario on each database in which all goes well."""
    return [Run(database, name, None, seed) for database in databases for name in scenarios]


def all_runs(executor: ProcessPoolExecutor, plain: Sequence[Run]) -> list[Run]:
    """Record runs in which all goes well; return them, and those in which something goes wrong."""
    recorded = [run for run in plain if SCENARIOS[run.scenario].faults]
    found = zip(recorded, executor.map(record, recorded), strict=True)
    return [*plain, *(replace(run, plan=plan) for run, plans in found for plan in plans)]


def run(*, databases: Sequence[str], seed: int, report: Report) -> None:
    """Make every run that there is.

    Args:
        databases: `sqlite`, `postgresql` or both.
        seed: Of the posts, and of whatever else is left to chance.
        report: Told of each run: the fault's name, whether all was well, and the seconds until
            every task was over.
    """
    with pool(databases) as executor:
        _run_all(executor, all_runs(executor, plain_runs(databases, SCENARIOS, seed)), report)


def _run_all(executor: ProcessPoolExecutor, runs: Iterable[Run], report: Report) -> None:
    for future in as_completed([executor.submit(execute, run) for run in runs]):
        result = future.result()
        name = (
            f"{result.run.plan.call.kind}: {result.run.plan.fault}" if result.run.plan else "none"
        )
        for violation in result.violations:
            sys.stderr.write(f"{result.run}: {violation}\n")
        report(name, not result.violations, result.recovered_after_s)


@click.command()
@click.option("--database", "databases", multiple=True, default=DATABASES)
@click.option("--seed", default=0)
@click.option("--scenario", "scenarios", multiple=True, default=tuple(SCENARIOS))
@click.option("--match", default="", help="Only runs whose description holds this.")
@click.option("--most", default=0, help="Only so many of them, chosen by the seed.")
@click.option("--shard", default="1/1", help="Only the I-th of N parts, as I/N.")
@click.option("--list", "list_only", is_flag=True, help="Do not run them.")
def main(
    *,
    databases: tuple[str, ...],
    seed: int,
    scenarios: tuple[str, ...],
    match: str,
    most: int,
    shard: str,
    list_only: bool,
) -> None:
    """Make runs again."""
    rows: list[tuple[str, bool, float]] = []
    began = time.monotonic()
    with pool(databases) as executor:
        runs = all_runs(executor, plain_runs(databases, scenarios, seed))
        runs = [one for one in runs if match in str(one)]
        runs = random.Random(seed).sample(runs, k=most) if most else runs
        part, parts = map(int, shard.split("/"))
        runs = runs[part - 1 :: parts]
        if list_only:
            click.echo("\n".join(map(str, runs)))
            return

        def report(*row: Any) -> None:
            rows.append(row)
            if len(rows) % SHOWN_EVERY == 0:
                bad = sum(not one[1] for one in rows)
                after_s = time.monotonic() - began
                click.echo(f"{len(rows)} of {len(runs)} runs, {bad} bad, {after_s:.0f} s", err=True)

        _run_all(executor, runs, report)
    for name in sorted({row[0] for row in rows}):
        mine = [row for row in rows if row[0] == name]
        times = sorted(row[2] for row in mine)
        bad = sum(not row[1] for row in mine)
        click.echo(
            f"{name:22} {len(mine):5} runs {bad:4} bad {median(times):6.2f} s {times[-1]:6.2f} s"
        )
    bad = sum(not row[1] for row in rows)
    click.echo(f"{len(rows)} runs, {bad} bad, {time.monotonic() - began:.0f} s")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
