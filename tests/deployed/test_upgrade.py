"""An upgrade: code from before the newest migration and code from after it work side by side."""

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from tests.deployed.conftest import Deployed
from tests.harness.processes import ROOT, WORKER
from tests.harness.story import from_request_to_email
from worker.commands.operating import MIGRATIONS

pytestmark = pytest.mark.servers

SERVE = [sys.executable, "-m", "infra.servers.serve", "--port"]


LAST_OF_THE_FIRST = "0003"
"""The migrations began anew up to here: code from before them knows another schema."""


def git(*arguments: str) -> bytes:
    """What git says; skips where the history is not there."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"the history is not here: {done.stderr.decode().strip()}")
    return done.stdout


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the last commit that does not know the newest migration."""
    newest = ScriptDirectory(str(MIGRATIONS)).get_revision("head")
    assert newest is not None
    if newest.revision == LAST_OF_THE_FIRST:
        pytest.skip("the first schema has no older code beside it")
    added = git("log", "--diff-filter=A", "--format=%H", "--", newest.path).decode().split()
    before = f"{added[-1]}^" if added else "HEAD"  # one that is being written is in no commit yet
    folder = tmp_path_factory.mktemp("old")
    subprocess.run(["tar", "-x", "-C", folder], input=git("archive", before), check=True)
    assert not (folder / Path(newest.path).relative_to(ROOT)).exists()
    return folder


@pytest.mark.parametrize("who", ["worker", "api"])
def test_old_and_new_code_on_the_new_schema(
    installation: Deployed, old: Path, tmp_path: Path, who: str
) -> None:
    """Migrations come first, so either may still be the old one; the story is the same."""
    installation.command("migrate")
    folders = {"api": ROOT, "worker": ROOT, who: old}
    with (
        installation.process(*SERVE, str(installation.port), folder=folders["api"]) as api,
        installation.process(*WORKER, "run", folder=folders["worker"]) as worker,
    ):
        installation.wait_until_ready(api)
        from_request_to_email(installation, tmp_path / "posts.json")
        assert worker.stop() == 0, worker.output
        assert api.stop() == 0, api.output
