import os
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import sqlalchemy as sa

from infra.local.plan import KNOWN
from infra.local.stack import free_port
from tests.harness.people import PASSWORD
from tests.harness.processes import LAUNCHER, ROOT, WORKER, ended, family, kill, output
from tests.harness.servers import Aws
from tests.harness.stacks import Stack, running
from tests.harness.waiting import wait_until


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """A stack that is ready, stopped at the end, in a folder whose name means a lot to URLs."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    data = tmp_path / "data %41?#"
    data.mkdir(mode=0o755)
    (data / "carryout.db").touch(mode=0o644)
    stack = Stack(data, PORT=str(free_port())).ready()
    yield stack
    stack.stop()


def sign_in(stack: Stack) -> int:
    """Ask for a token of susan's; return the status."""
    body = {"username": "susan", "password": PASSWORD}
    return requests.post(f"{stack.app_url}/v1/tokens", json=body, timeout=60).status_code


def test_stack_file_says_how_to_join(stack: Stack) -> None:
    """The file holds all that is promised, and its `env` is all that a process needs."""
    facts = stack.facts
    assert stack.log.count(f"ready {stack.app_url}/\n") == 1
    assert "status=503" not in stack.log  # that it is not ready while it starts is no news
    assert set(facts) == {
        "app_url", "redis_url", "database_url", "aws_endpoint_url", "bucket", "queue",
        "mail_dir", "env", "pids",
    }  # fmt: skip
    assert sa.make_url(facts["database_url"]).database == str(stack.folder / "carryout.db")
    assert facts["mail_dir"] == str(stack.folder / "mail")
    assert (stack.folder / "carryout.db").exists()
    assert facts["pids"]["launcher"] == stack.process.pid
    assert stack.is_ready()
    stack.join("susan")
    output(*WORKER, "set-admin", "susan", "on", env={"PATH": os.environ["PATH"], **facts["env"]})


def test_what_it_keeps_is_private(stack: Stack) -> None:
    """Nobody else on the machine reads the ledger, also where the folder was there and open."""
    stack.join("susan")
    assert stack.folder.stat().st_mode & 0o777 == 0o755
    found = [path for path in stack.folder.rglob("*") if path.name != "lock"]
    assert stack.folder / "carryout.db" in found
    assert [path for path in found if path.stat().st_mode & 0o077] == []


@pytest.mark.parametrize("name", ["api", "redis", "workers"])
def test_dead_child_is_replaced(stack: Stack, name: str) -> None:
    """A killed child comes back in its old place, that is said, and the file follows."""
    before = stack.facts
    (pid,) = before["pids"][name] if name == "workers" else [before["pids"][name]]
    os.kill(pid, signal.SIGKILL)

    wait_until(lambda: stack.facts["pids"] != before["pids"], f"{name} is replaced")
    what = "was killed by SIGKILL; starting it again at once"
    wait_until(lambda: what in stack.log, "that is said")  # by a thread of its own
    assert {**stack.facts, "pids": None} == {**before, "pids": None}
    wait_until(stack.is_ready, "ready again")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_everything(stack: Stack, number: int) -> None:
    """Ctrl-C and SIGTERM, come once or twice, end all and leave nothing: status 0."""
    _, *children = family(stack.process)
    os.kill(stack.process.pid, number)
    assert stack.stop(number) == 0
    wait_until(lambda: all(map(ended, children)), "all have ended", within_s=5)
    assert list(Path(os.environ["TMPDIR"]).iterdir()) == []


def test_second_launcher_and_taken_port_are_refused(stack: Stack, tmp_path: Path) -> None:
    """A live folder and a taken port are named, with status 1; the first stack lives on."""
    second = Stack(stack.folder)
    assert second.process.wait(timeout=60) == 1
    assert f"{stack.folder} is in use by another stack (process {stack.process.pid})" in second.log
    port = stack.app_url.rpartition(":")[2]
    third = Stack(tmp_path / "other", PORT=port)
    assert third.process.wait(timeout=60) == 1
    assert f"port {port}" in third.log
    assert "PORT=" in third.log
    assert sign_in(stack) == 401


@pytest.mark.parametrize("whom", ["launcher", "everything"])
def test_kill_9_loses_nothing(stack: Stack, whom: str) -> None:
    """Whatever is killed, no child outlives it by ten seconds, and the next run goes on at once."""
    stack.join("susan")
    everything = family(stack.process)
    kill(everything[:1] if whom == "launcher" else everything)
    stack.process.wait()
    with running(stack.folder) as again:
        wait_until(lambda: all(map(ended, everything)), "nobody is left", within_s=10)
        assert sign_in(again) == 201


def test_what_is_given_is_not_started(tmp_path: Path, redis_url: str, aws: Aws) -> None:
    """What has an address is not embedded; an S3 and SES without bucket and sender gets them."""
    given = {
        "REDIS_URL": redis_url,
        "QUEUE_NAME": "elsewhere",
        "AWS_ENDPOINT_URL": aws.url,
        "EXPORT_BUCKET": "bucket-of-the-launcher",
        "MAIL_SENDER": "launcher@example.com",
        "AWS_ACCESS_KEY_ID": "",
        "AWS_SECRET_ACCESS_KEY": "",
    }
    with running(tmp_path / "data", **given) as stack:
        facts = stack.facts
        assert (facts["redis_url"], facts["queue"]) == (redis_url, "elsewhere")
        assert (facts["aws_endpoint_url"], facts["pids"]["redis"]) == (aws.url, None)
        susan = stack.join("susan")
        susan.wait_until_emailed(susan.request())


@pytest.mark.parametrize(
    ("setting", "value", "why"),
    [
        ("LEASE_S", "soon", "LEASE_S: expected a whole number"),
        ("DATABASE_URL", "sqlite:////nowhere/at/all.db", "unable to open database"),
        ("EXPORT_BUCKET", "x", "EXPORT_BUCKET"),
        ("MAIL_SENDER", "carryout", "MAIL_SENDER"),
    ],
)
def test_failed_start_says_why(tmp_path: Path, setting: str, value: str, why: str) -> None:
    """What cannot start ends with status 1, the reason, and nothing left running."""
    stack = Stack(tmp_path / "data", **{setting: value})
    assert stack.process.wait(timeout=90) == 1
    assert why in stack.log
    assert "ready" not in stack.log


def as_number(text: str) -> int:
    """A number with its thousands apart."""
    return int(text.replace(",", ""))


def test_demo(tmp_path: Path) -> None:
    """The demo shows the whole job and a kill in the middle; what it prints at the end works."""
    clean = {name: value for name, value in os.environ.items() if name not in KNOWN}
    demo = output(*LAUNCHER, "demo", env={**clean, "TMPDIR": str(tmp_path)})
    for shown in ("succeeded 100 %", "| From:", "| To:", "| Subject:", "attached: posts.json, "):
        assert shown in demo
    assert "imported 3,000 of 3,000 posts" in demo
    killed = re.search(r"killed \(kill -9\) at (\d+) %: ([\d,]+) of 200,000 posts", demo)
    resumed = re.search(r"attempt 2 goes on from ([\d,]+) posts after", demo)
    assert killed
    assert resumed
    assert 0 < as_number(killed[2]) <= as_number(resumed[1]) < 200_000
    archive = re.search(r"the archive +(\S+index\.html)", demo)
    assert archive
    assert (ROOT / archive[1]).is_file()
    command = re.search(r"verify it +(.+)", demo)
    assert command
    assert "3000" in output(*shlex.split(command[1]))
    assert list(tmp_path.iterdir()) == []
