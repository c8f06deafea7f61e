"""What scenarios do to a stack, and what they wait for."""

import signal
import time
from random import Random

from tests.faults.lab import Author, Lab, parent_of, send
from tests.faults.trial import Trial
from tests.faults.watch import in_progress
from tests.harness.waiting import wait_until

STOPS_WITHIN_S = 10
MANY_POSTS = 40_000
"""Some 10 MB in three parts, a second or two of work."""


def kill_worker(lab: Lab, chance: Random) -> int:
    """Kill any worker, and its horse with it half of the time; the horses' tasks are watched."""
    alive = [pid for pid in lab.workers if lab.is_worker(pid)]
    if not alive:
        return 0
    parent = chance.choice(alive)
    horses = lab.horses(parent) if chance.random() < 0.5 else []
    killed = send(signal.SIGKILL, parent, *horses)
    for look in in_progress(lab.watch.latest):
        if look.status == "running" and look.worker and parent_of(look) == parent:
            lab.watch.killed(look.task_id, look.claim)
    return killed


def kill(lab: Lab, task_id: str, whom: str) -> int:
    """Kill who works on a task, if it is at it; return how many processes were killed."""
    look = lab.watch.latest[task_id]
    count = 0 if look.status != "running" else lab.kill(look, whom)
    if count:
        lab.watch.killed(task_id, look.claim)
    return count


def stop(lab: Lab, pid: int, trial: Trial, *, twice_after_s: float | None = None) -> None:
    """Send a worker SIGTERM, and perhaps once more, and wait for its end."""
    trial.result.runs += send(signal.SIGTERM, pid)
    if twice_after_s is not None:
        time.sleep(twice_after_s)
        send(signal.SIGTERM, pid)
    wait_until(lambda: not lab.is_worker(pid), "the worker stops", within_s=STOPS_WITHIN_S)


def all_stopped_well(lab: Lab) -> None:
    """Every worker that ended did so with status 0, and there was one."""
    ends = [line for line in lab.log.splitlines() if "; starting it again" in line]
    bad = [line for line in ends if "ended with status 0;" not in line]
    assert ends, "no worker ended"
    assert not bad, bad


def is_listening(lab: Lab, pid: int) -> bool:
    """Whether a worker has come so far that it knows what to do about signals."""
    ready = {"idle", "busy"}
    return any(one.pid == pid and one.state in ready for one in lab.wiring.queue.workers())


def three_people(lab: Lab) -> list[Author]:
    """Users with many posts, with some, and with few."""
    return [lab.join(posts) for posts in (MANY_POSTS, 10_000, 50)]


def three_exports(lab: Lab) -> list[str]:
    return [person.export() for person in three_people(lab)]


def recover(trial: Trial, lab: Lab, tasks: list[str]) -> None:
    """Wait for the end of tasks, and note how long it took from here."""
    began = time.monotonic()
    for task_id in tasks:
        lab.wait_for_end(task_id)
    trial.result.recovered_s.append(time.monotonic() - began)
    trial.result.runs += 1


def no_horse(lab: Lab) -> None:
    wait_until(lambda: not any(lab.horses(pid) for pid in lab.workers), "the workers are idle")
