"""schemathesis, which nobody here wrote, against the whole running stack."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e.conftest import ROOT, Stack

WHOLE = "FUZZ" in os.environ
"""`make fuzz` runs all of it, `make test` a few cases of each kind."""

EXAMPLES = "120" if WHOLE else "1"
PHASES = "examples,coverage,fuzzing,stateful" if WHOLE else "examples,fuzzing,stateful"
ENOUGH = 2500 if WHOLE else 50
"""Cases of the run with credentials; the one without adds half as many."""


def token(stack: Stack) -> str:
    """A token of the administrator's."""
    url = stack.facts["app_url"] + "/v1/tokens"
    given = {"username": "admin", "password": "correct horse"}
    return str(requests.post(url, json=given, timeout=60).json()["token"])


def run(stack: Stack, folder: Path, **environment: str) -> dict[str, Any]:
    """Run schemathesis with all its checks; return its report.

    The cases of a short run are the same each time, so what is wrong is wrong twice; a machine that
    stood still, so that `/readyz` found nobody ready, does not.
    """
    report = folder / "report.json"
    command = [sys.executable, "-m", "schemathesis.cli"]
    command += ["--config-file", str(Path(__file__).with_name("schemathesis.toml"))]
    command += ["run", stack.facts["app_url"] + "/openapi.json", "--checks", "all", "--no-color"]
    command += ["--phases", PHASES, "--max-examples", EXAMPLES, "--continue-on-failure"]
    command += ["--workers", "2"]
    command += ["--request-timeout", "60", "--suppress-health-check", "too_slow"]
    # A short run has the same cases each time.
    command += ["--generation-database=:memory:" if WHOLE else "--generation-deterministic"]
    command += ["--report-json-path", str(report)]
    for _ in range(1 if WHOLE else 2):
        done = subprocess.run(
            command,
            cwd=folder,  # it leaves a cache behind
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "SCHEMATHESIS_HOOKS": "tests.security.hooks",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=1500,
            check=False,
        )
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(report.read_text())
    print(found["test_cases"])  # noqa: T201 - what `make fuzz` shows
    return found


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("known", [True, False], ids=["administrator", "nobody"])
def test_the_document_keeps_its_word(stack: Stack, tmp_path: Path, known: bool) -> None:
    """Whatever is sent, with credentials or without, the answer is one that the document allows."""
    report = run(stack, tmp_path, **({"CARRYOUT_TOKEN": token(stack)} if known else {}))

    assert report["complete"]
    assert report["failures"] == report["errors"] == []
    assert report["test_cases"]["with_failures"] == 0
    assert report["operations"]["tested"] == report["operations"]["total"]
    assert report["test_cases"]["generated"] >= (ENOUGH if known else ENOUGH / 2)
