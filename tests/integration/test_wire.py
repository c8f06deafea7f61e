"""How often the API and a worker wait for PostgreSQL and for Redis, counted on the wire."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from rq.serializers import JSONSerializer

from chalicelib.adapters.job_queue import RegisteredJob
from chalicelib.db import clock, engine
from chalicelib.db.engine import Database, db_clock
from chalicelib.db.models import OutboxMessage, User
from chalicelib.outbox import deliveries, webhooks
from chalicelib.outbox.deliveries import Answer
from chalicelib.tasks import leases, requests
from chalicelib.tasks.leases import Claimed
from chalicelib.tasks.registry import TASKS
from chalicelib.tasks.requests import TaskRequest
from chalicelib.wiring import Wiring
from tests.conftest import Rewire
from tests.harness import ledgers
from tests.harness.people import Person
from tests.harness.proxies import Proxy, to_port, to_socket
from tests.harness.waiting import wait_until
from worker import attempts, batch
from worker.runner import Runner
from worker.work_horse import Limits, WorkHorse

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

NOOP = "example"


@dataclass
class Wire:
    """Proxies before both servers, and what uses them."""

    postgresql: Proxy
    redis: Proxy
    wiring: Wiring

    @contextmanager
    def waits(self, postgresql: int, redis: int = 0) -> Iterator[None]:
        """Check how often somebody waits for each inside."""
        before = self.postgresql.round_trips, self.redis.round_trips
        yield
        after = self.postgresql.round_trips, self.redis.round_trips
        assert (after[0] - before[0], after[1] - before[1]) == (postgresql, redis)


@pytest.fixture
def wire(
    database_url: str, redis_url: str, rewire: Rewire, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Wire]:
    """The app's clients behind proxies; all connections are there already.

    Nobody asks a connection for a sign of life, or the database for the time, however slow the
    machine is.
    """
    for module in (engine, clock):
        monkeypatch.setattr(module, "TRUSTED_S", 3600)
    url = sa.make_url(database_url)
    socket = f"{url.query['host']}/.s.PGSQL.{url.port or 5432}"
    postgresql = Proxy(to_socket(socket))
    redis = Proxy(to_port(sa.make_url(redis_url).port or 0))
    through = url.set(host="127.0.0.1", port=postgresql.port, query={})
    wiring = rewire(
        DATABASE_URL=through.render_as_string(hide_password=False),
        REDIS_URL=redis_url.replace(str(sa.make_url(redis_url).port), str(redis.port)),
        LEASE_S="600",
    )
    wiring.now()
    for client in (wiring.queue.redis, wiring.worker_redis):
        client.connection_pool.connection_kwargs["health_check_interval"] = 0
    wiring.queue.redis.ping()
    wiring.database.on_news({0})
    wait_until(lambda: has_published(wiring), "the connection for news is there")
    yield Wire(postgresql, redis, wiring)
    wiring.database.close()
    postgresql.close()
    redis.close()


def has_published(wiring: Wiring) -> bool:
    """Whether Redis has read what nobody waits for."""
    return any(one["cmd"] == "publish" for one in wiring.queue.redis.client_list())


def launch(wiring: Wiring, user_id: int, name: str = NOOP) -> str:
    """A task without a job."""
    kind, params = TASKS[name], {"seconds": 0} if name == NOOP else {}
    request = TaskRequest(kind=kind, params=params, max_attempts=3)
    launched = requests.launch(wiring.database, user_id, request, now=wiring.now())
    assert launched is not None
    return launched.task.id


def claim(wiring: Wiring, task_id: str, name: str = NOOP) -> Claimed:
    claimed = leases.claim(
        wiring.database, task_id, worker="w", lease_s=30, now=wiring.now(), name=name
    )
    assert claimed is not None
    return claimed


def test_request(susan: Person, wire: Wire) -> None:
    """An export is requested in one round trip after authentication, by a key, too."""
    for headers in ({}, {"Idempotency-Key": "once"}):
        susan.get("/v1/me")
        with wire.waits(2, redis=1):
            answer = susan.post("/v1/exports", {}, headers=headers)
        assert answer.status_code == 202
        ledgers.fail(wire.wiring.database, answer.json_body["id"])


def test_refusal(wire: Wire, database: Database, user_id: int) -> None:
    """To find out that a task is in the way is one; it uses up none of the user's numbers."""
    launch(wire.wiring, user_id)
    number = sa.select(User.notification_seq).where(User.id == user_id)
    request = TaskRequest(kind=TASKS[NOOP], params={"seconds": 0}, max_attempts=3)
    with database.read() as session:
        before = session.scalar(number)
    with wire.waits(1):
        now = wire.wiring.now()
        assert requests.launch(wire.wiring.database, user_id, request, now=now) is None
    with database.read() as session:
        assert session.scalar(number) == before


