from collections.abc import Iterator
from contextlib import contextmanager

from rq import Worker
from rq.serializers import JSONSerializer

from chalicelib.values.fields import parse_time
from chalicelib.wiring import Wiring
from infra.local.stack import free_port
from tests.conftest import Join, Rewire, both_databases
from tests.harness import ledgers
from tests.harness.people import Person, refused

ROUTES = ("/v1/admin/tasks", "/v1/admin/queue", "/v1/admin/workers")


@contextmanager
def worker_alive(wiring: Wiring) -> Iterator[Worker]:
    """A worker as RQ registers one; it works on nothing."""
    worker = Worker(
        [wiring.queue.name], connection=wiring.queue.redis, serializer=JSONSerializer, name="w1"
    )
    worker.register_birth()  # type: ignore[no-untyped-call]
    worker.set_state("idle")
    yield worker
    worker.register_death()  # type: ignore[no-untyped-call]


def test_for_administrators_only(nobody: Person, susan: Person) -> None:
    """Users are refused, and strangers are asked who they are."""
    for path in ROUTES:
        refused(nobody.get(path), 401, "unauthenticated")
        refused(susan.get(path), 403, "forbidden")
    refused(susan.get("/admin"), 403, "forbidden")


@both_databases
def test_everybodys_tasks(susan: Person, david: Person, join: Join, wiring: Wiring) -> None:
    """An administrator sees all tasks, the newest first, and filters them."""
    ids = [person.post("/v1/exports", {}).json_body["id"] for person in (susan, david)]
    ledgers.fail(wiring.database, ids[0])
    root = join("root", is_admin=True)

    def listed(query: str) -> list[str]:
        return [task["id"] for task in root.get(f"/v1/admin/tasks{query}").json_body["items"]]

    assert listed("") == ids[::-1]
    assert listed("?status=failed") == [ids[0]]
    first = root.get("/v1/admin/tasks?limit=1")
    assert listed(f"?limit=1&cursor={first.json_body['next']}") == [ids[0]]
    assert first.headers["Link"].startswith("</v1/admin/tasks?")
    refused(root.get(f"/v1/tasks/{ids[0]}"), 404, "not_found")  # it is still susan's


@both_databases
def test_queue(susan: Person, join: Join) -> None:
    """The queue's name, depth and the age of what waits longest."""
    susan.post("/v1/exports", {})
    queue = join("root", is_admin=True).get("/v1/admin/queue").json_body
    assert (queue["name"], queue["depth"], queue["tasks"]) == ("microblog-tasks", 1, {"queued": 1})
    assert 0 <= queue["oldest_queued_age_s"] < 60


def test_workers(join: Join, wiring: Wiring, rewire: Rewire) -> None:
    """Each worker that is alive is listed; without Redis nobody knows."""
    root = join("root", is_admin=True)
    assert root.get("/v1/admin/workers").json_body == {"items": [], "next": None}
    with worker_alive(wiring) as worker:
        (shown,) = root.get("/v1/admin/workers").json_body["items"]
    assert (shown["name"], shown["state"], shown["task_id"]) == ("w1", "idle", None)
    assert shown["pid"] == worker.pid
    assert parse_time(shown["last_seen_at"]) >= parse_time(shown["started_at"])
    rewire(REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert root.get("/v1/admin/workers").json_body == {"items": None, "next": None}
    assert root.get("/v1/admin/queue").json_body["depth"] is None
