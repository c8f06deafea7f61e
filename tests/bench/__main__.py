"""`python -m tests.bench`: measures, prints a table, writes `bench.json` and `bench.svg`."""

import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from tests.bench import (
    archives,
    engine,
    estimating,
    growth,
    heap,
    importing,
    imports,
    jobs,
    latency,
    machine,
    report,
    throughput,
    watchers,
)
from tests.bench.bench import Bench
from tests.bench.child import ChildError
from tests.bench.figures import Row
from tests.bench.sizes import FULL, QUICK
from tests.harness.processes import ROOT
from tests.harness.servers import Servers

GROUPS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "engine": engine.rows,
    "heap": heap.rows,
    "archive": archives.rows,
    "chapter": jobs.chapter,
    "jobs": jobs.rows,
    "throughput": throughput.rows,
    "exports": throughput.exports,
    "latency": latency.rows,
    "import": importing.rows,
    "imports": imports.rows,
    "growth": growth.rows,
    "datasets": estimating.rows,
    "watchers": watchers.rows,
}

PEERS = ROOT / ".venv-bench" / "bin" / "python"


@click.command()
@click.option("--quick", is_flag=True, help="Smaller and fewer: under 90 seconds on two cores.")
@click.option("--only", default="", help=f"Some of {', '.join(GROUPS)}, with commas.")
@click.option("--strict", is_flag=True, help="Exit with 1 when a bound is missed.")
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
@click.option("--data-dir", envvar="DATA_DIR", default=".local", type=click.Path(path_type=Path))
def main(*, quick: bool, only: str, strict: bool, markdown: bool, data_dir: Path) -> None:
    """Measure every row beside its peer, in turns, on servers of the benchmark's own."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sizes = QUICK if quick else FULL
    groups = [name for name in only.split(",") if name] or list(GROUPS)
    if unknown := set(groups) - set(GROUPS):
        raise click.BadParameter(f"there is no {', '.join(sorted(unknown))}", param_hint="--only")
    with Servers() as servers:
        bench = Bench(servers, sizes, _narrator(), PEERS if PEERS.exists() else None)
        try:
            rows, facts = run(bench, groups)
        except (AssertionError, ChildError):
            click.echo(servers.log, err=True)
            raise
        finally:
            bench.close()
    report.write(rows, data_dir, **facts)
    click.echo(report.table(rows, markdown=markdown))
    for line in _below(bench, rows, facts, data_dir):
        click.echo(line)
    sys.exit(1 if strict and any(row.holds is False for row in rows) else 0)


def run(bench: Bench, groups: Sequence[str]) -> tuple[list[Row], dict[str, Any]]:
    """Measure some groups; return their rows, and the facts that go with them."""
    began, facts = time.monotonic(), machine.facts()
    rows = [row for name in groups for row in GROUPS[name](bench)]
    return rows, {
        "sizes": bench.sizes.name,
        "began_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "took_s": round(time.monotonic() - began, 1),
        "machine": {**facts, "postgresql": bench.postgresql_settings()},
        "left_out": bench.left_out,
        "import_profile_ms": dict(bench.profile),
    }


def _narrator() -> Callable[[str], None]:
    began = time.monotonic()
    return lambda text: click.echo(f"{time.monotonic() - began:6.1f} s  {text}", err=True)


def _below(bench: Bench, rows: Sequence[Row], facts: dict[str, Any], folder: Path) -> Iterator[str]:
    yield ""
    yield f"Medians (and quartiles), ratios of samples taken in turns; {facts['took_s']:.0f} s."
    on = facts["machine"]
    server = on["postgresql"]
    yield (
        f"{on['processor']}, {on['cores']} cores, {on['memory_gib']} GiB, load"
        f" {on['load_before'][0]} before the run; {on['system']}, Python {on['python']}"
        + (f", PostgreSQL {server['server_version']}, fsync {server['fsync']}" if server else "")
    )
    for sentence in bench.left_out:
        yield f"Left out: {sentence}."
    if bench.profile:
        spent = ", ".join(f"{name} {ms:.0f}" for name, ms in bench.profile)
        yield f"A cold import's milliseconds by package: {spent}."
    if missed := sum(row.holds is False for row in rows):
        yield f"{missed} of {sum(row.holds is not None for row in rows)} bounds are MISSED."
    yield f"{folder / 'bench.json'} and {folder / 'bench.svg'} have it all."


if __name__ == "__main__":
    main()
