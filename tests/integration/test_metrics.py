"""What Prometheus reads, by its own parser."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from chalicelib.operations.prometheus import Metric, render
from chalicelib.wiring import Wiring
from infra.local.stack import free_port
from tests.conftest import Join, Rewire, both_databases
from tests.harness import ledgers
from tests.harness.people import Person, refused
from tests.integration.test_admin import worker_alive

TOKEN = "scrape-" + "x" * 20

Samples = dict[tuple[str, tuple[str, ...]], float]


def scrape(person: Person) -> Samples:
    """Every number, by its name and the values of its labels."""
    answer = person.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(answer.body.decode()))
    assert all(family.documentation and family.type != "unknown" for family in families)
    samples = [sample for family in families for sample in family.samples]
    found = {(one.name, tuple(one.labels.values())): float(one.value) for one in samples}
    assert len(found) == len(samples)
    return found


@both_databases
def test_the_numbers(susan: Person, join: Join, wiring: Wiring) -> None:
    """Depth, states, age, workers, the outbox and outcomes are those of the ledger and Redis."""
    failed = susan.request()
    ledgers.fail(wiring.database, failed)
    susan.request()
    root = join("root", is_admin=True)
    with worker_alive(wiring):
        found = scrape(root)
    assert found["carryout_redis_up", ()] == 1
    assert found["carryout_queue_jobs", ()] == 2
    assert found["carryout_workers", ()] == 1
    assert found["carryout_tasks", ("queued",)] == 1
    assert found["carryout_tasks", ("failed",)] == 1
    assert found["carryout_tasks", ("succeeded",)] == 0
    assert 0 <= found["carryout_oldest_queued_seconds", ()] < 60
    assert found["carryout_outbox_messages", ("export", "pending")] == 1
    assert found["carryout_attempts_total", ("failed",)] == 1
    assert found["carryout_attempts_total", ("succeeded",)] == 0


def test_without_redis(join: Join, rewire: Rewire) -> None:
    """What nobody knows is left out; the rest is there."""
    root = join("root", is_admin=True)
    rewire(REDIS_URL=f"redis://127.0.0.1:{free_port()}")
    found = scrape(root)
    assert found["carryout_redis_up", ()] == 0
    assert ("carryout_queue_jobs", ()) not in found
    assert ("carryout_workers", ()) not in found
    assert found["carryout_oldest_queued_seconds", ()] == 0


def test_who_may_read_them(nobody: Person, susan: Person, join: Join, rewire: Rewire) -> None:
    """Administrators may, and whoever has the token; without the setting no token will do."""
    for token in (TOKEN, "", "x"):
        refused(nobody.get("/metrics", headers=bearer(token)), 401, "unauthenticated")
    refused(nobody.get("/metrics"), 401, "unauthenticated")
    refused(susan.get("/metrics"), 403, "forbidden")
    rewire(METRICS_TOKEN=TOKEN)
    assert nobody.get("/metrics", headers=bearer(TOKEN)).status_code == 200
    for token in (TOKEN + "x", TOKEN[:-1], "", "ü"):
        refused(nobody.get("/metrics", headers=bearer(token)), 401, "unauthenticated")
    refused(nobody.get("/v1/me", headers=bearer(TOKEN)), 401, "unauthenticated")
    assert join("root", is_admin=True).get("/metrics").status_code == 200


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("value", ["a", 'a"b', "a\\b", "a\nb", "", "\\n", "é"])
def test_labels_are_escaped(value: str) -> None:
    """Whatever a label holds, the parser reads it."""
    metric = Metric("x_total", "counter", "Things.", {(value, "b"): 2}, ("one", "two"))
    (family,) = text_string_to_metric_families(render([metric]))
    (sample,) = family.samples
    assert (sample.labels, sample.value) == ({"one": value, "two": "b"}, 2)
