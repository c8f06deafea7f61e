"""schemathesis, which nobody here wrote, against the whole running stack."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness.people import PASSWORD, Person, Remote
from tests.harness.processes import ROOT, run
from tests.harness.stacks import Stack

WHOLE = "FUZZ" in os.environ
"""`make fuzz` runs all of it, `make test` a few cases of each kind."""

EXAMPLES = "120" if WHOLE else "1"
PHASES = "examples,coverage,fuzzing,stateful" if WHOLE else "examples,fuzzing,stateful"
ENOUGH = 2500 if WHOLE else 50
"""Cases of the run with credentials; the one without adds half as many."""


def token(stack: Stack) -> str:
    secrets = {"username": "admin", "password": PASSWORD}
    return str(Person(Remote(stack.app_url)).call("POST", "/v1/tokens", secrets, 201)["token"])


def fuzz(stack: Stack, folder: Path, **environment: str) -> dict[str, Any]:
    """Run schemathesis with all its checks; return its report.

    The cases of a short run are the same each time, so what is wrong is wrong twice; a machine that
    stood still, so that `/readyz` found nobody ready, does not.
    """
    report = folder / "report.json"
    command = [sys.executable, "-m", "schemathesis.cli"]
    command += ["--config-file", str(Path(__file__).with_name("schemathesis.toml"))]
    command += ["run", stack.app_url + "/openapi.json", "--checks", "all", "--no-color"]
    command += ["--phases", PHASES, "--max-examples", EXAMPLES, "--continue-on-failure"]
    command += ["--workers", "2"]
    command += ["--request-timeout", "60", "--suppress-health-check", "too_slow"]
    command += ["--generation-database=:memory:" if WHOLE else "--generation-deterministic"]
    command += ["--report-json-path", str(report)]
    hooks = {"PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.security.hooks"}
    env = {**os.environ, **hooks, **environment}
    done = run(*command, cwd=folder, env=env, timeout=1500)  # it leaves a cache behind
    if done.returncode and not WHOLE:
        done = run(*command, cwd=folder, env=env, timeout=1500)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(report.read_text())
    sys.stdout.write(f"{found['test_cases']}\n")  # what `make fuzz` shows
    return found


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("known", [True, False], ids=["administrator", "nobody"])
def test_the_document_keeps_its_word(stack: Stack, tmp_path: Path, known: bool) -> None:
    """Whatever is sent, with credentials or without, the answer is one that the document allows."""
    report = fuzz(stack, tmp_path, **({"CARRYOUT_TOKEN": token(stack)} if known else {}))

    assert report["complete"]
    assert report["failures"] == report["errors"] == []
    assert report["test_cases"]["with_failures"] == 0
    assert report["operations"]["tested"] == report["operations"]["total"]
    assert report["test_cases"]["generated"] >= (ENOUGH if known else ENOUGH / 2)
