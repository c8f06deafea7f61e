"""`python -m tests.coverage`: which branches the unit and integration tests take.

Only this process and those that it forks are measured: a worker that a test starts is one of its
own, so the true figures are a little higher. A line is the kernel's if a wrong one loses tasks.
"""

import os
import sys
from pathlib import Path

import click
import pytest
from coverage import Coverage
from coverage.exceptions import NoDataError

ROOT = Path(__file__).parents[1]
KERNEL = ("chalicelib/tasks", "chalicelib/outbox", "chalicelib/db", "worker/attempts.py")
DEFAULT = ("tests/unit", "tests/integration")


@click.command()
@click.argument("tests", nargs=-1)
def main(tests: tuple[str, ...]) -> None:
    """Run tests, and show what they leave out; the whole is in build/coverage/index.html."""
    coverage = Coverage(
        data_file=None, branch=True, source=["app", "chalicelib", "worker"], config_file=False
    )
    coverage.start()
    status = pytest.main(["-q", "-p", "no:cacheprovider", *(tests or DEFAULT)])
    coverage.stop()
    try:
        share = coverage.report(file=sys.stdout, skip_covered=True, sort="cover")
        coverage.html_report(directory=str(ROOT / "build" / "coverage"))
    except NoDataError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"\n{share:.1f} % of lines and branches\n\nlines of the kernel without a test:")
    for path in _kernel():
        missing = coverage.analysis2(str(path))[4]
        if missing:
            click.echo(f"  {path.relative_to(ROOT)}: {missing}")
    # Threads of the tests' servers may still be there.
    sys.stdout.flush()
    os._exit(int(status))


def _kernel() -> list[Path]:
    found = [ROOT / part for part in KERNEL]
    files = [file for one in found for file in ([one] if one.is_file() else one.glob("*.py"))]
    return sorted(files)


if __name__ == "__main__":
    main()
