"""A cluster of one node, which takes commands on several keys only if they share a hash tag."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from chalicelib.accounts.rate_limits import Rate, RateLimiter
from chalicelib.adapters.job_queue import api_client
from chalicelib.errors import TooMany
from chalicelib.wiring import Wiring
from infra.local.stack import free_port, ping, redis_command
from tests.harness import processes
from tests.harness.ledgers import make_user, the_task
from tests.harness.processes import WORKER, output, worker
from tests.harness.waiting import wait_until

SLOTS = 16384


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """A Valkey in cluster mode that has all slots."""
    port = free_port()
    folder = tmp_path / "cluster"
    folder.mkdir()
    command = [*redis_command(port, folder), "--cluster-enabled", "yes"]
    process = processes.start(command, log=folder / "log")
    wait_until(lambda: ping(port), "it answers")
    with Redis(port=port) as client:
        client.execute_command("CLUSTER ADDSLOTSRANGE", 0, SLOTS - 1)
        wait_until(
            lambda: re.search(r"cluster_state\W+ok", str(client.execute_command("CLUSTER INFO"))),
            "it has all slots",
            within_s=30,
        )
    yield f"redis://127.0.0.1:{port}/0"
    processes.stop(process)


def test_a_whole_export(
    cluster: str, environment: dict[str, str], wiring: Wiring, tmp_path: Path
) -> None:
    """With `RQ_KEY_PREFIX={rq}`, requests, workers and the reconciler are at home there."""
    user_id = make_user(wiring.database)
    assert user_id
    own = environment | {"REDIS_URL": cluster, "RQ_KEY_PREFIX": "{rq}"}
    command = (*WORKER, "tasks", "launch", "export_posts", "--user", "susan")
    with worker(own, log=tmp_path / "worker.log"):
        task_id = output(*command, env=os.environ | own).strip()

        def is_over() -> bool:
            return the_task(wiring.database, task_id).status == "succeeded"

        wait_until(is_over, "the export is there", within_s=60)
        output(*WORKER, "sweep", env=os.environ | own)
    with Redis.from_url(cluster) as client:
        names = [name.decode() for name in client.scan_iter()]
    assert any(name.startswith("{rq}:job:") for name in names)
    assert not [name for name in names if name.startswith("rq:")]
    log = (tmp_path / "worker.log").read_text()
    assert "CROSSSLOT" not in log
    assert "Traceback" not in log


def test_limits(cluster: str) -> None:
    """Several limits are counted in one script, whose keys must be in one slot."""
    limiter = RateLimiter(api_client(cluster), scope="test")
    uses = (Rate("one", 1, 600), "susan"), (Rate("other", 5, 600), "127.0.0.1")
    limiter.spend(*uses)
    with pytest.raises(TooMany):
        limiter.spend(*uses)
    limiter.refund(*uses)
    limiter.refund(*uses)
    limiter.spend(*uses)
    limiter.redis.close()
