"""Two large faults: an export of a million posts, and a thousand users while workers die."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import sqlalchemy as sa

from tests.faults.actions import STOPS_WITHIN_S, kill_worker
from tests.faults.aws import Call
from tests.faults.lab import Author, Lab, Plan, parent_of
from tests.faults.trial import Trial, percentile, scenario
from tests.harness.ledgers import the_export, the_task
from tests.harness.waiting import wait_until

MILLION = 1_000_000
TOLD_AT_ONCE_S = 3.0
"""How soon a second worker goes on with a task that was released."""

EXPORT_WITHIN_S = 300.0
STORM_WITHIN_S = 600.0

COPY_POSTS = """
INSERT INTO posts (user_id, body, timestamp)
SELECT {user_id}, body, timestamp FROM posts WHERE user_id = {source_id} ORDER BY id
"""


@scenario("resume", alone=True)
def resume(trial: Trial) -> None:
    """A million posts, killed at 90 %; and stopped in the middle, resumed at once."""
    count = trial.few(MILLION, 200_000)
    with trial.lab(Plan(workers=2, aws_proxy=True)) as lab:
        person = _many_posts(lab, count)
        undisturbed = lab.folder / "undisturbed.json"
        _export_locally(lab, person, undisturbed)
        _killed_late(trial, lab, person, undisturbed)
        _stopped_midway(trial, lab, person, undisturbed)


def _many_posts(lab: Lab, count: int) -> Author:
    """Somebody with so many posts: copies of another's."""
    source = lab.join(10_000)
    person = lab.join()
    statement = COPY_POSTS.format(user_id=person.user_id, source_id=source.user_id)
    for _ in range(count // 10_000):
        with lab.wiring.database.write() as session:
            session.execute(sa.text(statement))
    return person


def _killed_late(trial: Trial, lab: Lab, person: Author, undisturbed: Path) -> None:
    assert lab.aws
    task_id = person.request()
    _wait_for_percent(lab, task_id, 90)
    look = lab.watch.latest[task_id]
    parts = len(lab.aws.calls)
    trial.result.kills += lab.kill(look, "horse")
    trial.result.runs += 1
    lab.watch.killed(task_id, look.claim)
    lab.wait_for_end(task_id, within_s=EXPORT_WITHIN_S)
    _compare(lab, task_id, undisturbed)
    again = _stored(lab.aws.calls[parts:]) / undisturbed.stat().st_size
    trial.result.notes |= {
        "size_bytes": undisturbed.stat().st_size,
        "killed_at_percent": look.percent,
        "uploaded_after_the_kill": round(again, 3),
    }
    assert again < 0.2, f"{again:.0%} of the bytes were uploaded after the kill"


def _stopped_midway(trial: Trial, lab: Lab, person: Author, undisturbed: Path) -> None:
    task_id = person.request()
    _wait_for_percent(lab, task_id, 50)
    look = lab.watch.latest[task_id]
    pid, began = parent_of(look), time.monotonic()
    psutil.Process(pid).terminate()
    after = lab.wait_for_claim(task_id, above=look.claim)
    resumed_s = time.monotonic() - began
    wait_until(lambda: not lab.is_worker(pid), "the worker stops", within_s=STOPS_WITHIN_S)
    stopped_s = time.monotonic() - began
    trial.result.runs += 1
    trial.result.notes |= {"stopped_s": round(stopped_s, 2), "resumed_s": round(resumed_s, 2)}
    look = lab.wait_for_end(task_id, within_s=EXPORT_WITHIN_S)
    assert resumed_s <= TOLD_AT_ONCE_S, f"resumed after {resumed_s:.1f} s"
    assert look.failures == 0, look
    assert parent_of(after) != pid, "the same worker went on"
    assert "ended with status 0; starting it again" in lab.log
    _compare(lab, task_id, undisturbed)


def _wait_for_percent(lab: Lab, task_id: str, percent: int) -> None:
    def is_there() -> bool:
        look = lab.look(task_id)
        return look is not None and look.percent >= percent

    wait_until(is_there, f"{percent} %", within_s=EXPORT_WITHIN_S)


def _stored(calls: list[Call]) -> int:
    return sum(call.size_bytes for call in calls if call.stores)


def _export_locally(lab: Lab, person: Author, out: Path) -> None:
    lab.stack.command("export", "--user", person.username, "--out", str(out))


def _compare(lab: Lab, task_id: str, undisturbed: Path) -> None:
    """The published file is the undisturbed one, but for the moment at its head."""
    task = the_task(lab.wiring.database, task_id)
    assert task.status == "succeeded", task.error_code
    key = the_export(lab.wiring.database, task_id).object_key or ""
    pieces = lab.wiring.object_store.read(key)
    published = lab.folder / "published.json"
    with published.open("wb") as file:
        file.writelines(pieces)
    with published.open("rb") as one, undisturbed.open("rb") as other:
        assert _headless(one.readline()) == _headless(other.readline())
        while piece := one.read(1 << 20):
            assert piece == other.read(1 << 20), "the files differ"
        assert not other.read(1), "the published file is shorter"


def _headless(line: bytes) -> bytes:
    return re.sub(rb'"exported_at":"[^"]*"', b"", line)


@scenario("storm", alone=True)
def storm(trial: Trial) -> None:
    """A thousand users ask at once; one of four workers a second is killed for a minute."""
    with trial.lab(Plan(workers=4, settings={"TASK_MAX_ATTEMPTS": "10"})) as lab:
        lab.watch.interval_s = 0.3
        lab.watch.requeued_is_recovered = True
        people = [lab.join(20) for _ in range(trial.few(1000, 100))]
        began = time.monotonic()
        with ThreadPoolExecutor(16) as pool:
            asking = [pool.submit(person.export) for person in people]
            for second in range(trial.few(60, 6)):
                time.sleep(max(0.0, began + second + 1 - time.monotonic()))
                trial.result.kills += kill_worker(lab, trial.chance)
                trial.result.runs += 1
            tasks = [one.result() for one in asking]
        for task_id in tasks:
            lab.wait_for_end(task_id, within_s=STORM_WITHIN_S)
        trial.result.notes["all_over_s"] = round(time.monotonic() - began, 1)
        failures = [look.failures for look in lab.watch.latest.values()]
        trial.result.notes["most_attempts"] = int(percentile(failures, 1)) + 1
