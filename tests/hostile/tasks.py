"""The kinds of task of this application, and what they do."""

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any

from chalicelib.db.models import User
from chalicelib.tasks.registry import TaskKind
from tests.harness.waiting import wait_until
from worker.attempts import Attempt
from worker.process import stop_requested

LIMIT_S = 2
"""The time limit of those that do not end by themselves."""

FOR_EVER_S = 600
"""Longer than any test waits."""


def swallow(attempt: Attempt) -> None:
    """Take the alarm for something that passes, like a careless loop around a request."""
    del attempt
    while True:
        try:
            time.sleep(FOR_EVER_S)
        except Exception:  # noqa: BLE001 - the point of it
            continue


def swallow_and_return(attempt: Attempt) -> dict[str, Any]:
    """Take the alarm for something that passes, and pretend that all is well."""
    try:
        time.sleep(FOR_EVER_S)
    except Exception:  # noqa: BLE001 - the point of it
        return {"attempt": attempt.task.attempt}
    return {}


def step_and_swallow(attempt: Attempt, steps: int) -> dict[str, Any]:
    """Get a step on in each attempt, then hang."""
    done = int((attempt.task.checkpoint or {"done": 0})["done"]) + 1
    if done > steps:
        return {"claims": attempt.lease.claim, "attempt": attempt.task.attempt}
    attempt.checkpoint(done, steps + 1, {"done": done})
    swallow(attempt)
    return {}


def step_and_be_slow(attempt: Attempt, steps: int) -> dict[str, Any]:
    """Get a step on in each attempt, then work on until the time is over."""
    done = int((attempt.task.checkpoint or {"done": 0})["done"]) + 1
    if done > steps:
        return {"claims": attempt.lease.claim, "attempt": attempt.task.attempt}
    attempt.checkpoint(done, steps + 1, {"done": done})
    time.sleep(FOR_EVER_S)
    return {}


def hold_interpreter(attempt: Attempt) -> None:
    """Stay in C code that does not let go of the interpreter: nothing else of Python runs."""
    del attempt
    ctypes.PyDLL(None).sleep(FOR_EVER_S)


def fork_and_wait(attempt: Attempt, folder: str) -> None:
    """Wait for a child that never ends, and that will not hear of ending either."""
    del attempt
    child = os.fork()
    if not child:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
            signal.signal(number, signal.SIG_IGN)
        while True:
            time.sleep(FOR_EVER_S)
    _note(folder, child)
    os.waitpid(child, 0)


def fork_and_go_on(attempt: Attempt, folder: str) -> dict[str, Any]:
    """Have a child that runs out of the function as well."""
    child = os.fork()
    if child:
        _note(folder, child)
        time.sleep(1)
    return {"attempt": attempt.task.attempt, "by_child": not child}


def ignore_signals(attempt: Attempt, folder: str) -> None:
    """Hear of nothing but the alarm."""
    del attempt
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    _note(folder, os.getpid())
    time.sleep(FOR_EVER_S)


def lock_and_stop(attempt: Attempt) -> dict[str, Any]:
    """Stand still in the midst of a transaction that keeps everybody else from writing."""
    if attempt.task.attempt == 1:
        with attempt.wiring.database.write() as session:
            session.get_one(User, attempt.task.user_id).notification_seq += 1
            session.flush()
            os.kill(os.getpid(), signal.SIGSTOP)
    return {"attempt": attempt.task.attempt}


def steps(attempt: Attempt, many: int, label: str) -> dict[str, Any]:
    """Do a twentieth of a second's work after the other, with a checkpoint after each."""
    done = int((attempt.task.checkpoint or {"done": 0})["done"])
    while done < many:
        time.sleep(0.05)
        done += 1
        attempt.checkpoint(done, many, {"done": done})
    return {"label": label, "claims": attempt.lease.claim}


def short(attempt: Attempt, label: str) -> dict[str, Any]:
    """Take no time; but one kills the process in its first attempt, one has the worker stop."""
    if label == "killer" and attempt.task.failures == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if label == "stopper":
        os.kill(os.getppid(), signal.SIGTERM)
        wait_until(stop_requested, "the work horse is told to stop")
    return {"claims": attempt.lease.claim}


def _note(folder: str, pid: int) -> None:
    """Tell the test of a process."""
    part = Path(folder, "pid.part")
    part.write_text(str(pid))
    part.rename(part.with_suffix(""))


def _kind(name: str, **facts: Any) -> TaskKind:
    return TaskKind(name=name, title=name, function=f"{__name__}.{name}", **facts)


IN_FOLDER: dict[str, Any] = {"params": {"folder": str}}
KINDS = (
    _kind("swallow", time_limit_s=LIMIT_S),
    _kind("swallow_and_return", time_limit_s=LIMIT_S),
    _kind("step_and_swallow", time_limit_s=LIMIT_S, params={"steps": int}),
    _kind("step_and_be_slow", time_limit_s=LIMIT_S, params={"steps": int}),
    _kind("hold_interpreter", time_limit_s=LIMIT_S),
    _kind("fork_and_wait", time_limit_s=LIMIT_S, **IN_FOLDER),
    _kind("fork_and_go_on", **IN_FOLDER),
    _kind("ignore_signals", **IN_FOLDER),
    _kind("lock_and_stop"),
    _kind("short", params={"label": str}, unique_by=("label",)),
    _kind("steps", resumable=True, params={"many": int, "label": str}, unique_by=("label",)),
)
