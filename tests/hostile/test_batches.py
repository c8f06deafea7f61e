"""Short tasks that are claimed together, in real workers that do not come to the end of them."""

from collections.abc import Callable
from datetime import datetime

import psutil
import pytest

from chalicelib.db.models import Task
from chalicelib.tasks import requests
from chalicelib.tasks.registry import TASKS
from chalicelib.wiring import Wiring
from tests.conftest import on_postgresql
from tests.harness.ledgers import make_user, now, the_task
from tests.harness.waiting import wait_until

Start = Callable[..., psutil.Popen]

SHORT = "short"


@pytest.fixture
def ask(wiring: Wiring) -> Callable[..., list[str]]:
    """Queues tasks of several users, and enqueues all their jobs at once."""

    def queue(*labels: str) -> list[str]:
        users = [make_user(wiring.database, f"user{number}") for number in range(3)]
        asked = []
        for number, label in enumerate(labels):
            owner, params = users[number % len(users)], {"label": label}
            request = requests.TaskRequest(kind=TASKS[SHORT], params=params, max_attempts=3)
            with wiring.database.write() as session:
                launched = requests.launch_task(session, owner, request, now=now())
            asked.append(launched.task.id)
        wiring.queue.enqueue([(task_id, SHORT) for task_id in asked])
        return asked

    return queue


def tasks_of(wiring: Wiring, asked: list[str]) -> list[Task]:
    return [the_task(wiring.database, task_id) for task_id in asked]


def all_succeed(wiring: Wiring, asked: list[str]) -> list[Task]:
    def are_over() -> bool:
        return {task.status for task in tasks_of(wiring, asked)} == {"succeeded"}

    wait_until(are_over, "all have succeeded", within_s=60)
    return tasks_of(wiring, asked)


def together(tasks: list[Task]) -> list[datetime | None]:
    """When tasks were claimed; those that were claimed together, at the same moment."""
    return [task.started_at for task in tasks]


@on_postgresql
def test_killed(start: Start, wiring: Wiring, ask: Callable[..., list[str]]) -> None:
    """A crash costs the task that was worked on an attempt, and each of the others none."""
    asked = ask("first", *"abcd", "killer", *"efgh")
    start(PATIENT_BATCHES="1", LEASE_S="30")  # none runs out before the crash is noticed
    first, *tasks = all_succeed(wiring, asked)
    assert len(set(together(tasks))) == 1, "they were not claimed together"
    killer = tasks.pop(4)
    assert (killer.failures, killer.claim, killer.attempt) == (1, 2, 2)
    assert {(task.failures, task.attempt) for task in tasks} == {(0, 1)}
    assert {task.claim for task in tasks} == {2}  # nobody knew of the results of those before
    assert (first.claim, first.failures) == (1, 0)
    # On a slow machine the first one may lie there: the reconciler took it for lost, its second job
    # was in the batch, and nobody had a lease for that. RQ tidies such up.
    on_its_way = wiring.queue.rq.intermediate_queue.get_job_ids
    wait_until(lambda: not set(asked[1:]) & set(on_its_way()), "no job is left on its way")


@on_postgresql
def test_stopped(start: Start, wiring: Wiring, ask: Callable[..., list[str]]) -> None:
    """SIGTERM: what is done counts, what has not begun is released and next in the queue."""
    asked = ask("first", *"ab", "stopper", *"cdef")
    worker = start(PATIENT_BATCHES="1")
    assert worker.wait(timeout=60) == 0
    tasks = tasks_of(wiring, asked)
    assert len(set(together(tasks[1:]))) == 1, "they were not claimed together"
    assert [task.status for task in tasks] == ["succeeded"] * 4 + ["queued"] * 4
    assert {(task.failures, task.claim) for task in tasks} == {(0, 1)}
    # On a slow machine the reconciler may have taken them for lost meanwhile: then they are there
    # again, at the end.
    assert wiring.queue.rq.get_job_ids()[:4] == asked[4:]
    start(PATIENT_BATCHES="1")
    all_succeed(wiring, asked)
