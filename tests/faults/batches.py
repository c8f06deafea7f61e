"""Faults done to workers that do short tasks in batches."""

import time
from collections import Counter

from rq.suspension import resume, suspend

from tests.faults.actions import all_stopped_well, is_listening, stop
from tests.faults.lab import Author, Lab, Plan, send
from tests.faults.trial import Trial, scenario
from tests.harness.ledgers import the_task
from tests.harness.waiting import wait_until

PEOPLE = 60


@scenario("batch-killed", "postgresql")
def killed(trial: Trial) -> None:
    """Kill -9 of horses in the middle of batches: each task is repeated once a kill at most."""
    with trial.lab(Plan(workers=2, settings={"TASK_MAX_ATTEMPTS": "9"})) as lab:
        people = [lab.join() for _ in range(PEOPLE)]
        for _ in range(trial.few(10, 2)):
            tasks = _ask(lab, people)
            time.sleep(trial.chance.uniform(0, 0.15))
            horses = [horse for worker in lab.workers for horse in lab.horses(worker)]
            killed = send(9, *horses)
            trial.result.kills += killed
            trial.result.runs += 1
            _wait_for(lab, tasks)
            found = [the_task(lab.wiring.database, task_id) for task_id in tasks]
            assert all(task.failures <= killed for task in found)
            assert all(task.claim <= 1 + 2 * killed for task in found)
            _note(trial, lab, tasks)


@scenario("batch-stopped", "postgresql")
def stopped(trial: Trial) -> None:
    """SIGTERM in the middle of batches: exit 0, and no task is charged for it."""
    with trial.lab(Plan(workers=2)) as lab:
        people = [lab.join() for _ in range(PEOPLE)]
        for _ in range(trial.few(6, 2)):
            pid = trial.chance.choice(lab.workers)
            _wait_for_worker(lab, pid)
            tasks = _ask(lab, people)
            time.sleep(trial.chance.uniform(0, 0.15))
            stop(lab, pid, trial)
            _wait_for(lab, tasks)
            found = [the_task(lab.wiring.database, task_id) for task_id in tasks]
            assert {task.failures for task in found} == {0}
            _note(trial, lab, tasks)
        all_stopped_well(lab)


def _wait_for_worker(lab: Lab, pid: int) -> None:
    wait_until(lambda: is_listening(lab, pid), "the worker listens")


def _ask(lab: Lab, people: list[Author]) -> list[str]:
    """Request a task for everybody while workers are suspended, and let them go on."""
    redis = lab.wiring.queue.redis
    suspend(redis)
    tasks = [person.count_seconds(0) for person in people]
    resume(redis)
    wait_until(lambda: lab.wiring.queue.depth() < len(tasks), "a worker goes on")
    return tasks


def _wait_for(lab: Lab, tasks: list[str]) -> None:
    for task_id in tasks:
        lab.wait_for_end(task_id)


def _note(trial: Trial, lab: Lab, tasks: list[str]) -> None:
    """Say how many tasks were in the largest batch: those that were claimed at one moment."""
    claimed = Counter(the_task(lab.wiring.database, task_id).started_at for task_id in tasks)
    known = trial.result.notes.get("largest", 0)
    trial.result.notes["largest"] = max(known, *claimed.values())
