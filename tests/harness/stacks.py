"""Where the whole application runs, in processes as users have them."""

import email
import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from email import policy
from email.message import EmailMessage
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import requests

from infra.local.plan import KNOWN
from tests.harness import processes
from tests.harness.people import Person, Remote
from tests.harness.processes import LAUNCHER, WORKER, hold, output, work_horses
from tests.harness.waiting import wait_until

QUICK = {"LEASE_S": "3", "SWEEP_INTERVAL_S": "1"}
"""Settings with which a death is noticed soon."""


_numbers = count(1)


def emails_in(folder: Path) -> list[EmailMessage]:
    """The emails that the emulated SES took, the oldest first."""
    paths = sorted(folder.glob("*.eml"), key=lambda one: one.stat().st_mtime)
    return [email.message_from_bytes(path.read_bytes(), policy=policy.default) for path in paths]


class Installation:
    """The application on a port of this machine."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """At least `app_url`, `mail_dir`, and the variables under `env`, as in `stack.json`."""
        raise NotImplementedError

    @property
    def app_url(self) -> str:
        return str(self.facts["app_url"])

    def command(self, *arguments: str, given: str = "") -> str:
        """Run `python -m worker …` against it; return what it printed."""
        env = {**os.environ, **self.facts["env"]}
        return output(*WORKER, *arguments, given=given, env=env)

    def join(self, username: str, **options: Any) -> Person:
        """Somebody new, who signs up and signs in."""
        return Person.sign_up(Remote(self.app_url), username, home=self, **options)

    def emails(self, to: str) -> list[EmailMessage]:
        """The emails that somebody got, the oldest first."""
        return [mail for mail in emails_in(Path(self.facts["mail_dir"])) if to in mail["To"]]

    def is_ready(self) -> bool:
        """Whether the API says that it, the database, Redis and a worker are well."""
        try:
            return requests.get(f"{self.app_url}/readyz", timeout=60).ok
        except requests.RequestException:
            return False


class Stack(Installation):
    """`make run`, from its start on.

    Args:
        folder: Its DATA_DIR; what it prints goes to a file beside it.
        settings: What is put into its environment; a free port unless one is named.
        prefix: A command that runs the launcher, such as one that gives it a network of its own.

    Attributes:
        folder: The same.
        process: The launcher.
    """

    def __init__(self, folder: Path, *, prefix: Sequence[str] = (), **settings: str) -> None:
        self.folder = folder
        self._log = folder.with_name(f"{folder.name}-{next(_numbers)}.log")
        clean = {name: value for name, value in os.environ.items() if name not in KNOWN}
        env = {**clean, "PORT": "0", "DATA_DIR": str(folder), **QUICK, **settings}
        self.process = processes.start([*prefix, *LAUNCHER, "run"], log=self._log, env=env)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def facts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "stack.json").read_text())
        return found

    def ready(self) -> "Stack":
        """Wait for the ready line and the file; fail with the log when it ends instead."""

        def is_there() -> bool:
            assert self.process.poll() is None, self.log
            return "\nready " in f"\n{self.log}" and (self.folder / "stack.json").exists()

        wait_until(is_there, "the stack is ready")
        return self

    def worker(self) -> psutil.Process:
        """The first worker's parent process."""
        return psutil.Process(self.facts["pids"]["workers"][0])

    def hold(
        self, find: Callable[[psutil.Process], list[psutil.Process]], what: str, **options: Any
    ) -> list[psutil.Process]:
        """Stop processes of the worker at a moment of their work; return them.

        Args:
            find: Which: `work_horses`, or the whole `family`.
            what: The name of the moment.
            options: `when`: whether it has come.
        """
        return hold(lambda: find(self.worker()), self.facts["database_url"], what=what, **options)

    def hold_horse(self, what: str, *, when: Callable[[], object]) -> psutil.Process:
        """Stop the process that works on a job, at a moment of its work."""
        (horse,) = self.hold(work_horses, what, when=when)
        return horse

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop; return its status."""
        return processes.stop(self.process, number)


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[Stack]:
    """A stack that is ready for the block, and stops cleanly after it."""
    stack = Stack(folder, **settings)
    try:
        yield stack.ready()
    finally:
        status = stack.stop()
    assert status == 0, stack.log
