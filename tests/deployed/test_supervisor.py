"""A plain server: supervisord runs the API and the workers."""

from pathlib import Path

import pytest

from chalicelib.wiring import Wiring
from tests.deployed.conftest import Deployed
from tests.harness.processes import BIN, ROOT, run
from tests.harness.story import from_request_to_email
from tests.harness.waiting import wait_until

CONFIGURATION = ROOT / "infra/servers/supervisord.conf"

pytestmark = pytest.mark.servers


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_supervisord(installation: Deployed, tmp_path: Path) -> None:
    """One configuration runs the story, restarts what dies, and stops everything cleanly."""
    variables = {"PORT": str(installation.port), "WORKERS": "2", "RUN_DIR": str(tmp_path)}
    installation.command("migrate")

    def control(*arguments: str) -> str:
        return run(BIN / "supervisorctl", "-c", CONFIGURATION, *arguments, env=variables).stdout

    command = BIN / "supervisord", "-c", CONFIGURATION
    with installation.process(*command, variables=variables) as supervisord:
        installation.wait_until_ready(supervisord)
        wait_until(lambda: control("status").count("RUNNING") == 3, "all run")
        before = control("pid", "worker:worker-2")
        control("signal", "KILL", "worker:worker-2")
        wait_until(lambda: control("pid", "worker:worker-2") not in {before, "0\n"}, "it is back")
        again = int(control("pid", "worker:worker-2"))
        queue = Wiring.from_environment(installation.settings).queue
        with queue.redis:  # before it listens, it does not know yet what to do about a signal
            wait_until(lambda: again in {one.pid for one in queue.workers()}, "it listens")
        from_request_to_email(installation, tmp_path / "posts.json")
        assert "RUNNING" in control("status", "worker:worker-1"), supervisord.output
        assert supervisord.stop() == 0
    for name in ("api", "worker-1", "worker-2"):
        assert f"stopped: {name} (exit status 0)" in supervisord.output, supervisord.output
