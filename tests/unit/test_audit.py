import os
from pathlib import Path

import pytest

from tests.harness.processes import run

OUT_OF_REACH = "NOT AUDITED"


@pytest.mark.parametrize(
    ("status", "options", "succeeds", "says_so"),
    [
        (0, "", True, False),
        (1, "", False, False),
        (1, "--or-say-so", False, False),  # a vulnerability is never passed over
        (2, "", False, True),
        (2, "--or-say-so", True, True),
    ],
)
def test_outcomes(
    tmp_path: Path, status: int, options: str, *, succeeds: bool, says_so: bool
) -> None:
    """Only what was looked up, and without a finding, is called clean."""
    uv = tmp_path / "uv"
    uv.write_text(f'#!/bin/sh\ncase "$1" in audit) exit {status};; esac\n')
    uv.chmod(0o755)
    env = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}
    done = run("make", "audit", "--old-file=setup", f"UV={uv}", f"ARGS={options}", env=env)
    assert (done.returncode == 0) == succeeds
    assert (OUT_OF_REACH in done.stderr) == says_so
