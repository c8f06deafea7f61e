"""An upgrade: code from before the newest migration and code from after it work side by side."""

import sys
from pathlib import Path

import pytest

from tests.deployed.conftest import Deployed
from tests.harness.history import NoHistory, unpack_older_code
from tests.harness.processes import ROOT, WORKER
from tests.harness.story import from_request_to_email

pytestmark = pytest.mark.servers

SERVE = [sys.executable, "-m", "infra.servers.serve", "--port"]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the last commit that does not know the newest migration."""
    folder = tmp_path_factory.mktemp("old")
    try:
        unpack_older_code(folder)
    except NoHistory as reason:
        pytest.skip(str(reason))
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