def test_poll(susan: Person, wire: Wire) -> None:
    """A look at a task is one, authentication included."""
    path = f"/v1/tasks/{susan.post('/v1/exports', {}).json_body['id']}"
    with wire.waits(1, redis=1):
        assert susan.get(path).status_code == 200
    ledgers.claim(wire.wiring.database, path.rpartition("/")[2])
    with wire.waits(1):
        assert susan.get(path).json_body["status"] == "running"


def test_every_change(wire: Wire, user_id: int) -> None:
    """Whatever becomes of a task that only the kernel knows of is one round trip."""
    wiring = wire.wiring
    kind, now = TASKS[NOOP], wiring.now()
    with wire.waits(1):
        task_id = launch(wiring, user_id)
    with wire.waits(1):
        lease = claim(wiring, task_id).lease
    with wire.waits(1):
        lease.report(1, 2, now=now)
    with wire.waits(1):
        lease.report(1, 2, now=now, checkpoint={"at": 1})
    with wire.waits(1):
        lease.renew()
    with wire.waits(1):
        lease.release(now=now)
    lease = claim(wiring, task_id).lease
    with wire.waits(1):
        lease.release(now=now, to_end=True)
    lease = claim(wiring, task_id).lease
    with wire.waits(1):
        lease.succeed({}, now=now, kind=kind)
    lease = claim(wiring, launch(wiring, user_id)).lease
    with wire.waits(1):
        lease.fail("failed", "It did.", now=now, kind=kind)
    task_id = launch(wiring, user_id)
    with wire.waits(1):
        assert requests.cancel(wiring.database, task_id, now=now)
    task_id = launch(wiring, user_id)
    lease = claim(wiring, task_id).lease
    with wire.waits(1):
        assert requests.cancel(wiring.database, task_id, now=now)
    with wire.waits(1):
        lease.cancel(now=now, kind=kind)
    assert ledgers.the_task(wiring.database, task_id).status == "cancelled"


def test_every_attempt_in_vain(wire: Wire, database: Database, user_id: int) -> None:
    """What becomes of a task whose attempt has failed is one, and so is its retry."""
    wiring = wire.wiring
    now = wiring.now()
    task_id = launch(wiring, user_id)
    lease = claim(wiring, task_id).lease
    with wire.waits(1):
        lease.retry_later("away", "It was away.", now=now)
    ledgers.lapse(database, task_id)
    lease = claim(wiring, task_id).lease
    with wire.waits(1):
        assert lease.recover(now=now)
    ledgers.lapse(database, task_id)
    lease = claim(wiring, task_id).lease
    lease.report(1, 2, now=now, checkpoint={"at": 1})
    with wire.waits(1):
        assert lease.time_out(60, now=now) == "released"
    lease = claim(wiring, task_id).lease
    with wire.waits(1):
        lease.retry_later("away", "It was away for the third time.", now=now)
    assert ledgers.the_task(database, task_id).status == "failed"
    with wire.waits(1):
        assert requests.retry(wiring.database, task_id, now=now, owner=user_id)
    lease = claim(wiring, task_id).lease
    with wire.waits(1):
        assert lease.time_out(60, now=now) == "failed"
    with wire.waits(1):
        assert requests.retry(wiring.database, task_id, now=now)
    lease = claim(wiring, task_id).lease
    assert requests.cancel(wiring.database, task_id, now=now)
    ledgers.put(database, task_id, lease_until=db_clock(-1))
    with wire.waits(1):
        assert lease.recover(now=now, overdue=True)
    assert ledgers.the_task(database, task_id).status == "cancelled"


