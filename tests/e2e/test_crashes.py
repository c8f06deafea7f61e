"""What dies in the midst of an export, and that users hardly notice."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from redis import Redis

from tests.harness.people import Person, Remote
from tests.harness.processes import ended, family, kill, release, work_horses
from tests.harness.stacks import Stack, running
from tests.harness.waiting import seconds, wait_until

POSTS = 80_000
"""Enough for an export of several parts."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose leases outlive what a busy machine needs to stand still for a moment."""
    with running(tmp_path_factory.mktemp("stack") / "data", LEASE_S="8") as stack:
        yield stack


@pytest.fixture(scope="module")
def susan(stack: Stack) -> Person:
    person = stack.join("susan")
    person.load(POSTS, body="x" * 250)
    return person


@pytest.fixture
def halted(stack: Stack, susan: Person) -> Iterator[tuple[str, psutil.Process]]:
    """An export, and its work horse, which stands still; both end with the test."""
    task_id, horse = begin(stack, susan)
    yield task_id, horse
    release([horse])
    susan.cancel(task_id)


def begin(stack: Stack, person: Person, *, done: int = 1) -> tuple[str, psutil.Process]:
    """Ask for an export and stop its work horse in the middle of it; return both."""
    task_id = person.request()

    def in_the_middle() -> bool:
        task = person.task(task_id)
        assert task["status"] in {"queued", "running"}, task
        return bool(task["progress"]["done"] >= done)

    return task_id, stack.hold_horse("some posts are written", when=in_the_middle)


def whole(person: Person, task_id: str) -> Any:
    """Wait for an export and look at its file; return the task."""
    task = person.wait_for(task_id, "succeeded")
    assert json.loads(person.download(task_id))["count"] == POSTS
    assert task["result"]["posts"] == POSTS
    return task


def can_ask_again(person: Person) -> None:
    """Ask for another export, which must be possible, and do without it."""
    task_id = person.request()
    assert person.cancel(task_id).status_code in {200, 202}
    person.wait_for(task_id, "cancelled")


def objects(stack: Stack, prefix: str) -> list[str]:
    """What is in S3 under a prefix, unfinished uploads included."""
    s3 = boto3.client("s3", endpoint_url=stack.facts["aws_endpoint_url"])
    bucket = {"Bucket": stack.facts["bucket"], "Prefix": prefix}
    kept = s3.list_objects_v2(**bucket).get("Contents", [])
    uploads = s3.list_multipart_uploads(**bucket).get("Uploads", [])
    return [one["Key"] for one in [*kept, *uploads]]


def nothing_is_left(stack: Stack, prefix: str) -> None:
    """Wait until S3 holds nothing under a prefix."""
    wait_until(lambda: not objects(stack, prefix), "nothing is left")


def test_worker_and_horse_are_killed(
    stack: Stack, susan: Person, halted: tuple[str, psutil.Process]
) -> None:
    """A machine that loses power: after the lease another worker goes on."""
    (task_id, horse), parent = halted, stack.worker()
    parent.suspend()
    horse.kill()
    parent.kill()
    assert whole(susan, task_id)["attempt"] == 2
    can_ask_again(susan)


def test_horse_is_killed(susan: Person, halted: tuple[str, psutil.Process]) -> None:
    """A work horse that ran out of memory: its parent notices and the next one goes on."""
    task_id, horse = halted
    horse.kill()
    assert whole(susan, task_id)["attempt"] == 2


def test_parent_is_killed(stack: Stack, susan: Person, halted: tuple[str, psutil.Process]) -> None:
    """An orphaned work horse hands its task back, at no cost of an attempt."""
    (task_id, horse), parent = halted, stack.worker()
    horse.resume()  # one that stands still when its parent dies is hung up on by the kernel
    parent.kill()
    wait_until(lambda: ended(horse), "the horse has ended", within_s=10)
    assert whole(susan, task_id)["attempt"] == 1


