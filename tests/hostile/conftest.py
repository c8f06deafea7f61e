"""A real worker for this application's tasks."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from chalicelib.tasks import requests
from chalicelib.tasks.registry import TASKS
from chalicelib.wiring import Wiring
from tests.harness import processes
from tests.harness.ledgers import make_user, now
from tests.hostile.tasks import KINDS

Launch = Callable[..., str]


@pytest.fixture(autouse=True)
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process knows the kinds, too: it launches them."""
    for kind in KINDS:
        monkeypatch.setitem(TASKS, kind.name, kind)


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., psutil.Popen]]:
    """Starts a worker with settings of its own; all end with the test."""
    started: list[psutil.Popen] = []

    def run(**settings: str) -> psutil.Popen:
        command = [sys.executable, "-m", "tests.hostile.worker", "run"]
        env = {**os.environ, **environment, **settings}
        log = tmp_path / f"worker-{len(started)}.log"
        started.append(processes.start(command, log=log, env=env))
        return started[-1]

    yield run
    for one in started:
        processes.stop(one)


@pytest.fixture
def launch(wiring: Wiring) -> Launch:
    """Launches a task of somebody, and enqueues its job; returns its id."""
    users: dict[str, int] = {}

    def ask(name: str, user: str = "susan", **params: Any) -> str:
        if user not in users:
            users[user] = make_user(wiring.database, user)
        request = requests.TaskRequest(kind=TASKS[name], params=params, max_attempts=3)
        with wiring.database.write() as session:
            task = requests.launch_task(session, users[user], request, now=now()).task
        wiring.queue.hint(task.id, name)
        return task.id

    return ask
