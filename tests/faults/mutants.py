"""`python -m tests.faults.mutants`: mutations of all kinds, made by cosmic-ray, and their score.

`mutations.py` takes out what somebody knows to matter; here nobody chooses: operators, comparisons,
constants, conditions and loops are changed wherever they stand, a sample by the seed. What survives
is shown, to be killed by a better test or explained.
"""

import random
import shlex
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path

import click

from tests.faults import mutations, warm
from tests.faults.mutations import ROOT, copy_tree

COSMIC_RAY = ROOT / ".venv-mutants" / "bin"
"""Made by `make mutants`."""

TIMEOUT_S = 900
"""A mutant that takes longer counts as noticed, so a busy machine must have the time."""

LEASES = (mutations.LEASES, mutations.TASKS, mutations.RECONCILER)
IMPORTS = ("tests/integration/test_imports.py", "tests/integration/test_import_interruption.py")

MODULES: dict[str, tuple[str, ...]] = {
    "chalicelib/tasks/transitions.py": (*LEASES, mutations.PAUSES),
    "chalicelib/tasks/leases.py": LEASES,
    "chalicelib/tasks/requests.py": (*LEASES, "tests/integration/test_delayed_start.py"),
    "chalicelib/exports/publication.py": (mutations.ENGINE, mutations.EXPORTS),
    "chalicelib/exports/removals.py": (mutations.REMOVALS, mutations.RECONCILER),
    "chalicelib/outbox/messages.py": (mutations.OUTBOX, mutations.SENDER),
    "chalicelib/outbox/deliveries.py": (mutations.WEBHOOKS, mutations.WEBHOOK_PROCESS),
    "chalicelib/imports/staging.py": IMPORTS,
    "worker/export/upload.py": ("tests/unit/test_upload.py", mutations.ENGINE),
}
"""Modules, and the tests that should notice."""

CONFIGURATION = """
[cosmic-ray]
module-path = "{module}"
timeout = {timeout_s}.0
excluded-modules = []
test-command = "{command}"

[cosmic-ray.distributor]
name = "local"

[cosmic-ray.filters.operators-filter]
exclude-operators = ["core/ReplaceBinaryOperator_BitOr_.*"]
"""
"""The operator that is left out would change types, which are not there when a test runs."""


@click.command()
@click.option("--seed", default=0)
@click.option("--most", default=10, show_default=True, help="Of each module; 0 for all.")
@click.option("--module", "modules", multiple=True, default=tuple(MODULES))
def main(seed: int, most: int, modules: tuple[str, ...]) -> None:
    """Mutate modules, and say how many mutants no test notices."""
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = copy_tree(Path(folder))
        with warm.started(tree) as ready:
            for module in modules:
                session = _prepare(tree, ready, module)
                # Tests that fail in any case would notice everything.
                _run(tree, "baseline", _configuration(session))
                _sample(session, most, random.Random(seed))
                _run(tree, "exec", _configuration(session), session)
                counts = _report(session)
                click.echo(f"{module}: {_score(counts)}")
                total += counts
    click.echo(f"all: {_score(total)}")
    sys.exit(bool(total["survived"]))


def _prepare(tree: Path, ready: Path, module: str) -> Path:
    """List what can be changed in a module; return the file that knows."""
    session = tree.parent / f"{module.replace('/', '-')}.sqlite"
    command = [sys.executable, "-m", "tests.faults.warm", "ask", str(ready)]
    command += ["-x", "-q", "-p", "no:cacheprovider"]
    text = CONFIGURATION.format(
        module=module, timeout_s=TIMEOUT_S, command=shlex.join([*command, *MODULES[module]])
    )
    _configuration(session).write_text(text)
    _run(tree, "init", _configuration(session), session)
    filtered = [COSMIC_RAY / "cr-filter-operators", session, _configuration(session)]
    subprocess.run(filtered, cwd=tree, check=True)
    return session


def _configuration(session: Path) -> Path:
    return session.with_suffix(".toml")


def _run(tree: Path, *arguments: object) -> None:
    subprocess.run([COSMIC_RAY / "cosmic-ray", *map(str, arguments)], cwd=tree, check=True)


def _sample(session: Path, most: int, chance: random.Random) -> None:
    """Leave so many of what is to be done."""
    with closing(sqlite3.connect(session)) as connection, connection:
        done = connection.execute("SELECT job_id FROM work_results")
        skipped = {job_id for (job_id,) in done}
        found = connection.execute("SELECT job_id FROM work_items ORDER BY job_id")
        left = [job_id for (job_id,) in found if job_id not in skipped]
        # Their ids are new each time; their number and order by place are not.
        places = connection.execute(
            "SELECT job_id FROM mutation_specs"
            " ORDER BY operator_name, occurrence, start_pos_row, start_pos_col"
        )
        ordered = [job_id for (job_id,) in places if job_id in left]
        kept = set(chance.sample(ordered, k=min(most, len(ordered))) if most else ordered)
        for table in ("work_results", "mutation_specs", "work_items"):
            connection.executemany(
                f"DELETE FROM {table} WHERE job_id = ?",
                [(one,) for one in {*left, *skipped} - kept],
            )


def _report(session: Path) -> Counter[str]:
    """Show what survived; return how many did what."""
    counts: Counter[str] = Counter()
    with closing(sqlite3.connect(session)) as connection:
        rows = connection.execute("SELECT worker_outcome, test_outcome, diff FROM work_results")
        for worker_outcome, test_outcome, diff in rows:
            outcome = str(test_outcome or worker_outcome).rpartition(".")[2].lower()
            counts[outcome] += 1
            if outcome == "survived":
                click.echo(_changed(diff))
    return counts


def _changed(diff: str) -> str:
    """The lines of a difference that differ."""
    lines = [line for line in diff.splitlines() if line[:1] in "+-@" and line.strip()]
    return "\n".join(f"  {line}" for line in lines)


def _score(counts: Counter[str]) -> str:
    tried = counts["killed"] + counts["survived"]
    score = f"{counts['killed'] / tried:.0%}" if tried else "-"
    return f"{counts['killed']} of {tried} noticed ({score}); {dict(counts)}"


if __name__ == "__main__":
    main()
