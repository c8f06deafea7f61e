from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from chalicelib.accounts import accounts
from chalicelib.db.engine import Database
from chalicelib.db.models import IdempotencyKey, Removal, Token
from chalicelib.exports import files, removals
from chalicelib.outbox import messages
from chalicelib.tasks import requests as task_requests
from chalicelib.wiring import Wiring
from infra.local.stack import free_port
from tests.conftest import both_databases
from tests.harness.ledgers import (
    FILE,
    LEASE_S,
    fail,
    lapse,
    launch,
    make_user,
    now,
    publish,
    put,
    take,
    the_task,
)
from tests.integration.conftest import Rewire

NOTHING = {"recovered": 0, "unknown": 0, "expired": 0, "rung": 0, "removed": 0}


@pytest.fixture
def user_id(database: Database) -> int:
    """A user."""
    return make_user(database)


@pytest.fixture
def task_id(database: Database, user_id: int) -> str:
    """An export of theirs, queued, for which nobody rang."""
    return launch(database, user_id)


def swept(wiring: Wiring, *, later_s: float = 0) -> dict[str, int]:
    """Sweep once; return what was done, without the zeros."""
    counts = wiring.sweeper.sweep(now=now() + timedelta(seconds=later_s))
    assert counts.keys() == NOTHING.keys()
    return {name: count for name, count in counts.items() if count}


@both_databases
def test_queued_task_without_a_job_is_rung_again(wiring: Wiring, task_id: str) -> None:
    """What Redis forgot is rung for, once."""
    assert swept(wiring) == {"rung": 1}
    assert wiring.queue.waiting_ids() == {task_id}
    assert swept(wiring) == {}


@both_databases
def test_pause_is_waited_for(wiring: Wiring, task_id: str) -> None:
    """A task that waits for its next attempt is not rung for before."""
    put(wiring.database, task_id, due_at=now() + timedelta(seconds=60))
    assert swept(wiring) == {}
    lapse(wiring.database, task_id)
    assert swept(wiring) == {"rung": 1}


@both_databases
def test_dead_workers_task_is_recovered(wiring: Wiring, task_id: str) -> None:
    """A lease that ran out costs an attempt; one that did not is left alone."""
    take(wiring.database, task_id)
    assert swept(wiring) == {}
    lapse(wiring.database, task_id)
    assert swept(wiring) == {"recovered": 1}
    task = the_task(wiring.database, task_id)
    assert (task.status, task.failures) == ("queued", 1)
    assert swept(wiring) == {}  # it has a pause now


@both_databases
def test_renewed_lease_is_no_dead_worker(wiring: Wiring, task_id: str) -> None:
    """A worker that was listed as dead and shows a sign of life keeps its task."""
    holder = take(wiring.database, task_id)
    lapse(wiring.database, task_id)
    assert holder.renew() == "running"
    assert not holder.bury(now=now(), overdue=True)
    assert the_task(wiring.database, task_id).status == "running"


@both_databases
def test_dead_worker_of_a_cancelled_task(wiring: Wiring, task_id: str) -> None:
    """Nobody is left to stop, so the task is cancelled."""
    take(wiring.database, task_id)
    with wiring.database.write() as session:
        task_requests.cancel_task(session, task_id, lease_s=LEASE_S, now=now())
    lapse(wiring.database, task_id)
    assert swept(wiring)["recovered"] == 1
    assert the_task(wiring.database, task_id).status == "cancelled"


@both_databases
def test_mail_of_a_dead_sender_is_unknown(wiring: Wiring, task_id: str) -> None:
    """Nobody knows whether it went out, so it is not sent again; a pending one is rung for."""
    fail(wiring.database, task_id)
    assert swept(wiring)["rung"] == 1
    assert messages.claim(wiring.database, task_id, lease_s=LEASE_S, now=now())
    assert "unknown" not in swept(wiring)
    lapse(wiring.database, task_id)
    assert swept(wiring)["unknown"] == 1
    assert the_task(wiring.database, task_id).mail_state == "unknown"
    assert "unknown" not in swept(wiring)


@both_databases
def test_expired_file_is_removed(wiring: Wiring, task_id: str) -> None:
    """When its time is over the object goes, and the task says so."""
    key = publish(wiring, task_id, ttl_s=100)
    assert "expired" not in swept(wiring, later_s=40)
    assert wiring.storage.size(key) == 2
    assert swept(wiring, later_s=100)["expired"] == 1
    assert wiring.storage.size(key) is None
    task = the_task(wiring.database, task_id)
    assert (task.status, task.mail_state) == ("succeeded", "failed")
    assert not files.available(task, now=now())
    assert "expired" not in swept(wiring, later_s=100)


