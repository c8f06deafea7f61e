"""`python -m tests.faults`: plays every fault, and prints what came of each.

Replay a line with its seed: `python -m tests.faults --seed 7 --only kill-both/sqlite`.
"""

import atexit
import functools
import json
import logging
import os
import random
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import click

from tests.faults import archives, batches, big, boundaries, chaos, failover, outages, sending
from tests.faults.lab import BOUND_S
from tests.faults.trial import SCENARIOS, SHOWN, Entry, Result, median, percentile, play
from tests.harness.processes import ROOT
from tests.harness.servers import DATABASES, Servers

REPORT = ROOT / "build" / "faults.json"
LANES = 3
"""How many trials run at the same time: they mostly wait for leases."""

QUICK = ("medley", "kill-both/postgresql", "stopped-horse/sqlite", "term/sqlite",
         "redis-flushed", "redis-killed", "storage-reset", "email-refused", "sender-stopping",
         "cancelled/postgresql")  # fmt: skip

HEAD = ("fault", "runs", "kills", "recovered after (median, max)", "duplicates", "lost", "wrong")

assert archives
assert batches
assert big
assert chaos
assert failover
assert outages
assert sending

Pair = tuple[Entry, str]


@click.command()
@click.option("--seed", type=int, help="Replays the choices of an earlier run.")
@click.option("--only", default="", help="Names of faults, or their beginnings, with commas.")
@click.option("--quick", is_flag=True, help="A few faults, a few times each.")
@click.option("--lanes", default=LANES, show_default=True, help="Trials at the same time.")
def main(seed: int | None, only: str, *, quick: bool, lanes: int) -> None:
    """Kill, stop, cut off and starve real processes, and ask the oracle after each."""
    logging.getLogger("rq").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seed = random.randrange(1, 10_000) if seed is None else seed
    began = time.monotonic()
    try:
        results = _play_all(only, seed=seed, quick=quick, lanes=lanes)
    except KeyboardInterrupt:
        # The threads wait for leases and are left alone; guards end the processes they started.
        atexit._run_exitfuncs()
        os._exit(130)
    sys.exit(report(results, seed=seed, took_s=time.monotonic() - began))


def _play_all(only: str, *, seed: int, quick: bool, lanes: int) -> list[Result]:
    chosen = _choose([name for name in only.split(",") if name], quick=quick)
    click.echo(f"seed {seed}, {len(chosen)} trials")
    results = _boundaries(seed=seed) if _wants_boundaries(only, quick=quick) else []
    pool = ThreadPoolExecutor(lanes)
    with Servers() as servers:
        if any(database == "postgresql" for _, database in chosen):
            assert servers.postgresql  # started here, not by several threads at once
        run = functools.partial(_play, seed=seed, quick=quick, servers=servers)
        results += pool.map(run, [pair for pair in chosen if not pair[0].alone])
        results += [run(pair) for pair in chosen if pair[0].alone]
    return results


def _wants_boundaries(only: str, *, quick: bool) -> bool:
    return only == "boundaries" or not (only or quick)


def _choose(names: list[str], *, quick: bool) -> list[Pair]:
    pairs = [(entry, database) for entry in SCENARIOS for database in entry.databases]
    names = names or (list(QUICK) if quick else [""])
    return [pair for pair in pairs if f"{pair[0].name}/{pair[1]}".startswith(tuple(names))]


def _play(pair: Pair, **options: Any) -> Result:
    entry, database = pair
    result = play(entry, database, **options)
    say(result)
    return result


def say(result: Result) -> None:
    """One line for a trial, and its violations."""
    state = f"skipped: {result.skipped}" if result.skipped else "ok"
    facts = "".join(f", {name} {value}" for name, value in result.notes.items())
    click.echo(
        f"{'WRONG' if result.violations else state:6} {result.fault} in {result.took_s:.0f} s"
        f" ({result.runs} runs, {result.kills} kills{facts})"
    )
    for sentence in result.violations[:SHOWN]:
        click.echo(f"       {sentence[:500]}")


def report(results: list[Result], *, seed: int, took_s: float) -> int:
    """Print the table, write the same as JSON; return the status to exit with."""
    rows = [HEAD, *map(_row, results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    click.echo()
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
    kills = sum(result.kills for result in results)
    recovered_p99_s = percentile([one for result in results for one in result.after_kill_s])
    bad = sum(len(result.violations) for result in results) + (recovered_p99_s > BOUND_S)
    totals = {
        "seed": seed,
        "took_s": round(took_s, 1),
        "kills": kills,
        "recovered_p99_s": round(recovered_p99_s, 2),
        "recovery_bound_s": BOUND_S,
        "unknown_emails": sum(result.unknown for result in results),
        "violations": bad,
    }
    click.echo("\n" + ", ".join(f"{name} {value}" for name, value in totals.items()))
    REPORT.parent.mkdir(exist_ok=True)
    content = {**totals, "faults": [asdict(result) for result in results]}
    REPORT.write_text(json.dumps(content, indent=2) + "\n")
    return 1 if bad else 0


def _row(result: Result) -> tuple[str, ...]:
    times = result.recovered_s
    recovered = f"{median(times):.1f} s, {max(times):.1f} s" if times else "-"
    if result.skipped:
        recovered = "skipped"
    counts = result.duplicates, result.lost, result.wrong
    return (result.fault, str(result.runs), str(result.kills), recovered, *map(str, counts))


def _boundaries(*, seed: int) -> list[Result]:
    """The other half of the lab: something goes wrong at every call that an attempt makes."""
    results: dict[str, Result] = {}

    def report(fault: str, is_well: bool, recovered_after_s: float) -> None:
        result = results.setdefault(fault, Result(fault))
        result.runs += 1
        result.recovered_s.append(recovered_after_s)
        if not is_well:
            result.count([f"{fault}: see above"])

    began = time.monotonic()
    boundaries.run(databases=DATABASES, seed=seed, report=report)
    found = [results[fault] for fault in sorted(results)]
    runs = sum(result.runs for result in found)
    click.echo(f"{runs} runs at every boundary in {time.monotonic() - began:.0f} s")
    return found


if __name__ == "__main__":
    main()