def test_worker_is_asked_to_stop(
    stack: Stack, susan: Person, halted: tuple[str, psutil.Process]
) -> None:
    """A deploy: the worker exits with 0 within 10 s and its task goes on, no attempt used."""
    (task_id, horse), worker = halted, stack.worker()
    worker.terminate()
    horse.resume()
    wait_until(lambda: ended(worker), "the worker has ended", within_s=10)
    wait_until(lambda: "worker-1 ended with status 0" in stack.log, "its status was 0")
    assert whole(susan, task_id)["attempt"] == 1


def test_cancel(stack: Stack, susan: Person) -> None:
    """A cancelled export stops within two seconds and leaves nothing in S3."""

    def cancelled() -> None:
        assert susan.cancel(task_id).status_code == 202
        horse.resume()
        susan.wait_for(task_id, "cancelled")

    took_s: list[float] = []
    while len(took_s) < 3 and min(took_s, default=3) > 2:  # a machine may stand still, not always
        task_id, horse = begin(stack, susan)
        took_s.append(seconds(cancelled))
        assert susan.get(f"/v1/exports/{task_id}/download").status_code == 409
        nothing_is_left(stack, f"exports/{susan.user_id}/{task_id}/")
    assert min(took_s) <= 2


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_redis_is_down(stack: Stack, how: str) -> None:
    """A request needs no Redis; its export is made and emailed when Redis is back."""
    people = [stack.join(f"redis-{how}-{number}") for number in range(3)]
    redis, workers = psutil.Process(stack.facts["pids"]["redis"]), stack.facts["pids"]["workers"]
    if how == "killed":
        redis.kill()
    else:
        redis.suspend()
    tasks, took_s = [], []
    for person in people:  # of which one has to be answered at once, on whatever machine
        began = time.monotonic()
        tasks.append(person.request())
        took_s.append(time.monotonic() - began)
    assert min(took_s) < 3
    if how == "stopped":
        redis.resume()
    for person, task_id in zip(people, tasks, strict=True):
        person.wait_for(task_id, "succeeded")
        person.wait_for_email(task_id)
    assert stack.facts["pids"]["workers"] == workers


def test_redis_forgets_everything(stack: Stack) -> None:
    """What Redis forgets is in the ledger: a queued export is enqueued again."""
    busy, waiting = stack.join("busy"), stack.join("waiting")
    long_task = busy.request("example", seconds=60)
    busy.wait_for(long_task, "running")
    workers = stack.facts["pids"]["workers"]
    task_id = waiting.request()
    with Redis.from_url(stack.facts["redis_url"]) as redis:
        redis.flushall()
    assert waiting.task(task_id)["status"] == "queued"
    assert busy.cancel(long_task).status_code == 202
    waiting.wait_for(task_id, "succeeded")
    assert stack.facts["pids"]["workers"] == workers


def test_account_is_erased(stack: Stack) -> None:
    """Somebody leaves in the midst of an export: nothing of theirs is left anywhere."""
    person = stack.join("leaving")
    person.load(POSTS, body="x" * 300)
    _, horse = begin(stack, person)
    person.call("DELETE", "/v1/me", status=204)
    horse.resume()
    wait_until(lambda: not work_horses(stack.worker()), "the worker has stopped")
    nothing_is_left(stack, f"exports/{person.user_id}/")
    assert stack.emails(person.address) == []


def test_the_power_fails(tmp_path: Path) -> None:
    """The power fails in the midst of an export: the next `make run` goes on with it."""
    before = Stack(tmp_path / "power").ready()
    person = before.join("susan")
    person.load(POSTS, body="x" * 250)
    task_id, _ = begin(before, person, done=POSTS // 3)
    everything = family(before.process)
    for process in everything:
        process.suspend()
    kill(everything)
    before.process.wait()
    with running(tmp_path / "power") as after:
        person = replace(person, client=Remote(after.app_url))
        whole(person, task_id)
        person.wait_for_email(task_id)
