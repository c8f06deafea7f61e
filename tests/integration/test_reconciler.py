from dataclasses import replace
from datetime import timedelta

import sqlalchemy as sa

from chalicelib.accounts import accounts
from chalicelib.db.engine import Database
from chalicelib.db.models import IdempotencyKey, Removal, Token
from chalicelib.exports import files, removals
from chalicelib.outbox import messages
from chalicelib.tasks import requests as task_requests
from chalicelib.tasks.registry import TASKS
from chalicelib.wiring import Wiring
from infra.local.stack import free_port
from tests.conftest import Rewire, both_databases
from tests.harness.ledgers import (
    JSON,
    LEASE_S,
    a_file,
    claim,
    fail,
    lapse,
    now,
    publish,
    put,
    the_email,
    the_export,
    the_task,
)

NOTHING = dict.fromkeys(
    (
        "recovered",
        "recovered_messages",
        "recovered_deliveries",
        "expired",
        "scheduled",
        "enqueued",
        "removed",
    ),
    0,
)


def swept(wiring: Wiring, *, later_s: float = 0) -> dict[str, int]:
    """Sweep once; return what was done, without the zeros."""
    counts = wiring.reconciler.sweep(now=now() + timedelta(seconds=later_s))
    assert counts.keys() == NOTHING.keys()
    return {name: count for name, count in counts.items() if count}


@both_databases
def test_queued_task_without_a_job_gets_one(wiring: Wiring, task_id: str) -> None:
    """What Redis forgot is enqueued again, once."""
    assert swept(wiring) == {"enqueued": 1}
    assert wiring.queue.waiting_ids() == {task_id}
    assert swept(wiring) == {}


@both_databases
def test_pause_is_waited_for(wiring: Wiring, task_id: str) -> None:
    """A task that waits for its next attempt gets no job before."""
    put(wiring.database, task_id, due_at=now() + timedelta(seconds=60))
    assert swept(wiring) == {}
    lapse(wiring.database, task_id)
    assert swept(wiring) == {"enqueued": 1}


@both_databases
def test_dead_workers_task_is_recovered(wiring: Wiring, task_id: str) -> None:
    """A lease that ran out costs an attempt; one that did not is left alone."""
    claim(wiring.database, task_id)
    assert swept(wiring) == {}
    lapse(wiring.database, task_id)
    assert swept(wiring) == {"recovered": 1}
    task = the_task(wiring.database, task_id)
    assert (task.status, task.failures) == ("queued", 1)
    assert swept(wiring) == {}  # it has a pause now


@both_databases
def test_renewed_lease_is_no_dead_worker(wiring: Wiring, task_id: str) -> None:
    """A worker that was listed as dead and shows a sign of life keeps its task."""
    lease = claim(wiring.database, task_id)
    lapse(wiring.database, task_id)
    assert lease.renew() == "running"
    assert not lease.recover(now=now(), overdue=True)
    assert the_task(wiring.database, task_id).status == "running"


@both_databases
def test_dead_worker_of_a_cancelled_task(wiring: Wiring, task_id: str) -> None:
    """Nobody is left to stop, so the task is cancelled."""
    claim(wiring.database, task_id)
    with wiring.database.write() as session:
        task_requests.cancel_task(session, task_id, lease_s=LEASE_S, now=now())
    lapse(wiring.database, task_id)
    assert swept(wiring)["recovered"] == 1
    assert the_task(wiring.database, task_id).status == "cancelled"


@both_databases
def test_email_of_a_dead_sender_is_unknown(wiring: Wiring, task_id: str) -> None:
    """Nobody knows whether it went out, so it is not sent again."""
    fail(wiring.database, task_id)
    assert messages.claim_of_task(wiring.database, task_id, lease_s=LEASE_S)
    assert "recovered_messages" not in swept(wiring)
    lapse(wiring.database, task_id)
    assert swept(wiring)["recovered_messages"] == 1
    email = the_email(wiring.database, task_id)
    assert email is not None
    assert email.state == "unknown"
    assert "recovered_messages" not in swept(wiring)


@both_databases
def test_expired_file_is_removed(wiring: Wiring, task_id: str) -> None:
    """When its time is over the object goes, and the task says so."""
    key = publish(wiring, task_id, ttl_s=100)
    assert "expired" not in swept(wiring, later_s=40)
    assert wiring.object_store.size(key) == 2
    assert swept(wiring, later_s=100)["expired"] == 1
    assert wiring.object_store.size(key) is None
    task = the_task(wiring.database, task_id)
    email = the_email(wiring.database, task_id)
    assert email is not None
    assert (task.status, email.state) == ("succeeded", "failed")
    assert not files.is_available(task, the_export(wiring.database, task_id), now=now())
    assert "expired" not in swept(wiring, later_s=100)


