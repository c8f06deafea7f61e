"""What users wrote and what opens doors is planted everywhere, and found nowhere."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from tests.harness.stacks import Stack, running
from tests.harness.uploads import TIME, json_lines, put
from tests.harness.waiting import wait_until

SECRET = uuid4().hex
"""The AWS secret key of the stack."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that logs for machines and holds a secret."""
    settings = {
        "LOG_FORMAT": "json",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "ALLOWED_ORIGINS": "https://app.example",
    }
    with running(tmp_path_factory.mktemp("stack") / "data", **settings) as stack:
        yield stack


def lines(stack: Stack) -> list[dict[str, Any]]:
    """Every JSON line that a child has logged; the launcher put the child's name before it."""
    found = []
    whole, _, _unfinished = stack.log.rpartition("\n")
    for line in whole.splitlines():
        _, _, rest = line.partition("| ")
        if rest.startswith("{"):
            found.append(json.loads(rest))
    return found


class Canaries:
    """Words that are nobody else's, by where they were planted."""

    def __init__(self) -> None:
        self.planted: dict[str, str] = {"the AWS secret": SECRET}

    def plant(self, where: str) -> str:
        return self.planted.setdefault(where, "canary" + uuid4().hex)

    def found_in(self, text: str) -> list[str]:
        return [where for where, word in self.planted.items() if word in text]


def act(stack: Stack, canaries: Canaries) -> tuple[str, str]:
    """Use everything with a canary in each place; return a task's id and all errors' bodies."""
    plant = canaries.plant
    person = stack.join(plant("a username"))  # of which the address is made
    canaries.planted["a token"] = person.token or ""
    person.write(plant("a body"))
    task_id = str(person.call("POST", "/v1/exports", {}, 202)["id"])
    person.wait_for(task_id, "succeeded")
    person.wait_for_email(task_id)
    signed = person.get(f"/v1/exports/{task_id}/download").headers["Location"]
    canaries.planted["a signature"] = signed.partition("X-Amz-Signature=")[2].partition("&")[0]
    new = person.call("POST", "/v1/imports", {"filename": plant("a file's name")}, 201)
    canaries.planted["an upload's signature"] = new["upload"]["url"].partition("Signature=")[2]
    assert put(new["upload"], json_lines([(plant("an imported body"), TIME)])).ok
    imported = person.call("POST", f"/v1/imports/{new['id']}/start", {}, 202)
    person.wait_for(imported["id"], "succeeded")
    person.post("/v1/exports", headers={"Idempotency-Key": plant("an idempotency key")})
    person.post("/v1/password-resets", {"email": person.address})
    url = f"http://127.0.0.1:9/{plant('a receiver')}"  # where nobody listens
    webhook = person.call("POST", "/v1/webhooks", {"url": url}, 201)
    canaries.planted["a webhook's secret"] = webhook["secret"]
    person.call("POST", f"{webhook['links']['self']}/test", {}, 202)
    strange = {
        "Authorization": "Bearer " + plant("a wrong token"),
        "Cookie": "__Host-carryout_session=" + plant("a wrong cookie"),
        "User-Agent": plant("a user agent"),
        "Origin": "https://" + plant("an origin"),
    }
    errors = [
        person.post("/v1/tokens", {"username": "x", "password": plant("a guess")}),
        person.post("/v1/posts", {"body": [plant("a bad body")]}),
        person.post("/v1/users", {"email": plant("a bad address")}),
        person.post("/v1/passwords", {"key": plant("a key"), "password": "x" * 8}),
        person.get(f"/v1/tasks/{plant('a path')}"),
        person.get(f"/v1/tasks?cursor={plant('a query')}"),
        person.get("/v1/me", headers=strange),
        person.post("/v1/posts", b'{"body": "' + plant("broken JSON").encode()),
        person.post("/v1/tasks", {"name": plant("a task's name")}),
    ]
    assert all(400 <= answer.status_code < 500 for answer in errors)
    return task_id, "".join(answer.body.decode() + str(answer.headers) for answer in errors)


def test_no_canary_gets_out(stack: Stack) -> None:
    """No secret, body or address is in a log line, in Redis, in an error or in a metric."""
    canaries = Canaries()
    task_id, errors = act(stack, canaries)
    wait_until(lambda: '"reset"' in stack.log, "the email about the password is on its way")
    # Each process has a pipe of its own to the log: what came before may be written after.
    wait_until(lambda: actions(lines(stack), task_id) >= ACTIONS, "the log tells of the task")
    wait_until(lambda: '"Mails"' in stack.log, "the log tells of emails")
    wait_until(lambda: '"deliver"' in stack.log, "the log tells of deliveries")

    assert canaries.found_in(errors) == []
    assert canaries.found_in(stack.log) == []
    with Redis.from_url(stack.facts["redis_url"]) as redis:
        kept = b"".join(name + (redis.dump(name) or b"") for name in redis.scan_iter())
    assert task_id.encode() in kept
    assert canaries.found_in(kept.decode(errors="replace")) == []
    followed(lines(stack), task_id)
    metrics(lines(stack))


ACTIONS = {"launch", "start", "publish", "succeeded", "send"}


def actions(found: list[dict[str, Any]], task_id: str) -> set[str]:
    """What the log says was done about a task."""
    return {str(one["action"]) for one in found if one.get("task_id") == task_id}


def followed(found: list[dict[str, Any]], task_id: str) -> None:
    """Check that a task is followed from its request through the queue to its email."""
    about = [one for one in found if one.get("task_id") == task_id]
    assert actions(found, task_id) >= ACTIONS
    # The sender may be quicker than the work horse; it knows the task alone.
    told = [one for one in about if one["action"] not in {"request", "send"}]
    (request_id,) = {one["request_id"] for one in told}
    answered = [one for one in found if one.get("request_id") == request_id]
    assert {one.get("route") for one in answered} >= {"/v1/exports"}


def metrics(found: list[dict[str, Any]]) -> None:
    """Check that each metric is there, in the embedded metric format."""
    names = set()
    for one in found:
        if "_aws" not in one:
            continue
        (directive,) = one["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "Carryout"
        assert all(isinstance(one[name], str) for name in directive["Dimensions"][0])
        for metric in directive["Metrics"]:
            assert isinstance(one[metric["Name"]], int | float)
            names.add(metric["Name"])
    assert names == {
        *("Requested", "Started", "Waited", "Ended", "Duration"),
        *("Rows", "Bytes", "Mails"),
    }


def test_nothing_is_on_a_command_line(stack: Stack) -> None:
    """Whoever lists the processes of the machine sees no credentials."""
    pids = stack.facts["pids"]
    everyone = [pids["launcher"], pids["api"], pids["redis"], *pids["workers"]]
    for pid in everyone:
        path = Path(f"/proc/{pid}/cmdline")
        if not path.exists():
            pytest.skip("no /proc on this machine")
        assert SECRET not in path.read_text()
