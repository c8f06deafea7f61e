"""`python -m tests.coverage`: which lines and branches the unit and integration tests take.

The processes that tests start are measured, too; one that is killed takes what it knew with it, so
the true figures are a little higher. A line is the kernel's if a wrong one loses tasks, files or
messages.
"""

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click
import pytest
from coverage import Coverage
from coverage.exceptions import NoDataError

ROOT = Path(__file__).parents[1]
REPORTS = ROOT / "build" / "coverage"
KERNEL = (
    *("chalicelib/db/", "chalicelib/exports/", "chalicelib/outbox/", "chalicelib/tasks/"),
    *("worker/attempts.py", "worker/batch.py", "worker/runner.py", "worker/work_horse.py"),
)
DEFAULT = ("tests/unit", "tests/integration")

CONFIGURATION = f"""
[run]
branch = true
parallel = true
data_file = {REPORTS}/data
source = app, {ROOT}/chalicelib, {ROOT}/worker
patch = subprocess, fork, _exit
disable_warnings = module-not-imported, no-data-collected, module-not-measured
"""
"""https://coverage.readthedocs.io/en/latest/subprocess.html"""

AT_START = "import coverage\ncoverage.process_startup()\n"
"""What coverage has a `.pth` file for, which Python looks for in no folder of `PYTHONPATH`."""


@click.command()
@click.argument("tests", nargs=-1)
def main(tests: tuple[str, ...]) -> None:
    """Run tests, and show what they leave out; the whole is in build/coverage/index.html."""
    coverage = _begin()
    status = pytest.main(["-q", "-p", "no:cacheprovider", *(tests or DEFAULT)])
    coverage.stop()
    coverage.save()
    try:
        files = _measured()
    except NoDataError as error:
        raise click.ClickException(str(error)) from error
    _show_folders(files)
    _show_kernel(files)
    # Threads of the tests' servers may still be there.
    sys.stdout.flush()
    os._exit(int(status))


def _begin() -> Coverage:
    """Measure this process, and those that it starts from now on."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    for old in REPORTS.glob("data*"):
        old.unlink()
    _configuration().write_text(CONFIGURATION, "utf-8")
    (REPORTS / "sitecustomize.py").write_text(AT_START, "utf-8")
    found = os.environ["PYTHONPATH"].split(os.pathsep)
    paths = [str(REPORTS), *(str(Path(path).absolute()) for path in found)]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    coverage = Coverage(config_file=str(_configuration()))
    coverage.start()
    return coverage


def _configuration() -> Path:
    return REPORTS / "configuration"


def _measured() -> dict[str, dict[str, Any]]:
    """What is known of each file, by its path; see coverage's JSON report.

    Copies of files, which some tests run, are left out.
    """
    coverage = Coverage(config_file=str(_configuration()))
    coverage.combine()
    coverage.html_report(directory=str(REPORTS))
    report = REPORTS / "coverage.json"
    coverage.json_report(outfile=str(report))
    files = json.loads(report.read_text("utf-8"))["files"]
    paths = {Path(path).absolute(): facts for path, facts in files.items()}
    own = {path: facts for path, facts in paths.items() if path.is_relative_to(ROOT)}
    return {str(path.relative_to(ROOT)): facts for path, facts in own.items()}


def _show_folders(files: dict[str, dict[str, Any]]) -> None:
    folders: dict[str, Counter[str]] = {}
    for path, facts in files.items():
        for folder in (str(Path(path).parent), "all"):
            folders.setdefault(folder, Counter()).update(facts["summary"])
    click.echo(f"\n{'':36}lines  branches")
    for folder, counts in sorted(folders.items(), key=lambda one: (one[0] == "all", one[0])):
        lines = _share(counts["covered_lines"], counts["num_statements"])
        branches = _share(counts["covered_branches"], counts["num_branches"])
        click.echo(f"{folder:34}{lines:>7}  {branches:>8}")


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _show_kernel(files: dict[str, dict[str, Any]]) -> None:
    click.echo("\nlines of the kernel without a test, and branches that none takes:")
    for path, facts in sorted(files.items()):
        missing = set(facts["missing_lines"])
        # A branch from a line that nothing executes says nothing more, nor one to such a line.
        branches = [
            f"{line}->{to if to > 0 else 'exit'}"
            for line, to in facts["missing_branches"]
            if not {line, to} & missing
        ]
        if path.startswith(KERNEL) and (missing or branches):
            click.echo(f"  {path}: {', '.join([*map(str, sorted(missing)), *branches])}")


if __name__ == "__main__":
    main()
