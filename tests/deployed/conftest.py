"""The application as servers run it, on a database, a queue, S3 and SES that are the tests' own."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.local.stack import free_port
from tests.harness import processes
from tests.harness.processes import BIN, ROOT, ended, family, kill
from tests.harness.servers import PostgreSQL
from tests.harness.stacks import Installation
from tests.harness.waiting import wait_until


class Deployed(Installation):
    """The application on a port, started by whoever the test is about.

    Args:
        settings: The variables that each of its processes has.
        folder: Takes what they print.
        mail_dir: Where SES leaves its emails.
    """

    def __init__(self, settings: Mapping[str, str], *, folder: Path, mail_dir: Path) -> None:
        self.port = free_port()
        self.settings = dict(settings)
        self._folder = folder
        self.mail_dir = mail_dir

    @property
    def facts(self) -> dict[str, Any]:
        """Where it is and how to join it."""
        url = f"http://127.0.0.1:{self.port}"
        return {"app_url": url, "env": self.settings, "mail_dir": str(self.mail_dir)}

    @contextmanager
    def process(
        self, *command: str | Path, folder: Path = ROOT, variables: Mapping[str, str] | None = None
    ) -> Iterator["Started"]:
        """Start something with the settings and more in its environment; nothing of it stays."""
        log = self._folder / f"{len(list(self._folder.glob('*.log')))}.log"
        env = {"PATH": f"{BIN}:{os.environ['PATH']}", **self.settings, **(variables or {})}
        started = Started(processes.start(command, log=log, env=env, folder=folder), log)
        try:
            yield started
        finally:
            kill(family(started.process))

    def wait_until_ready(self, started: "Started") -> None:
        """Wait until the API says that it, the database, Redis and a worker are well."""
        wait_until(lambda: self.is_ready() or ended(started.process), "ready")
        assert not ended(started.process), started.output


class Started:
    def __init__(self, process: psutil.Popen, log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def output(self) -> str:
        return self._log.read_text()

    def wait(self) -> int:
        return int(self.process.wait(timeout=90))

    def stop(self) -> int:
        """Ask it to stop; return its status, and fail when something that it started goes on."""
        _, *children = family(self.process)
        status = processes.stop(self.process)
        wait_until(lambda: all(map(ended, children)), "all have ended")
        return status


@pytest.fixture
def database_url(
    request: pytest.FixtureRequest, tmp_path: Path, postgresql: PostgreSQL
) -> Iterator[str]:
    """An empty database, which nobody has migrated."""
    if getattr(request, "param", "postgresql") == "sqlite":
        yield f"sqlite:///{tmp_path / 'carryout.db'}"
    else:
        with postgresql.database(template="template1", owner=True) as url:
            yield url


@pytest.fixture
def installation(environment: dict[str, str], tmp_path: Path, mail_dir: Path) -> Deployed:
    """Settings and servers, and nothing of the application yet."""
    return Deployed(environment, folder=tmp_path, mail_dir=mail_dir)