@both_databases
def test_removals_keep_what_a_live_task_names(wiring: Wiring, task_id: str) -> None:
    """What dead attempts left goes, what the living one writes stays, and so does the file."""
    user_id = the_task(wiring.database, task_id).user_id
    left = [f"{removals.attempt_prefix(user_id, task_id, number)}any.json" for number in (1, 2)]
    wiring.object_store.put(left[0], b"{", JSON)
    claim(wiring.database, task_id).recover(now=now())
    lapse(wiring.database, task_id)
    alive = claim(wiring.database, task_id)
    wiring.object_store.put(left[1], b"{}", JSON)
    removals.execute(wiring.database, wiring.object_store, user_id, task_id)
    assert [wiring.object_store.size(key) for key in left] == [None, 2]

    alive.report(1, 2, now=now(), checkpoint={"key": left[1]})
    alive.recover(now=now())
    lapse(wiring.database, task_id)
    heir = claim(wiring.database, task_id)
    removals.execute(wiring.database, wiring.object_store, user_id, task_id)
    assert wiring.object_store.size(left[1]) == 2
    file = replace(a_file(the_task(wiring.database, task_id), 3, ttl_s=86_400), key=left[1])
    heir.succeed(file, now=now())
    wiring.object_store.put(left[0], b"{", JSON)  # by a worker that did not know yet
    assert swept(wiring, later_s=3 * LEASE_S)["removed"]
    assert [wiring.object_store.size(key) for key in left] == [None, 2]


@both_databases
def test_removals_are_done_twice(wiring: Wiring, task_id: str) -> None:
    """Once at the end, and again when the last lease is over: a worker may still have written."""
    lease = claim(wiring.database, task_id)
    user_id = the_task(wiring.database, task_id).user_id
    key = f"{removals.attempt_prefix(user_id, task_id, lease.claim)}posts.json"
    upload_id = wiring.object_store.begin(key, JSON)
    lease.fail("broken", "It broke.", now=now())
    assert swept(wiring)["removed"] == 1
    uploads = wiring.object_store._s3.list_multipart_uploads(Bucket=wiring.object_store.bucket)
    assert upload_id not in {one["UploadId"] for one in uploads.get("Uploads", [])}
    wiring.object_store.put(key, b"late", JSON)
    assert "removed" not in swept(wiring)
    assert swept(wiring, later_s=2 * LEASE_S)["removed"] == 1
    assert wiring.object_store.size(key) is None
    with wiring.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Removal)) == 0


@both_databases
def test_another_user_of_a_longer_number_is_spared(wiring: Wiring, database: Database) -> None:
    """A prefix ends where a number ends: `exports/1/` is not `exports/10/`."""
    keys = ["exports/1/t/posts.json", "exports/10/t/posts.json"]
    for key in keys:
        wiring.object_store.put(key, b"{}", JSON)
    removals.execute(database, wiring.object_store, 1)
    assert [wiring.object_store.size(key) for key in keys] == [None, 2]


@both_databases
def test_old_keys_and_tokens_are_forgotten(wiring: Wiring, user_id: int) -> None:
    """Idempotency keys after 24 hours, tokens a day after they ran out."""
    request = task_requests.TaskRequest(
        kind=TASKS["export_posts"], params={}, max_attempts=1, idempotency_key="k"
    )
    with wiring.database.write() as session:
        task_requests.launch_task(session, user_id, request, now=now())
        accounts.issue_token(session, user_id, ttl_s=600, now=now())

    def left(table: type[IdempotencyKey | Token]) -> int:
        with wiring.database.read() as session:
            return session.scalar(sa.select(sa.func.count()).select_from(table)) or 0

    for hours, keys, tokens in ((23, 1, 1), (24, 0, 0)):
        swept(wiring, later_s=hours * 3600 + 660)
        assert (left(IdempotencyKey), left(Token)) == (keys, tokens)


def test_redis_away(wiring: Wiring, rewire: Rewire, task_id: str) -> None:
    """What has nothing to do with Redis is done all the same."""
    claim(wiring.database, task_id)
    lapse(wiring.database, task_id)
    away = rewire(REDIS_URL=f"redis://127.0.0.1:{free_port()}")
    assert swept(away) == {"recovered": 1}


def test_s3_away(wiring: Wiring, rewire: Rewire, task_id: str) -> None:
    """A removal that fails is kept for later, and the rest of the pass is done."""
    key = publish(wiring, task_id, ttl_s=1)
    away = rewire(AWS_ENDPOINT_URL=f"http://127.0.0.1:{free_port()}")
    assert swept(away, later_s=10)["expired"] == 1
    assert wiring.object_store.size(key) == 2
    assert swept(wiring, later_s=10)["removed"] == 1
    assert wiring.object_store.size(key) is None
