import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from chalicelib.db.engine import Database
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


@both_databases
def test_a_ledger_that_cannot_be_written(nobody: Person, wiring: Wiring, rewire: Rewire) -> None:
    """A full disk lets everybody read; ready is who can write, too."""
    with worker_alive(wiring):
        assert nobody.get("/readyz").status_code == 200
        full = rewire()
        with nothing_written(full.database):
            answer = nobody.get("/readyz")
        assert answer.status_code == 503
        assert answer.json_body["checks"]["database"] == {"ok": False, "writable": False}
        rewire()
        assert nobody.get("/readyz").status_code == 200


@contextmanager
def nothing_written(database: Database) -> Iterator[None]:
    """Have the kernel refuse every byte that SQLite writes, or PostgreSQL every change."""
    if database.engine.dialect.name == "postgresql":

        def only_read(connection: Any, _record: Any) -> None:
            connection.execute("SET SESSION default_transaction_read_only = on")
            connection.commit()

        sa.event.listen(database.engine, "connect", only_read)
        yield
        return
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # Python ignores the signal of it
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def test_a_ledger_that_somebody_else_writes(
    nobody: Person, database: Database, wiring: Wiring, rewire: Rewire
) -> None:
    """A bulk load holds SQLite's lock for seconds: that is no disk that is full."""
    with worker_alive(wiring):
        rewire()
        with database.write():
            assert nobody.get("/readyz").status_code == 200


def test_readiness_is_cheap(nobody: Person, wiring: Wiring) -> None:
    """Anybody may ask, as often as they like; a row is written every five seconds at most."""
    written: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        written.extend([statement] if "ledger_probe" in statement else [])

    sa.event.listen(wiring.database.engine, "before_cursor_execute", note)
    began = time.monotonic()
    for _ in range(10):
        nobody.get("/readyz")
    assert 1 <= len(written) <= 1 + (time.monotonic() - began) / 5
