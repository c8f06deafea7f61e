"""A whole stack in processes of its own, and somebody who uses it."""

import email
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from infra.local.plan import KNOWN
from tests.harness.holding import hold
from tests.harness.servers import wait_until

ROOT = Path(__file__).parents[2]

QUICK = {"LEASE_S": "3", "SWEEP_INTERVAL_S": "1"}
"""Settings with which a death is noticed soon."""


class Place:
    """Where the application runs, as `stack.json` tells it."""

    @property
    def facts(self) -> dict[str, Any]:
        """At least `app_url`, `mail_dir`, and the variables under `env`."""
        raise NotImplementedError

    def command(self, *arguments: str, given: bytes = b"") -> str:
        """Run `python -m worker …` against this stack; return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "worker", *arguments],
            cwd=ROOT,
            env={**os.environ, **self.facts["env"]},
            input=given,
            capture_output=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def mails(self, to: str) -> list[EmailMessage]:
        """The mails that somebody got, the oldest first."""
        paths = sorted(
            Path(self.facts["mail_dir"]).glob("*.eml"), key=lambda one: one.stat().st_mtime
        )
        found = [
            email.message_from_bytes(path.read_bytes(), policy=policy.default) for path in paths
        ]
        return [mail for mail in found if to in mail["To"]]


class Stack(Place):
    """`make run` on a folder of its own and a free port.

    Args:
        folder: Its DATA_DIR.
        settings: What is put into its environment.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        clean = {name: value for name, value in os.environ.items() if name not in KNOWN}
        with (folder / "log").open("w") as log:
            self.process = psutil.Popen(
                [sys.executable, "-m", "infra.local", "run"],
                cwd=ROOT,
                env={**clean, "PORT": "0", "DATA_DIR": str(folder), **QUICK, **settings},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until(lambda: "\nready " in f"\n{self.log}" or not self.process.is_running(), "ready")
        assert self.process.poll() is None, self.log

    @property
    def log(self) -> str:
        """What it has printed."""
        return (self._folder / "log").read_text()

    @property
    def facts(self) -> dict[str, Any]:
        """What `stack.json` says now."""
        found: dict[str, Any] = json.loads((self._folder / "stack.json").read_text())
        return found

    def worker(self) -> psutil.Process:
        """The first worker's parent process."""
        return psutil.Process(self.facts["pids"]["workers"][0])

    def horse(self) -> psutil.Process | None:
        """The process that works on a job, if one does: the only one in a group of its own."""
        with suppress(psutil.NoSuchProcess, ProcessLookupError):  # it ends while one looks
            for child in self.worker().children():
                if os.getpgid(child.pid) == child.pid:
                    return child
        return None

    def hold_horse(self, what: str, *, when: Callable[[], object]) -> psutil.Process:
        """Stop the process that works on a job by a signal, at a moment of its work."""

        def find() -> list[psutil.Process]:
            horse = self.horse()
            return [horse] if horse else []

        (horse,) = hold(find, self.facts["database_url"], when=when, what=what)
        return horse

    def stop(self) -> int:
        """Ask it to stop; return its status."""
        if self.process.poll() is None:
            self.process.terminate()
        return int(self.process.wait(timeout=60))


class Person:
    """Somebody who calls the API over HTTP."""

    def __init__(self, stack: Place, username: str) -> None:
        self.stack = stack
        self.username = username
        self.address = f"{username}@example.com"
        self._http = requests.Session()
        self._http.trust_env = False
        secrets = {"username": username, "password": "correct horse"}
        self.call("POST", "/v1/users", {**secrets, "email": self.address}, 201)
        token = self.call("POST", "/v1/tokens", secrets, 201)["token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, body: Any = None) -> requests.Response:
        """Send a request."""
        url = self.stack.facts["app_url"] + path
        return self._http.request(method, url, json=body, timeout=60, allow_redirects=False)

    def call(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """Send a request that must be answered as said; return the JSON."""
        answer = self.ask(method, path, body)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def load(self, count: int, *, body: str = "x" * 100) -> None:
        """Get many posts at once."""
        post = json.dumps({"body": body, "timestamp": "2026-01-02T03:04:05Z"}) + "\n"
        self.stack.command("load-posts", "-", "--user", self.username, given=count * post.encode())

    def request(self, name: str = "export_posts", **params: Any) -> str:
        """Ask for a task; return its id."""
        return str(self.call("POST", "/v1/tasks", {"name": name, "params": params}, 202)["id"])

    def task(self, task_id: str) -> Any:
        """A task as it stands."""
        return self.call("GET", f"/v1/tasks/{task_id}")

    def wait(
        self, task_id: str, condition: Callable[[Any], object], what: str, *, within_s: float = 90
    ) -> Any:
        """Wait until a task is as it should be; return it."""
        wait_until(lambda: condition(self.task(task_id)), what, within_s=within_s)
        return self.task(task_id)

    def wait_for(self, task_id: str, status: str, *, within_s: float = 90) -> Any:
        """Wait for a status."""
        return self.wait(task_id, lambda one: one["status"] == status, status, within_s=within_s)

    def wait_for_mail(self, task_id: str) -> EmailMessage:
        """Wait for the one mail about an export."""
        self.wait(
            task_id,
            lambda one: one["result"] and one["result"]["mail"]["state"] == "sent",
            "mailed",
        )
        wait_until(lambda: self.stack.mails(self.address), "the mail is a file")
        (mail,) = self.stack.mails(self.address)
        return mail

    def download(self, task_id: str) -> bytes:
        """The file, as a browser gets it."""
        answer = self.ask("GET", f"/v1/exports/{task_id}/download")
        assert answer.status_code == 303, answer.text
        return requests.get(answer.headers["Location"], timeout=60).content


class Stopwatch:
    """How long something takes."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._started


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack for the tests of a module."""
    running = Stack(tmp_path_factory.mktemp("stack"))
    yield running
    assert running.stop() == 0
