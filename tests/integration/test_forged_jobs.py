"""What somebody who can write to Redis, and to nothing else, can make a worker do: nothing.

The forgeries stand in Redis byte for byte as RQ would write them, under a real worker process.
"""

import json
import os
import pickle
import zlib
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest
import sqlalchemy as sa
from redis import Redis
from rq.command import send_stop_job_command

from chalicelib.adapters.job_queue import FUNCTION
from chalicelib.db.engine import Database
from chalicelib.db.models import Token
from chalicelib.wiring import Wiring
from tests.harness import processes
from tests.harness.ledgers import launch, make_user, now, the_task
from tests.harness.waiting import wait_until

LEAVE_MARK = "tests.integration.test_forged_jobs.leave_mark"
NOBODY = "00000000-0000-4000-8000-000000000000"


class Pickled:
    """Runs a command as soon as it is unpickled."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self._command,)


def call(function: str, *args: Any, instance: Any = None, **kwargs: Any) -> bytes:
    """The data of a job, as RQ's JSON serializer writes it."""
    return json.dumps([function, instance, args, kwargs]).encode()


def forgeries(marks: Path, hook_url: str) -> dict[str, dict[str, Any]]:
    """Hashes of jobs by what is wrong with them; each would leave a mark named after it."""

    def touch(name: str) -> str:
        return f"touch {marks / name}"

    def harmless(task_id: str = NOBODY) -> bytes:
        return call(FUNCTION, task_id)

    return {
        "foreign-function": {"data": call("os.system", touch("foreign-function"))},
        "foreign-compressed": {
            "data": zlib.compress(call("os.system", touch("foreign-compressed")))
        },
        "builtin": {"data": call("eval", f"open({str(marks / 'builtin')!r}, 'w')")},
        "near-miss": {"data": call("worker.attempts.os.system", touch("near-miss"))},
        "subprocess": {"data": call("subprocess.run", ["touch", str(marks / "subprocess")])},
        "pickled": {"data": pickle.dumps(Pickled(touch("pickled")))},
        "pickled-compressed": {"data": zlib.compress(pickle.dumps(Pickled(touch("pickled"))))},
        "instance": {"data": call("system", touch("instance"), instance="os")},
        "kwargs": {"data": call(FUNCTION, "kwargs", seconds=0)},
        "own-id": {"data": call(LEAVE_MARK, "own-id")},
        "wrong-id": {"data": harmless(NOBODY)},
        "no-args": {"data": call(FUNCTION)},
        "not-json": {"data": b"\xff\xfe nonsense"},
        "not-a-call": {"data": b'{"a": 1}'},
        "callbacks": {
            "data": harmless("callbacks"),
            "success_callback_name": "os.system",
            "success_callback_timeout": 10,
            "failure_callback_name": LEAVE_MARK,
            "failure_callback_timeout": 10,
            "stopped_callback_name": LEAVE_MARK,
            "stopped_callback_timeout": 10,
        },
        "failure-callback": {
            "data": call("os.system", touch("failure-callback")),
            "failure_callback_name": LEAVE_MARK,
            "failure_callback_timeout": 10,
        },
        "webhooks": {
            "data": harmless("webhooks"),
            "webhooks": json.dumps([{"url": hook_url, "statuses": ["finished", "failed"]}]),
        },
        "repeats": {
            "data": harmless("repeats"),
            "repeats_left": 5,
            "repeat_intervals": "[1]",
        },
        "retries": {
            "data": call("os.system", touch("retries")),
            "retries_left": 5,
            "retry_intervals": "[0]",
        },
        "depends": {"data": harmless("depends"), "dependency_ids": '["foreign-function"]'},
        "dependent": {"data": call("os.system", touch("dependent"))},
        "bad-status": {"data": harmless("bad-status"), "status": "nonsense"},
        "bad-timeout": {"data": harmless("bad-timeout"), "timeout": "nonsense"},
        "bad-date": {"data": harmless("bad-date"), "created_at": "nonsense"},
        "no-data": {"origin": "microblog-tasks"},
    }


def leave_mark(*_: Any) -> None:
    """What a callback of a forgery would do."""
    Path(os.environ["FORGED_MARKS"], "callback").touch()


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


@pytest.fixture
def hook() -> Iterator[tuple[str, list[str]]]:
    """A server that notes who calls it."""
    calls: list[str] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            calls.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", calls
    server.shutdown()
    server.server_close()


@pytest.fixture
def worker(
    environment: dict[str, str], database: Database, marks: Path, tmp_path: Path
) -> Iterator[psutil.Popen]:
    """A real worker that can import what forgeries name, and that has swept for the last time."""
    sweeps = {"SWEEP_INTERVAL_S": "3600", "FORGED_MARKS": str(marks)}
    old = now() - timedelta(days=2)
    user_id = make_user(database, "swept")
    with database.write() as session:
        session.add(Token(digest=b"-", user_id=user_id, created_at=old, expires_at=old))
    with processes.worker(environment | sweeps, log=tmp_path / "worker.log") as process:
        wait_until(lambda: not count_tokens(database), "the worker has swept")
        yield process