def test_an_export_that_goes_on(wire: Wire, database: Database, user_id: int) -> None:
    """A kind whose hooks must know of a task's end is asked about nothing else."""
    wiring = wire.wiring
    task_id = launch(wiring, user_id, "export_posts")
    lease = claim(wiring, task_id, "export_posts").lease
    with wire.waits(1):
        lease.retry_later("away", "It was away.", now=wiring.now())
    ledgers.lapse(database, task_id)
    lease = claim(wiring, task_id, "export_posts").lease
    with wire.waits(1):
        assert lease.recover(now=wiring.now())
    assert ledgers.the_task(database, task_id).failures == 2


def test_a_delivery(wire: Wire, database: Database, user_id: int) -> None:
    """To claim a delivery is one, and to settle it another, made or not."""
    wiring = wire.wiring
    with database.write() as session:
        webhooks.create_webhook(
            session, user_id, url="https://example.com/", events=webhooks.EVENTS, now=wiring.now()
        )
    ledgers.fail(database, launch(wiring, user_id))
    for answer, state in ((Answer(status=503), "pending"), (Answer(status=200), "sent")):
        with wire.waits(1):
            delivery = deliveries.claim_due(wiring.database, lease_s=30)
        assert delivery is not None
        with wire.waits(1):
            assert delivery.settle(answer, now=wiring.now()) == state
        with database.write() as session:
            session.execute(sa.update(OutboxMessage).values(due_at=db_clock()))


def test_retry(susan: Person, wire: Wire) -> None:
    """To try a task again is one, beside the authentication and two looks at the task."""
    task_id = launch(wire.wiring, susan.user_id)
    ledgers.fail(wire.wiring.database, task_id)
    susan.get("/v1/me")
    with wire.waits(4, redis=2):
        assert susan.post(f"/v1/tasks/{task_id}/retry").json_body["status"] == "queued"


def test_nothing(wire: Wire, user_id: int) -> None:
    """A task that does nothing is two."""
    task_id = launch(wire.wiring, user_id)
    with wire.waits(2):
        assert attempts.perform(task_id, wire.wiring, name=NOOP) == "succeeded"


@pytest.mark.parametrize(
    ("tasks", "at_once", "waits"),
    [(3, 1, (2 * 3, 3 * 3 - 1)), (33, 32, (2 + 2, 2 + 2))],
    ids=["alone", "together"],
)
def test_a_work_horse(
    wire: Wire,
    database: Database,
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tasks: int,
    at_once: int,
    waits: tuple[int, int],
) -> None:
    """Each task is two, and three to Redis, but the next 32 that are short are two for all.

    The first job is taken by the parent, and tells how long its kind takes.
    """
    wiring = wire.wiring
    monkeypatch.setattr(attempts, "process_wiring", lambda: wiring)
    monkeypatch.setattr(batch, "MOST", at_once)
    monkeypatch.setattr(batch, "LONGEST_S", 600)  # what is slow is the machine
    monkeypatch.setattr(attempts, "HEARTBEAT_INTERVAL_S", 600)
    runner = Runner(wiring, alive=tmp_path / "alive")
    asked = [launch(wiring, ledgers.make_user(database, f"u{one}")) for one in range(tasks)]
    wiring.queue.enqueue([(task_id, NOOP) for task_id in asked])
    (queue,) = runner.queues
    found = runner.queue_class.dequeue_any(
        [queue], 1, connection=runner.connection, job_class=RegisteredJob, serializer=JSONSerializer
    )
    assert found is not None
    horse = WorkHorse(
        runner,
        queue,
        wiring=runner._wiring,
        parent=os.getppid(),
        limits=Limits(tasks, rss_bytes=1 << 40),
    )
    with wire.waits(*waits):
        horse.work(found[0])
    assert {ledgers.the_task(database, task_id).status for task_id in asked} == {"succeeded"}
    runner.connection.close()


def test_an_export(
    wire: Wire, database: Database, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export of 100 posts is eight, its email included."""
    monkeypatch.setattr(attempts, "process_wiring", lambda: wire.wiring)
    monkeypatch.setattr(attempts, "HEARTBEAT_INTERVAL_S", 600)  # how many depends on the machine
    ledgers.write_posts(database, user_id, ["hello"] * 100)
    task_id = launch(wire.wiring, user_id, "export_posts")
    with wire.waits(8):
        assert attempts.run(task_id) == "succeeded"
    email = ledgers.the_email(database, task_id)
    assert email is not None
    assert email.state == "sent"