@both_databases
def test_removals_keep_what_a_live_task_names(wiring: Wiring, task_id: str) -> None:
    """What dead attempts left goes, what the living one writes stays, and so does the file."""
    user_id = the_task(wiring.database, task_id).user_id
    prefix = removals.task_prefix(user_id, task_id)
    left = [removals.attempt_key(user_id, task_id, claim) for claim in (1, 2)]
    wiring.storage.put(left[0], b"{")
    take(wiring.database, task_id).bury(now=now())
    lapse(wiring.database, task_id)
    alive = take(wiring.database, task_id)
    wiring.storage.put(left[1], b"{}")
    removals.carry_out(wiring.database, wiring.storage, prefix)
    assert [wiring.storage.size(key) for key in left] == [None, 2]

    alive.report(1, 2, now=now(), checkpoint={"some": "note"}, object_key=left[1])
    alive.bury(now=now())
    lapse(wiring.database, task_id)
    heir = take(wiring.database, task_id)
    removals.carry_out(wiring.database, wiring.storage, prefix)
    assert wiring.storage.size(left[1]) == 2
    heir.succeed(now=now(), file=replace(FILE, key=left[1]), expires_at=now() + timedelta(days=1))
    wiring.storage.put(left[0], b"{")  # by a worker that did not know yet
    assert swept(wiring, later_s=3 * LEASE_S)["removed"]
    assert [wiring.storage.size(key) for key in left] == [None, 2]


@both_databases
def test_removals_are_done_twice(wiring: Wiring, task_id: str) -> None:
    """Once at the end, and again when the last lease is over: a worker may still have written."""
    holder = take(wiring.database, task_id)
    user_id = the_task(wiring.database, task_id).user_id
    key = removals.attempt_key(user_id, task_id, holder.claim)
    upload_id = wiring.storage.begin(key)
    holder.fail("broken", "It broke.", now=now())
    assert swept(wiring)["removed"] == 1
    uploads = wiring.storage._s3.list_multipart_uploads(Bucket=wiring.storage.bucket)
    assert upload_id not in {one["UploadId"] for one in uploads.get("Uploads", [])}
    wiring.storage.put(key, b"late")
    assert "removed" not in swept(wiring)
    assert swept(wiring, later_s=2 * LEASE_S)["removed"] == 1
    assert wiring.storage.size(key) is None
    with wiring.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Removal)) == 0


@both_databases
def test_another_user_of_a_longer_number_is_spared(wiring: Wiring, database: Database) -> None:
    """A prefix ends where a number ends: `exports/1/` is not `exports/10/`."""
    keys = ["exports/1/t/posts.json", "exports/10/t/posts.json"]
    for key in keys:
        wiring.storage.put(key, b"{}")
    removals.carry_out(database, wiring.storage, removals.user_prefix(1))
    assert [wiring.storage.size(key) for key in keys] == [None, 2]


@both_databases
def test_old_keys_and_tokens_are_forgotten(wiring: Wiring, user_id: int) -> None:
    """Idempotency keys after 24 hours, tokens a day after they ran out."""
    wish = task_requests.Wish(name="export_posts", params={}, max_attempts=1, idempotency_key="k")
    with wiring.database.write() as session:
        task_requests.launch_task(session, user_id, wish, now=now())
        accounts.issue_token(session, user_id, ttl_s=600, now=now())

    def left(table: type[IdempotencyKey | Token]) -> int:
        with wiring.database.read() as session:
            return session.scalar(sa.select(sa.func.count()).select_from(table)) or 0

    for hours, keys, tokens in ((23, 1, 1), (24, 0, 0)):
        swept(wiring, later_s=hours * 3600 + 660)
        assert (left(IdempotencyKey), left(Token)) == (keys, tokens)


def test_redis_away(wiring: Wiring, rewire: Rewire, task_id: str) -> None:
    """What has nothing to do with Redis is done all the same."""
    take(wiring.database, task_id)
    lapse(wiring.database, task_id)
    away = rewire(REDIS_URL=f"redis://127.0.0.1:{free_port()}")
    assert swept(away) == {"recovered": 1}


def test_s3_away(wiring: Wiring, rewire: Rewire, task_id: str) -> None:
    """A removal that fails is kept for later, and the rest of the pass is done."""
    key = publish(wiring, task_id, ttl_s=1)
    away = rewire(AWS_ENDPOINT_URL=f"http://127.0.0.1:{free_port()}")
    assert swept(away, later_s=10)["expired"] == 1
    assert wiring.storage.size(key) == 2
    assert swept(wiring, later_s=10)["removed"] == 1
    assert wiring.storage.size(key) is None
