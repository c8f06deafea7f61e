from datetime import timedelta

from chalicelib.wiring import Wiring
from infra.local.stack import free_port
from tests.conftest import Rewire, both_databases
from tests.harness.people import Person, refused
from tests.integration.test_admin import worker_alive

POSTGRESQL = "postgresql+psycopg://x@127.0.0.1:{}/x"


def test_liveness_needs_nothing(nobody: Person, rewire: Rewire) -> None:
    """The API answers whatever is away, and says nothing of its settings."""
    away = free_port()
    rewire(DATABASE_URL=POSTGRESQL.format(away), REDIS_URL=f"redis://127.0.0.1:{away}")
    answer = nobody.get("/healthz")
    assert (answer.status_code, answer.json_body) == (200, {"status": "ok"})


@both_databases
def test_readiness(nobody: Person, susan: Person, wiring: Wiring, rewire: Rewire) -> None:
    """Ready is who has a database, a queue and a worker; each check says so for itself."""
    answer = nobody.get("/readyz")
    assert answer.status_code == 503
    checks = answer.json_body["checks"]
    assert {name: check["ok"] for name, check in checks.items()} == {
        "database": True,
        "redis": True,
        "workers": False,
    }
    susan.post("/v1/exports", {})
    rewire(later=timedelta(seconds=90))
    with worker_alive(wiring):
        answer = nobody.get("/readyz")
    assert (answer.status_code, answer.json_body["status"]) == (200, "ok")
    checks = answer.json_body["checks"]
    assert checks["workers"] == {"ok": True, "alive": 1}
    assert 90 <= checks["database"]["oldest_queued_age_s"] < 150


def test_not_ready_without_redis(nobody: Person, rewire: Rewire) -> None:
    """Without Redis nobody knows of workers either."""
    rewire(REDIS_URL=f"redis://127.0.0.1:{free_port()}")
    answer = nobody.get("/readyz")
    assert answer.status_code == 503
    checks = answer.json_body["checks"]
    assert [checks[name]["ok"] for name in ("database", "redis", "workers")] == [True, False, False]


def test_database_away(nobody: Person, susan: Person, rewire: Rewire) -> None:
    """Health says so; everything else is answered with 503 and when to come back."""
    rewire(DATABASE_URL=POSTGRESQL.format(free_port()))
    answer = nobody.get("/readyz")
    assert (answer.status_code, answer.json_body["checks"]["database"]["ok"]) == (503, False)
    for answer in (susan.get("/v1/me"), susan.post("/v1/exports", {}), susan.get("/")):
        refused(answer, 503, "unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
