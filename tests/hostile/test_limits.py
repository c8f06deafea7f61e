"""Time limits mean something, whatever a task does: each in a real worker, which goes on."""

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from rq.command import send_stop_job_command
from rq.exceptions import InvalidJobOperation

from chalicelib.db.models import Task
from chalicelib.wiring import Wiring
from tests.conftest import both_databases
from tests.harness import processes
from tests.harness.ledgers import the_task
from tests.harness.processes import ended, work_horses
from tests.harness.waiting import wait_until
from tests.hostile.conftest import Launch
from tests.hostile.tasks import LIMIT_S
from worker import child_process, runner

Start = Callable[..., psutil.Popen]
WITHIN_S = 5
"""What the contract allows after the limit."""


def over(wiring: Wiring, task_id: str) -> Task:
    """Wait for a task's outcome."""

    def outcome() -> bool:
        return the_task(wiring.database, task_id).finished_at is not None

    wait_until(outcome, "the task is over", within_s=60)
    return the_task(wiring.database, task_id)


def goes_on(wiring: Wiring, launch: Launch) -> None:
    """The worker does the next task."""
    task = over(wiring, launch("example", user="next", seconds=0))
    assert (task.status, task.attempt) == ("succeeded", 1)


def timed_out(wiring: Wiring, task_id: str) -> None:
    """A task has failed with `timeout` at its only attempt, and soon enough."""
    task = over(wiring, task_id)
    assert (task.status, task.error_code, task.attempt, task.claim) == ("failed", "timeout", 1, 1)
    assert task.started_at is not None
    assert task.finished_at is not None
    took_s = (task.finished_at - task.started_at).total_seconds()
    assert LIMIT_S <= took_s <= LIMIT_S + WITHIN_S


@both_databases
@pytest.mark.parametrize("name", ["swallow", "swallow_and_return", "hold_interpreter"])
def test_out_of_time(start: Start, wiring: Wiring, launch: Launch, name: str) -> None:
    """A task that swallows the alarm, or never hears it, fails with `timeout` and is not retried.

    The lease is longer than the limit: with a shorter one, a horse that shows no sign of life is
    lost before it is late.
    """
    start(LEASE_S="20")
    timed_out(wiring, launch(name))
    goes_on(wiring, launch)


@both_databases
@pytest.mark.parametrize("name", ["step_and_swallow", "step_and_be_slow"])
def test_what_gets_on_goes_on(start: Start, wiring: Wiring, launch: Launch, name: str) -> None:
    """An attempt that has moved its checkpoint costs nothing: the next one goes on from there."""
    start()
    task = over(wiring, launch(name, steps=2))
    assert (task.status, task.failures, task.attempt) == ("succeeded", 0, 1)
    assert task.result == {"claims": 3, "attempt": 1}
    goes_on(wiring, launch)


def test_a_fork_that_never_ends(
    start: Start, wiring: Wiring, launch: Launch, tmp_path: Path
) -> None:
    """What a task forked ends with it, even if it ignores every signal that can be ignored."""
    start()
    timed_out(wiring, launch("fork_and_wait", folder=str(tmp_path)))
    child = int((tmp_path / "pid").read_text())
    wait_until(lambda: ended(child), "the child has ended")
    goes_on(wiring, launch)


def test_a_fork_that_returns(start: Start, wiring: Wiring, launch: Launch, tmp_path: Path) -> None:
    """A child that runs out of the task's function writes no outcome."""
    start()
    task_id = launch("fork_and_go_on", folder=str(tmp_path))
    child = int(
        wait_until(
            lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "it is there"
        )
    )
    wait_until(lambda: ended(child), "the child has ended")
    task = over(wiring, task_id)
    assert (task.status, task.attempt, task.claim) == ("succeeded", 1, 1)
    assert task.result == {"attempt": 1, "by_child": False}
    goes_on(wiring, launch)


def test_sigterm_is_ignored(start: Start, wiring: Wiring, launch: Launch, tmp_path: Path) -> None:
    """A worker that must stop does so within 10 s and with 0; the task costs no attempt."""
    assert runner.STOP_GRACE_S + child_process.STOP_GRACE_S < 10
    worker = start()
    task_id = launch("ignore_signals", folder=str(tmp_path))
    wait_until((tmp_path / "pid").exists, "it ignores signals")
    # What is left to do after both takes a moment, on a busy machine many.
    assert processes.stop(worker, within_s=30) == 0
    task = the_task(wiring.database, task_id)
    assert (task.status, task.failures, task.claim) == ("queued", 0, 1)
    assert ended(int((tmp_path / "pid").read_text()))


@both_databases
def test_a_stopped_horse(start: Start, wiring: Wiring, launch: Launch) -> None:
    """A work horse that stands still with a lock on the ledger is killed, and its task goes on."""
    worker = start(LEASE_S="2")
    task_id = launch("lock_and_stop")
    wait_until(lambda: the_task(wiring.database, task_id).status == "running", "it runs")
    (horse,) = work_horses(worker)
    wait_until(lambda: ended(horse), "the horse is killed", within_s=20)
    task = over(wiring, task_id)
    assert (task.status, task.failures, task.result) == ("succeeded", 1, {"attempt": 2})
    goes_on(wiring, launch)


def stopped(wiring: Wiring, task_id: str) -> bool:
    """Ask RQ to stop a job; whether it knew of it."""
    try:
        send_stop_job_command(wiring.queue.redis, task_id)
    except InvalidJobOperation:
        return False
    return True


def test_stop_job(start: Start, wiring: Wiring, launch: Launch, tmp_path: Path) -> None:
    """A job that is stopped with RQ's own tools is a task that is cancelled."""
    start()
    # A reconciler that begins as its worker takes the first job would enqueue that one again.
    wait_until(lambda: wiring.queue.workers_alive() == 1, "the worker listens")
    task_id = launch("ignore_signals", folder=str(tmp_path))
    wait_until(lambda: the_task(wiring.database, task_id).status == "running", "it runs")
    wait_until(lambda: stopped(wiring, task_id), "RQ knows that it runs, too")
    task = over(wiring, task_id)
    assert (task.status, task.claim, task.error_code) == ("cancelled", 1, None)
    goes_on(wiring, launch)
