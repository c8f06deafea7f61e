"""What dies in the midst of an export, and that users hardly notice."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from redis import Redis

from tests.e2e.conftest import Person, Stack, Stopwatch, ended
from tests.servers import wait_until

POSTS = 80_000
"""Enough for an export of several parts, and for a second in which it can be hit."""


@pytest.fixture(scope="module")
def susan(stack: Stack) -> Person:
    """Somebody who wrote a lot."""
    person = Person(stack, "susan")
    person.load(POSTS, body="x" * 250)
    return person


@pytest.fixture
def running(susan: Person) -> Iterator[str]:
    """An export that has written some of its posts; cancelled at the end if it still runs."""
    task_id = susan.request()
    in_the_middle(susan, task_id)
    yield task_id
    susan.ask("POST", f"/v1/tasks/{task_id}/cancel")


def in_the_middle(person: Person, task_id: str) -> None:
    """Wait until an export is on its way; fail when it is over already."""
    task = person.wait(task_id, lambda one: one["progress"]["done"] > 0, "some posts are written")
    assert task["status"] == "running", task


def the_horse(stack: Stack) -> psutil.Process:
    """The process that works."""
    horse = stack.horse()
    assert horse is not None
    return horse


def whole(person: Person, task_id: str) -> Any:
    """Wait for an export and look at its file; return the task."""
    task = person.wait_for(task_id, "succeeded")
    assert json.loads(person.download(task_id))["count"] == POSTS
    assert task["result"]["posts"] == POSTS
    return task


def can_ask_again(person: Person) -> None:
    """Ask for another export, which must be possible, and do without it."""
    task_id = person.request()
    assert person.ask("POST", f"/v1/tasks/{task_id}/cancel").status_code in {200, 202}
    person.wait_for(task_id, "cancelled")


def objects(stack: Stack, prefix: str) -> list[str]:
    """What is in S3 under a prefix, unfinished uploads included."""
    env = stack.facts["env"]
    s3 = boto3.client(
        "s3",
        endpoint_url=stack.facts["aws_endpoint_url"],
        region_name=env["AWS_DEFAULT_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )
    bucket = {"Bucket": stack.facts["bucket"], "Prefix": prefix}
    kept = s3.list_objects_v2(**bucket).get("Contents", [])
    uploads = s3.list_multipart_uploads(**bucket).get("Uploads", [])
    return [one["Key"] for one in [*kept, *uploads]]


def test_worker_and_horse_are_killed(stack: Stack, susan: Person, running: str) -> None:
    """A machine that loses power: after the lease another worker goes on."""
    parent, horse = stack.worker(), the_horse(stack)
    parent.suspend()
    horse.kill()
    parent.kill()
    assert whole(susan, running)["attempt"] == 2
    can_ask_again(susan)


def test_horse_is_killed(stack: Stack, susan: Person, running: str) -> None:
    """A work horse that ran out of memory: its parent notices and the next one goes on."""
    the_horse(stack).kill()
    assert whole(susan, running)["attempt"] == 2


def test_parent_is_killed(stack: Stack, susan: Person, running: str) -> None:
    """An orphaned work horse hands its task back, at no cost of an attempt."""
    horse = the_horse(stack)
    stack.worker().kill()
    wait_until(lambda: ended(horse), "the horse has ended", within_s=10)
    assert whole(susan, running)["attempt"] == 1


def test_worker_is_asked_to_stop(stack: Stack, susan: Person, running: str) -> None:
    """A deploy: the worker exits with 0 within 10 s and its task goes on, no attempt used."""
    worker = stack.worker()
    worker.terminate()
    wait_until(lambda: ended(worker), "the worker has ended", within_s=10)
    wait_until(lambda: "worker-1 ended with status 0" in stack.log, "its status was 0", within_s=5)
    assert whole(susan, running)["attempt"] == 1


def test_cancel(stack: Stack, susan: Person, running: str) -> None:
    """A cancelled export stops within two seconds and leaves nothing in S3."""
    user_id = susan.call("GET", "/v1/me")["id"]
    susan.call("POST", f"/v1/tasks/{running}/cancel", status=202)
    susan.wait_for(running, "cancelled", within_s=2)
    assert susan.ask("GET", f"/v1/exports/{running}/download").status_code == 409
    prefix = f"exports/{user_id}/{running}/"
    wait_until(lambda: not objects(stack, prefix), "nothing is left", within_s=10)
    assert stack.horse() is None or susan.task(running)["status"] == "cancelled"


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_redis_is_down(stack: Stack, how: str) -> None:
    """A request needs no Redis; its export is made and mailed when Redis is back."""
    person = Person(stack, f"redis-{how}")
    redis, workers = psutil.Process(stack.facts["pids"]["redis"]), stack.facts["pids"]["workers"]
    if how == "killed":
        redis.kill()
    else:
        redis.suspend()
    watch = Stopwatch()
    task_id = person.call("POST", "/v1/exports", {}, 202)["id"]
    assert watch.seconds < 3
    if how == "stopped":
        redis.resume()
    person.wait_for(task_id, "succeeded")
    person.wait_for_mail(task_id)
    assert stack.facts["pids"]["workers"] == workers


def test_redis_forgets_everything(stack: Stack) -> None:
    """What Redis forgets is in the ledger: a queued export is rung for again."""
    busy, waiting = Person(stack, "busy"), Person(stack, "waiting")
    long_task = busy.request("example", seconds=600)
    busy.wait_for(long_task, "running")
    workers = stack.facts["pids"]["workers"]
    task_id = waiting.request()
    with Redis.from_url(stack.facts["redis_url"]) as redis:
        redis.flushall()
    assert waiting.task(task_id)["status"] == "queued"
    busy.call("POST", f"/v1/tasks/{long_task}/cancel", status=202)
    waiting.wait_for(task_id, "succeeded")
    assert stack.facts["pids"]["workers"] == workers


def test_account_is_erased(stack: Stack) -> None:
    """Somebody leaves in the midst of an export: nothing of theirs is left anywhere."""
    person = Person(stack, "leaving")
    person.load(POSTS // 2, body="x" * 300)
    task_id = person.request()
    in_the_middle(person, task_id)
    user_id = person.call("GET", "/v1/me")["id"]
    person.call("DELETE", "/v1/me", status=204)
    wait_until(lambda: stack.horse() is None, "the worker has stopped", within_s=10)
    wait_until(lambda: not objects(stack, f"exports/{user_id}/"), "nothing is left", within_s=15)
    assert stack.mails(person.address) == []


def test_the_power_fails(tmp_path: Path) -> None:
    """The power fails in the midst of an export: the next `make run` goes on with it."""
    folder = tmp_path / "power"
    before = Stack(folder)
    person = Person(before, "susan")
    person.load(POSTS, body="x" * 250)
    task_id = person.request()
    person.wait(task_id, lambda one: one["progress"]["done"] > POSTS // 3, "a part is uploaded")
    family = [before.process, *before.process.children(recursive=True)]
    for process in family:
        process.suspend()
    for process in family:
        process.kill()
    before.process.wait()
    after = Stack(folder)
    try:
        person.stack = after
        whole(person, task_id)
        assert len(after.mails(person.address)) == 1
    finally:
        assert after.stop() == 0