def count_tokens(database: Database) -> int:
    with database.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(Token)) or 0


def plant(redis: Redis, job_id: str, job: dict[str, Any]) -> None:
    """Put a job into Redis and into the queue."""
    common: dict[str, Any] = {
        "origin": "microblog-tasks",
        "status": "queued",
        "timeout": 60,
        "meta": "{}",
    }
    common |= {"created_at": "2026-01-02T03:04:05.000000Z"}
    common |= {"enqueued_at": "2026-01-02T03:04:05.000000Z"}
    redis.hset(f"rq:job:{job_id}", mapping=common | job)
    redis.rpush("rq:queue:microblog-tasks", job_id)


def wait_for(wiring: Wiring, task_id: str, status: str) -> None:
    """Wait until a task stands as it should."""
    wait_until(lambda: the_task(wiring.database, task_id).status == status, f"the task is {status}")


def do(wiring: Wiring, user_id: int, *, seconds: int) -> None:
    task_id = launch(wiring.database, user_id, "example", seconds=seconds)
    wiring.queue.enqueue([(task_id, "example")])
    wait_for(wiring, task_id, "succeeded")


def test_forgeries_run_nothing(
    worker: psutil.Popen,
    wiring: Wiring,
    marks: Path,
    hook: tuple[str, list[str]],
) -> None:
    """No forgery runs, calls or returns; the worker lives and does the next real task."""
    user_id = make_user(wiring.database)
    redis = wiring.queue.redis
    redis.sadd("rq:job:callbacks:dependents", "dependent")
    planted = forgeries(marks, hook[0])
    for name, job in planted.items():
        plant(redis, name, job)
    do(wiring, user_id, seconds=0)
    do(wiring, user_id, seconds=1)  # long enough for webhooks and repetitions
    assert sorted(path.name for path in marks.iterdir()) == []
    assert hook[1] == []
    assert worker.poll() is None
    assert redis.keys("rq:scheduled:*") == []
    assert redis.llen("rq:queue:microblog-tasks") == 0


def test_what_is_no_job_ends_no_worker(
    worker: psutil.Popen, environment: dict[str, str], wiring: Wiring, tmp_path: Path
) -> None:
    """Ids that no job can have are passed over, in the queue and where RQ tidies up."""
    user_id = make_user(wiring.database)
    redis = wiring.queue.redis
    redis.set("rq:job:text", "no hash")
    strange = [b"\xff\xfe", b"", b"a\nb", b"../x", b"a:b", b"text"]
    for job_id in strange:  # one by one, while the worker listens; then for its work horse
        redis.rpush(wiring.queue.rq.key, job_id)
        wait_until(lambda: redis.llen(wiring.queue.rq.key) == 0, "it is taken")
    do(wiring, user_id, seconds=0)
    redis.rpush(wiring.queue.rq.key, *strange)
    do(wiring, user_id, seconds=0)
    assert worker.poll() is None
    redis.rpush(wiring.queue.rq.intermediate_queue_key, *strange)
    redis.zadd(wiring.queue.rq.started_job_registry.key, {b"\xff": 1})
    with processes.worker(environment, log=tmp_path / "second.log") as second:  # it tidies up
        wait_until(lambda: len(wiring.queue.workers()) > 1, "it listens")
        assert processes.stop(worker) == 0
        do(wiring, user_id, seconds=0)
        assert second.poll() is None


def test_what_is_no_worker_is_left_out(wiring: Wiring) -> None:
    """Records that no worker wrote are in no list of workers."""
    redis = wiring.queue.redis
    forged: list[dict[Any, Any]] = [
        {"birth": "nonsense", "last_heartbeat": "nonsense"},
        {"birth": "2026-01-02T03:04:05.000000Z"},
        {"birth": b"\xff"},
    ]
    for number, facts in enumerate(forged):
        redis.hset(f"rq:worker:{number}", mapping=facts)
        redis.sadd("rq:workers:microblog-tasks", f"rq:worker:{number}")
    assert wiring.queue.workers() == []


def test_a_stopped_callback_does_not_run(worker: psutil.Popen, wiring: Wiring, marks: Path) -> None:
    """RQ's stop command ends the work horse; a forged callback is not called for it."""
    user_id = make_user(wiring.database)
    task_id = launch(wiring.database, user_id, "example", seconds=60)
    redis = wiring.queue.redis
    callback = LEAVE_MARK
    stopped = {"stopped_callback_name": callback, "stopped_callback_timeout": 10}
    plant(redis, task_id, {"data": call(FUNCTION, task_id), **stopped})
    wait_for(wiring, task_id, "running")
    send_stop_job_command(redis, task_id, serializer="json")
    wait_until(lambda: redis.hget(f"rq:job:{task_id}", "status") == b"stopped", "it is stopped")
    export_id = launch(wiring.database, user_id)
    wiring.queue.enqueue([(export_id, "export_posts")])
    wait_for(wiring, export_id, "succeeded")
    assert list(marks.iterdir()) == []
    assert worker.poll() is None
