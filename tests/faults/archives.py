"""Archives by real workers, which are killed and stopped at any moment; the oracle compares."""

import signal
import time
from typing import Any

import psutil

from chalicelib.exports.archive import FORMATS
from tests.faults.actions import STOPS_WITHIN_S, kill
from tests.faults.lab import Author, Lab, Plan, parent_of
from tests.faults.trial import Trial, scenario
from tests.harness.ledgers import the_export
from tests.harness.waiting import wait_until
from worker.export.upload import PART_BYTES

EVERYTHING: dict[str, Any] = {
    "datasets": ["profile", "posts"],
    "formats": list(FORMATS),
    "viewer": True,
}

POSTS, NOISE = 6_000, 1_000
"""So that an archive has several parts, at each of which it can go on, though it is compressed."""

KEPT = {"EXPORTS_KEPT": "1000", "TASK_MAX_ATTEMPTS": "10"}
"""The oracle wants to see every file at the end."""


@scenario("archive-killed", "sqlite", "postgresql", alone=True)
def killed(trial: Trial) -> None:
    """An archive in every format, whose horse or worker or both are killed at any moment."""
    with trial.lab(Plan(workers=2, settings=KEPT)) as lab:
        person = lab.join(POSTS, noise=NOISE)
        takes_s = _undisturbed(lab, person)
        for _ in range(trial.few(20, 3)):
            task_id = _request(lab, person, trial, takes_s)
            whom = trial.chance.choice(("horse", "both"))
            trial.result.kills += kill(lab, task_id, whom)
            trial.result.runs += 1
            lab.wait_for_end(task_id)


@scenario("archive-stopped", "sqlite", "postgresql", alone=True)
def stopped(trial: Trial) -> None:
    """The same, whose worker gets SIGTERM at any moment, and another goes on."""
    with trial.lab(Plan(workers=2, settings=KEPT)) as lab:
        person = lab.join(POSTS, noise=NOISE)
        takes_s = _undisturbed(lab, person)
        for _ in range(trial.few(20, 3)):
            task_id = _request(lab, person, trial, takes_s)
            look = lab.watch.latest[task_id]
            if look.status == "running":
                _stop(lab, parent_of(look))
                trial.result.runs += 1
            lab.wait_for_end(task_id)


def _undisturbed(lab: Lab, person: Author) -> float:
    """How long an archive takes that nobody disturbs, in seconds."""
    task_id = person.archive(**EVERYTHING)
    lab.wait_for_claim(task_id)
    began = time.monotonic()
    lab.wait_for_end(task_id)
    took_s = time.monotonic() - began
    assert (the_export(lab.wiring.database, task_id).size_bytes or 0) > 3 * PART_BYTES
    return took_s


def _request(lab: Lab, person: Author, trial: Trial, takes_s: float) -> str:
    """Request an archive, and come to some moment of its first attempt."""
    task_id = person.archive(**EVERYTHING)
    lab.wait_for_claim(task_id)
    time.sleep(trial.chance.uniform(0, takes_s))
    return task_id


def _stop(lab: Lab, pid: int) -> None:
    psutil.Process(pid).send_signal(signal.SIGTERM)
    wait_until(lambda: not lab.is_worker(pid), "the worker stops", within_s=STOPS_WITHIN_S)
