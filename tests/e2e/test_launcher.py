import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from infra.local.emulator import Emulator
from infra.local.plan import KNOWN
from infra.local.stack import free_port
from tests.harness.holding import ended
from tests.harness.servers import wait_until

ROOT = Path(__file__).parents[2]
PYTHON = sys.executable

USER = {"username": "susan", "password": "correct horse"}


def environment(data_dir: Path, **settings: str) -> dict[str, str]:
    """This process's environment without settings, and with those of a test."""
    clean = {name: value for name, value in os.environ.items() if name not in KNOWN}
    return {**clean, "PORT": str(free_port()), "DATA_DIR": str(data_dir), **settings}


class Launcher:
    """`make run` in a process of its own.

    Args:
        env: The environment, with PORT and DATA_DIR.
        log: Takes what it prints.
    """

    def __init__(self, env: Mapping[str, str], log: Path) -> None:
        self._log = log
        self._file = Path(env["DATA_DIR"]) / "stack.json"
        with log.open("w") as output:
            self.process = psutil.Popen(
                [PYTHON, "-m", "infra.local", "run"],
                cwd=ROOT,
                env=dict(env),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        """What it has printed."""
        return self._log.read_text()

    @property
    def stack(self) -> dict[str, Any]:
        """What `stack.json` says."""
        content: dict[str, Any] = json.loads(self._file.read_text())
        return content

    def wait_until_ready(self) -> "Launcher":
        """Wait for the ready line; fail with the output when it ends instead."""
        wait_until(lambda: "\nready " in f"\n{self.output}" or self.ended(), "ready")
        assert not self.ended(), self.output
        wait_until(self._file.exists, "stack.json")
        return self

    def ended(self) -> bool:
        """Whether it is over."""
        return self.process.poll() is not None

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal it and wait; return its status."""
        self.process.send_signal(number)
        return int(self.process.wait(timeout=60))

    def family(self) -> list[psutil.Process]:
        """All that it started."""
        children: list[psutil.Process] = self.process.children(recursive=True)
        return children


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where a launcher's output goes."""
    return tmp_path / "log"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The environment of a launcher on a fresh folder."""
    return environment(tmp_path / "data")


@pytest.fixture
def launcher(env: dict[str, str], log: Path) -> Iterator[Launcher]:
    """A stack that is ready, stopped at the end."""
    launcher = Launcher(env, log).wait_until_ready()
    yield launcher
    if not launcher.ended():
        launcher.stop()


def lives(process: psutil.Process) -> bool:
    """Whether a process has not ended; one that nobody has reaped yet has."""
    return process.is_running() and not ended(process)


def sign_up(stack: Mapping[str, Any]) -> None:
    """Make the user."""
    body = {**USER, "email": "susan@example.com"}
    assert requests.post(f"{stack['app_url']}/v1/users", json=body, timeout=60).status_code == 201


def sign_in(stack: Mapping[str, Any]) -> int:
    """Ask for a token; return the status."""
    return requests.post(f"{stack['app_url']}/v1/tokens", json=USER, timeout=60).status_code


def test_stack_file_says_how_to_join(launcher: Launcher, env: dict[str, str]) -> None:
    """The file holds all that is promised, and its `env` is all that a process needs."""
    stack = launcher.stack
    assert launcher.output.count(f"ready http://127.0.0.1:{env['PORT']}/\n") == 1
    assert "status=503" not in launcher.output  # that it is not ready while it starts is no news
    assert set(stack) == {
        "app_url", "redis_url", "database_url", "aws_endpoint_url", "bucket", "queue",
        "mail_dir", "env", "pids",
    }  # fmt: skip
    assert stack["database_url"] == f"sqlite:///{env['DATA_DIR']}/carryout.db"
    assert stack["mail_dir"] == f"{env['DATA_DIR']}/mail"
    assert stack["pids"]["launcher"] == launcher.process.pid
    assert requests.get(f"{stack['app_url']}/readyz", timeout=60).status_code == 200

    sign_up(stack)
    joined = subprocess.run(
        [PYTHON, "-m", "worker", "set-admin", "susan", "on"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **stack["env"]},
        capture_output=True,
        check=False,
    )
    assert joined.returncode == 0, joined.stderr


@pytest.mark.parametrize("name", ["api", "redis", "workers"])
def test_dead_child_is_replaced(launcher: Launcher, name: str) -> None:
    """A killed child comes back in its old place, that is said, and the file follows."""
    before = launcher.stack
    (pid,) = before["pids"][name] if name == "workers" else [before["pids"][name]]
    os.kill(pid, signal.SIGKILL)

    wait_until(lambda: launcher.stack["pids"] != before["pids"], f"{name} is replaced")
    what = "was killed by SIGKILL; starting it again at once"
    wait_until(lambda: what in launcher.output, "that is said")  # by a thread of its own
    assert {**launcher.stack, "pids": None} == {**before, "pids": None}
    wait_until(lambda: _is_ready(launcher.stack), "ready again")


def _is_ready(stack: Mapping[str, Any]) -> bool:
    try:
        return requests.get(f"{stack['app_url']}/readyz", timeout=60).status_code == 200
    except requests.RequestException:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_everything(launcher: Launcher, number: int) -> None:
    """Ctrl-C and SIGTERM end every child, and the launcher with status 0."""
    family = launcher.family()
    assert launcher.stop(number) == 0
    wait_until(lambda: not any(map(lives, family)), "all have ended", within_s=5)


def test_second_launcher_and_taken_port_are_refused(
    launcher: Launcher, env: dict[str, str], tmp_path: Path
) -> None:
    """A live folder and a taken port are named, with status 1; the first stack lives on."""
    same_folder = Launcher({**env, "PORT": str(free_port())}, tmp_path / "second")
    assert same_folder.process.wait(timeout=60) == 1
    assert env["DATA_DIR"] in same_folder.output
    assert str(launcher.process.pid) in same_folder.output

    same_port = Launcher({**env, "DATA_DIR": str(tmp_path / "other")}, tmp_path / "third")
    assert same_port.process.wait(timeout=60) == 1
    assert f"port {env['PORT']}" in same_port.output
    assert "PORT=" in same_port.output
    assert sign_in(launcher.stack) == 401


@pytest.mark.parametrize("whom", ["launcher", "everything"])
def test_kill_9_loses_nothing(
    launcher: Launcher, env: dict[str, str], tmp_path: Path, whom: str
) -> None:
    """Whatever is killed, no child outlives it by ten seconds, and the next run goes on at once."""
    sign_up(launcher.stack)
    family = launcher.family()
    launcher.process.kill()
    launcher.process.wait()
    if whom == "everything":
        for process in family:
            with suppress(psutil.NoSuchProcess):  # the guard was quicker
                process.kill()
    again = Launcher(env, tmp_path / "again").wait_until_ready()
    left = [process for process in family if lives(process)]
    status = sign_in(again.stack)
    assert again.stop() == 0
    assert (left, status) == ([], 201)


def export(stack: Mapping[str, Any]) -> dict[str, Any]:
    """Ask for an export; return the task as it is when its mail is settled, or when it failed."""
    api = f"{stack['app_url']}/v1"
    token = requests.post(f"{api}/tokens", json=USER, timeout=60).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    task_id = requests.post(f"{api}/exports", headers=headers, timeout=60).json()["id"]
    seen: list[dict[str, Any]] = []

    def settled() -> bool:
        answer = requests.get(f"{api}/tasks/{task_id}", headers=headers, timeout=60)
        seen.append(answer.json())
        mail = (seen[-1]["result"] or {}).get("mail", {}).get("state", "pending")
        return seen[-1]["status"] == "failed" or mail not in {"pending", "sending"}

    wait_until(settled, "the mail")
    return seen[-1]


def test_what_is_given_is_not_started(
    tmp_path: Path, log: Path, redis_url: str, emulator: Emulator
) -> None:
    """What has an address is not embedded; an S3 and SES without bucket and sender gets them."""
    given = environment(
        tmp_path / "data",
        REDIS_URL=redis_url,
        QUEUE_NAME="elsewhere",
        AWS_ENDPOINT_URL=emulator.endpoint_url,
        EXPORT_BUCKET="bucket-of-the-launcher",
        MAIL_SENDER="launcher@example.com",
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        given.pop(name, None)
    launcher = Launcher(given, log).wait_until_ready()
    assert launcher.stack["redis_url"] == redis_url
    assert launcher.stack["queue"] == "elsewhere"
    assert launcher.stack["aws_endpoint_url"] == emulator.endpoint_url
    assert launcher.stack["pids"]["redis"] is None
    sign_up(launcher.stack)
    task = export(launcher.stack)
    assert launcher.stop() == 0
    assert task["result"]["mail"]["state"] == "sent", launcher.output


@pytest.mark.parametrize(
    ("setting", "value", "why"),
    [
        ("LEASE_S", "soon", "LEASE_S: expected a whole number"),
        ("DATABASE_URL", "sqlite:////nowhere/at/all.db", "unable to open database"),
        ("EXPORT_BUCKET", "x", "EXPORT_BUCKET"),
        ("MAIL_SENDER", "carryout", "MAIL_SENDER"),
    ],
)
def test_failed_start_says_why(
    tmp_path: Path, log: Path, setting: str, value: str, why: str
) -> None:
    """What cannot start ends with status 1, the reason, and nothing left running."""
    launcher = Launcher(environment(tmp_path / "data", **{setting: value}), log)
    assert launcher.process.wait(timeout=90) == 1
    assert why in launcher.output
    assert "ready" not in launcher.output


def test_demo(tmp_path: Path) -> None:
    """The demo shows the whole job, and the command that it prints at the end works."""
    demo = subprocess.run(
        [PYTHON, "-m", "infra.local", "demo"],
        cwd=ROOT,
        env={**environment(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    for shown in ("succeeded 100 %", "| From:", "| To:", "| Subject:", "attached: posts.json, "):
        assert shown in demo.stdout
    command = re.search(r"verify it +(.+)", demo.stdout)
    assert command
    verify = subprocess.run(
        shlex.split(command[1]), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert verify.returncode == 0, verify.stderr
    assert "3,000" in verify.stdout or "3000" in verify.stdout
    assert not list(tmp_path.glob("carryout-demo-*"))
