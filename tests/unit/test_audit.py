from pathlib import Path

import pytest
from click.testing import CliRunner

from infra import audit
from infra.audit import Audit, main, read


def test_what_was_skipped_is_told_apart() -> None:
    """A dependency that could not be looked up is not one without vulnerabilities."""
    flaw = {"id": "CVE-1", "fix_versions": ["2"], "aliases": [], "description": ""}
    report = {
        "dependencies": [
            {"name": "good", "version": "1", "vulns": []},
            {"name": "bad", "version": "1", "vulns": [flaw]},
            {"name": "unknown", "skip_reason": "not found"},
        ]
    }
    assert read(report) == Audit(["good", "bad"], ["unknown"], ["bad 1: CVE-1, fixed in 2"])


@pytest.mark.parametrize(
    ("seen", "options", "status", "said"),
    [
        (Audit(["good"]), [], 0, "no known vulnerability"),
        (Audit(["bad"], [], ["bad 1"]), ["--or-say-so"], 1, "VULNERABLE bad 1"),
        (Audit(["good"], ["unknown"]), [], 3, "NOT AUDITED"),
        (Audit(), [], 3, "NOT AUDITED"),  # no source answered at all
        (Audit(), ["--or-say-so"], 0, "NOT AUDITED"),
    ],
)
def test_outcomes(
    monkeypatch: pytest.MonkeyPatch, seen: Audit, options: list[str], status: int, said: str
) -> None:
    """Only what was looked up, all of it and without a finding, is called clean."""
    monkeypatch.setattr(audit, "install", lambda: Path("pip-audit"))
    monkeypatch.setattr(audit, "audit", lambda _tool, _locked: seen)
    done = CliRunner().invoke(main, options)
    assert (done.exit_code, said in done.output) == (status, True)
    assert ("no known" in done.output) == (seen == Audit(["good"]))
