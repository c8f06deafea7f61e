"""`not_before`: a task that has its turn later."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from chalicelib.tasks import leases
from chalicelib.tasks.registry import TASKS
from chalicelib.tasks.requests import TaskRequest, launch_task
from chalicelib.values.fields import format_time
from chalicelib.wiring import Wiring
from tests.conftest import both_databases
from tests.harness.ledgers import LEASE_S, lapse, launch, now, the_task
from tests.harness.people import Person, pointers, refused
from tests.integration.test_admin import worker_alive

EXAMPLE = {"name": "example", "params": {"seconds": 1}}


def in_(**duration: float) -> str:
    """A time so far ahead, as the API reads it."""
    return format_time((now() + timedelta(**duration)).replace(microsecond=0))


def request(person: Person, **more: Any) -> Any:
    return person.call("POST", "/v1/tasks", {**EXAMPLE, **more}, 202)


@both_databases
def test_it_waits_for_its_time(susan: Person, wiring: Wiring) -> None:
    """Until then it has no job, no place in the queue, and nobody can claim it."""
    moment = in_(hours=1)
    task = request(susan, not_before=moment)
    assert (task["status"], task["waiting_for"], task["queue_position"]) == ("queued", "time", None)
    assert wiring.queue.waiting_ids() == set()
    assert susan.task(task["id"]) == task
    assert wiring.reconciler.sweep(now=now())["enqueued"] == 0
    of = {"worker": "w", "lease_s": LEASE_S, "now": now()}
    assert leases.claim(wiring.database, task["id"], **of) is None  # type: ignore[arg-type]
    lapse(wiring.database, task["id"])
    assert wiring.reconciler.sweep(now=now())["enqueued"] == 1
    with worker_alive(wiring):
        shown = susan.task(task["id"])
        assert shown["waiting_for"] == "queue"
    assert leases.claim(wiring.database, task["id"], **of)  # type: ignore[arg-type]


@both_databases
def test_it_stands_ahead_of_nobody(susan: Person, david: Person, wiring: Wiring) -> None:
    """Those who come after it and may begin at once are before it in the queue."""
    request(susan, not_before=in_(seconds=900))
    task = request(david)
    with worker_alive(wiring):
        assert susan.call("GET", "/v1/tasks")["items"][0]["queue_position"] is None
        assert david.task(task["id"])["queue_position"] == 1


@both_databases
def test_a_time_that_is_over_is_now(susan: Person, wiring: Wiring) -> None:
    """The task is queued as if there were none."""
    task = request(susan, not_before="2001-01-01T00:00:00Z")
    assert task["queue_position"] == 1
    assert wiring.queue.waiting_ids() == {task["id"]}
    assert leases.claim(wiring.database, task["id"], worker="w", lease_s=LEASE_S, now=now())


@pytest.mark.parametrize(
    "wrong",
    [
        "", "tomorrow", "2026-02-30T00:00:00Z", "2026-12-24", "2026-12-24T18:00:00",
        "2026-12-24T18:00:00+01:00", "2026-12-24T18:00:00Z\n", "2026-12-24T24:00:00Z", 1, True, [],
    ],
)  # fmt: skip
def test_what_is_no_time(susan: Person, wrong: object) -> None:
    """It is a time as the API writes them, or nothing."""
    answer = susan.post("/v1/tasks", {**EXAMPLE, "not_before": wrong})
    assert pointers(refused(answer, 422, "invalid")) == {"/not_before"}


@both_databases
def test_at_most_a_year_ahead(susan: Person, david: Person) -> None:
    """A year ahead is fine, and a day more is not; null is no time at all."""
    assert request(susan, not_before=in_(days=364, hours=23))["waiting_for"] == "time"
    answer = susan.post("/v1/tasks", {**EXAMPLE, "not_before": in_(days=367)})
    assert pointers(refused(answer, 422, "invalid")) == {"/not_before"}
    assert request(david, not_before=None)["queue_position"] == 1


@both_databases
def test_one_of_a_kind_at_a_time(susan: Person) -> None:
    """A task that waits for its time is in progress; it can be cancelled, and tried again now."""
    task = request(susan, not_before=in_(hours=2))
    answer = susan.post("/v1/tasks", EXAMPLE)
    refused(answer, 409, "task_in_progress")
    assert answer.headers["Location"] == f"/v1/tasks/{task['id']}"
    assert susan.cancel(task["id"]).json_body["status"] == "cancelled"
    again = susan.call("POST", f"/v1/tasks/{task['id']}/retry", {}, 202)
    assert (again["status"], again["waiting_for"]) == ("queued", "worker")


@both_databases
def test_its_key(susan: Person) -> None:
    """The same key with the same time is the same task, and with another one is refused."""
    key, first = {"Idempotency-Key": "k"}, in_(hours=2)
    ids = set()
    for _ in range(2):
        answer = susan.post("/v1/tasks", {**EXAMPLE, "not_before": first}, headers=key)
        assert answer.status_code == 202
        ids.add(answer.json_body["id"])
    assert len(ids) == 1
    for other in ({"not_before": in_(hours=3)}, {}):
        answer = susan.post("/v1/tasks", {**EXAMPLE, **other}, headers=key)
        refused(answer, 422, "idempotency_key_reused")


@both_databases
def test_a_key_whose_time_has_come(susan: Person, wiring: Wiring) -> None:
    """A request that is repeated after its time is still the same request."""
    moment = now()

    def ask(at: datetime) -> str:
        wanted = TaskRequest(
            kind=TASKS["example"],
            params={"seconds": 1},
            max_attempts=1,
            idempotency_key="k",
            not_before=moment + timedelta(seconds=5),
        )
        with wiring.database.write() as session:
            return launch_task(session, susan.user_id, wanted, now=at).task.id

    assert ask(moment) == ask(moment + timedelta(seconds=60))


@both_databases
def test_others_are_not_called_delayed(susan: Person, wiring: Wiring) -> None:
    """A task that the database's clock puts a moment ahead of the API's waits for no time."""
    task_id = launch(wiring.database, susan.user_id)
    with worker_alive(wiring):
        assert susan.task(task_id)["waiting_for"] == "queue"
    assert the_task(wiring.database, task_id).schedule_id is None
