from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from chalicelib.accounts import rate_limits
from chalicelib.db.engine import Database
from chalicelib.wiring import Wiring
from tests.harness.ledgers import launch, make_user, the_email
from tests.harness.processes import worker
from tests.harness.waiting import wait_until
from tests.infra.templates import Template


@pytest.fixture
def as_the_user(
    foundation: Template, environment: dict[str, str], valkey_port: int
) -> dict[str, str]:
    """The settings, with the queue's user as the template makes it."""
    rules = foundation["Resources"]["CacheUser"]["Properties"]["AccessString"].split()
    with Redis(port=valkey_port) as admin:
        admin.execute_command("ACL", "SETUSER", "carryout", "reset", ">secret", *rules)
    return environment | {"REDIS_URL": f"redis://carryout:secret@127.0.0.1:{valkey_port}/0"}


def is_sent(database: Database, task_id: str) -> bool:
    """Whether the email about a task is sent."""
    email = the_email(database, task_id)
    return email is not None and email.state == "sent"


def test_access_string_is_enough(
    as_the_user: dict[str, str], database: Database, tmp_path: Path
) -> None:
    """The API enqueues and counts, a worker works, as the user that ElastiCache will know."""
    task_id = launch(database, make_user(database))
    settings = {**as_the_user, "VERIFY_EMAIL": "on", "LIMITS": "on"}
    wiring = Wiring.from_environment(settings)
    wiring.rate_limiter.spend((rate_limits.REQUESTS_PER_TOKEN, "somebody"))
    assert list(wiring.queue.redis.scan_iter("carryout:*"))
    with wiring.rate_limiter.long_poll_slot(1, "::1", wait_s=1):
        assert list(wiring.queue.redis.scan_iter("carryout:*:long-poll:*"))
    assert not list(wiring.queue.redis.scan_iter("carryout:*:long-poll:*"))
    wiring.outbox_hint.send()
    assert wiring.outbox_waiter.wait(10)
    wiring.queue.enqueue([(task_id, "export_posts")])
    assert wiring.queue.depth() == 1
    log = tmp_path / "worker.log"
    with worker(settings, log=log):
        wait_until(lambda: is_sent(database, task_id), "the email is sent")
        assert wiring.queue.workers_alive() == 1
        assert wiring.queue.workers()[0].hostname
    assert "NoPermission" not in log.read_text()
    wiring.database.close()
    wiring.queue.redis.close()


@pytest.mark.parametrize(
    "command",
    ["FLUSHALL", "CONFIG GET *", "KEYS *", "SHUTDOWN", "ACL LIST", "GET other", "REPLICAOF a 1"],
)
def test_access_string_is_no_more(as_the_user: dict[str, str], command: str) -> None:
    """Whoever gets hold of the user can neither look beyond its keys nor stop the server."""
    with Redis.from_url(as_the_user["REDIS_URL"]) as redis, pytest.raises(NoPermissionError):
        redis.execute_command(*command.split())
