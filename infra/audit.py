"""Known vulnerabilities of the locked dependencies: `make audit`.

pip-audit's own pins may clash with ours, so it lives in an environment of its own. What it could
not look up is said and never counts as clean.
"""

import json
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parents[1]
HOME = ROOT / ".venv-audit"
LOCKED = ("requirements.txt", "requirements-dev.txt")
SOURCES = ("pypi", "osv")
"""Where advisories come from; the second is asked where the first does not answer."""

TIME_LIMIT_S = 600


@dataclass(frozen=True)
class Audit:
    """What came of a look at some dependencies.

    Attributes:
        audited: Names of those that were looked up.
        skipped: Names of those that were not.
        found: Vulnerabilities as lines for people.
    """

    audited: Sequence[str] = ()
    skipped: Sequence[str] = ()
    found: Sequence[str] = ()


def read(report: Mapping[str, Any]) -> Audit:
    """Take pip-audit's JSON apart."""
    every = report["dependencies"]
    return Audit(
        audited=[one["name"] for one in every if "skip_reason" not in one],
        skipped=[one["name"] for one in every if "skip_reason" in one],
        found=[
            f"{one['name']} {one['version']}: {flaw['id']}, fixed in "
            f"{', '.join(flaw['fix_versions']) or 'no version yet'}"
            for one in every
            for flaw in one.get("vulns", ())
        ],
    )


def audit(tool: Path, locked: str) -> Audit:
    """Look the dependencies of a file up; nothing is audited when no source answers."""
    best = Audit()
    for source in SOURCES:
        command = [str(tool), "--requirement", locked, "--require-hashes", "--disable-pip"]
        command += ["--vulnerability-service", source, "--format", "json"]
        command += ["--progress-spinner", "off"]
        done = subprocess.run(  # noqa: S603 - our own arguments  # nosec B603
            command, cwd=ROOT, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False
        )
        try:
            seen = read(json.loads(done.stdout))
        except ValueError:
            continue
        if seen.audited and not seen.skipped:
            return seen
        best = max(best, seen, key=lambda one: (len(one.audited), len(one.skipped)))
    return best


def install() -> Path | None:
    """The path of pip-audit in its own environment, or None when it cannot be had."""
    tool = HOME / "bin" / "pip-audit"
    if not tool.exists():
        venv.create(HOME, with_pip=True, clear=True)
        command = [str(HOME / "bin" / "python"), "-m", "pip", "install", "--quiet", "pip-audit"]
        subprocess.run(command, check=False)  # noqa: S603 - our own arguments  # nosec B603
    return tool if tool.exists() else None


@click.command()
@click.option("--or-say-so", is_flag=True, help="Exit 0 when no source of advisories answers.")
def main(*, or_say_so: bool) -> None:
    """Audit; exit 1 for a vulnerability, 3 when something could not be looked up."""
    tool = install()
    seen = [audit(tool, locked) if tool else Audit() for locked in LOCKED]
    for locked, one in zip(LOCKED, seen, strict=True):
        print(f"{locked}: {len(one.audited)} audited, {len(one.skipped)} skipped")  # noqa: T201
        for line in one.found:
            print(f"  VULNERABLE {line}")  # noqa: T201
    if any(one.found for one in seen):
        sys.exit(1)
    if any(one.skipped or not one.audited for one in seen):
        print("NOT AUDITED: a source of advisories was out of reach; this is no clean bill")  # noqa: T201
        sys.exit(0 if or_say_so else 3)
    print("no known vulnerability")  # noqa: T201


if __name__ == "__main__":
    main()
