"""The units for systemd: whole by its own judgement, hardened, and of one mind with the rest."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.harness.processes import ROOT, run

UNITS = ROOT / "infra/servers/systemd"
HOME = "/srv/carryout"
MOST_EXPOSED = 15
"""In tenths; `systemd-analyze security` calls up to 2 "OK", an unhardened service has 9.6."""

needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze is not here"
)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as if this folder were the place where they are installed."""
    for source in UNITS.rglob("*.*"):
        if source.is_file():
            target = tmp_path / source.relative_to(UNITS)
            target.parent.mkdir(exist_ok=True)
            target.write_text(source.read_text().replace(f"={HOME}", f"={ROOT}"))
    return tmp_path


def analyze(units: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:"}
    return run("systemd-analyze", *arguments, env=env)


@needs_systemd
def test_systemd_finds_no_fault(units: Path) -> None:
    """No unknown word, no program that is not there."""
    done = analyze(units, "verify", "--man=no", *sorted(units.glob("carryout-*.*[er]")))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("unit", [path.name for path in sorted(UNITS.glob("*.service"))])
def test_services_are_hardened(units: Path, unit: str) -> None:
    """Each service is cut off from what it has no need of, by what they have in common."""
    threshold = f"--threshold={MOST_EXPOSED}"
    done = analyze(units, "security", "--offline=true", threshold, "--no-pager", units / unit)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("unit", ["carryout-api.service", "carryout-worker@.service"])
def test_services_are_started_again_for_ever(unit: str) -> None:
    """By itself systemd gives up after 5 starts in 10 s, and then a service stays dead."""
    text = (UNITS / unit).read_text()
    section, _, service = text.partition("[Service]")
    assert "\nStartLimitIntervalSec=0\n" in section  # it belongs to [Unit]
    assert {"Restart=always", "RestartSec=5"} <= set(service.splitlines())


def test_commands_are_those_of_the_procfile() -> None:
    """What systemd starts is what every other way to run the application starts."""
    start = re.compile(rf"^ExecStart={HOME}/.venv/bin/(.+)$", re.MULTILINE)
    where = re.compile(r"\s--(host|port) \S+")
    started = {
        path.stem: where.sub("", command)
        for path in UNITS.glob("*.service")
        for command in start.findall(path.read_text())
    }
    procfile = where.sub("", (ROOT / "Procfile").read_text())
    expected = dict(re.findall(r"^(\w+): exec (.+)$", procfile, re.MULTILINE))
    assert started == {
        "carryout-api": expected["web"],
        "carryout-worker@": expected["worker"],
        "carryout-migrate": expected["release"],
        "carryout-sweep": "python -m worker sweep",
    }
