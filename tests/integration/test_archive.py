"""The archive: what is in it, and the same bytes wherever it was killed; on both databases."""

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.db.engine import Database
from chalicelib.wiring import Wiring
from tests.conftest import both_databases
from tests.harness.ledgers import START, lapse, launch, make_user, the_export, the_task, write_posts
from tests.harness.small_parts import Killed, small_wiring, storage_of
from worker.attempts import perform
from worker.export.archive import archive, packing

pytestmark = both_databases

EVERYTHING = ["json", "ndjson", "csv", "activitystreams"]


@pytest.fixture
def wired(database: Database, monkeypatch: pytest.MonkeyPatch) -> Wiring:
    """Parts of 1,200 bytes, small pages, pieces of a few blocks."""
    monkeypatch.setattr(archive, "PIECES_PER_SIZE", 3)
    monkeypatch.setattr(packing, "AHEAD", 3)
    return small_wiring(database, monkeypatch, part_bytes=1200, page_bytes=900)


@pytest.fixture
def user_id(database: Database) -> int:
    """Somebody with a hundred posts of any size, a day between each two."""
    user_id = make_user(database)
    for number in range(100):
        text = f'{number}: ünï \u2028 \U0001f600 \\ " \x07\n\n=1+1' + "x" * (number**2 % 150)
        write_posts(database, user_id, [text], at=START + timedelta(days=number))
    write_posts(database, make_user(database, "david"), ["not hers"])
    return user_id


def request(wired: Wiring, user_id: int, **params: Any) -> str:
    """An archive of posts, which are the same for every task of an account."""
    given = {"datasets": ["posts"]} | params
    return launch(wired.database, user_id, "export_archive", **given)


def published(wired: Wiring, task_id: str) -> bytes:
    """The file of a task that succeeded; what the ledger says of it must be true."""
    task, export = the_task(wired.database, task_id), the_export(wired.database, task_id)
    assert (task.status, task.percent) == ("succeeded", 100)
    data = storage_of(wired).objects[export.object_key or ""]
    assert export.sha256 == hashlib.sha256(data).hexdigest()
    assert export.size_bytes == len(data)
    assert task.total == sum((export.rows or {}).values())
    return data


def opened(data: bytes) -> zipfile.ZipFile:
    """The archive as others read it; its manifest must be true of every member."""
    found = zipfile.ZipFile(io.BytesIO(data))
    assert found.testzip() is None
    manifest = json.loads(found.read("manifest.json"))
    assert [one["path"] for one in manifest["members"]] == found.namelist()[:-1]
    for one in manifest["members"]:
        content = io.BytesIO(found.read(one["path"]))
        for size, digest in one["pieces"]:
            assert hashlib.sha256(content.read(size)).hexdigest() == digest
        assert one["bytes"] == content.tell() == len(content.getvalue())
    return found


def test_what_is_in_it(wired: Wiring, user_id: int) -> None:
    """Every format has every post, and the JSON is what an export of posts writes."""
    task_id = request(wired, user_id, formats=EVERYTHING, viewer=False)
    perform(task_id, wired)
    found = opened(published(wired, task_id))
    assert found.namelist() == [
        "README.txt",
        "data/posts.json",
        "data/posts.ndjson",
        "spreadsheets/posts.csv",
        "activitypub/outbox.json",
        "activitypub/actor.json",
        "manifest.json",
    ]
    posts = json.loads(found.read("data/posts.json"))["posts"]
    assert len(posts) == 100
    lines = found.read("data/posts.ndjson").decode().split("\n")
    assert [json.loads(line) for line in lines[:-1]] == posts
    table = csv.reader(io.StringIO(found.read("spreadsheets/posts.csv").decode(), newline=""))
    header, *rows = table
    assert header == ["body", "timestamp"]
    assert [dict(zip(header, row, strict=True)) for row in rows] == posts
    outbox = json.loads(found.read("activitypub/outbox.json"))
    notes = [one["object"] for one in outbox["orderedItems"]]
    assert [one["source"]["content"] for one in notes] == [post["body"] for post in posts]
    assert outbox["totalItems"] == 100
    assert the_export(wired.database, task_id).rows == {"posts": 100}


@pytest.mark.parametrize("count", [0, 1, 7, 8])
def test_small(wired: Wiring, count: int) -> None:
    """An empty account and small ones: whole archives, and posts.json as it always is."""
    user_id = make_user(wired.database)
    write_posts(wired.database, user_id, ["x"] * count)
    task_id = request(wired, user_id, formats=EVERYTHING)
    perform(task_id, wired)
    found = opened(published(wired, task_id))
    started_at = the_task(wired.database, task_id).started_at
    assert started_at is not None
    assert json.loads(found.read("data/posts.json"))["count"] == count
    assert found.getinfo("README.txt").date_time[:3] == started_at.timetuple()[:3]


def test_posts_as_alone(wired: Wiring, user_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """`data/posts.json` is byte for byte what an export of posts begun at that moment writes."""
    at = datetime.now(UTC)
    monkeypatch.setattr(type(wired), "now", lambda _self: at)
    alone, together = launch(wired.database, user_id), request(wired, user_id)
    perform(alone, wired)
    perform(together, wired)
    document = storage_of(wired).objects[the_export(wired.database, alone).object_key or ""]
    assert opened(published(wired, together)).read("data/posts.json") == document


def kill_at(step: int) -> tuple[Callable[[str], None], list[str]]:
    """A hook that kills at the n-th of the writing operations, and what they were."""
    steps: list[str] = []

    def hook(operation: str) -> None:
        if operation in {"put", "begin", "upload", "complete"}:
            steps.append(operation)
            if len(steps) == step:
                raise Killed

    return hook, steps


def go_on(wired: Wiring, task_id: str) -> None:
    """What happens after a worker died: the lease ends, a sweep finds out, another one works."""
    lapse(wired.database, task_id)
    assert wired.reconciler.sweep(now=wired.now())["recovered"] == 1
    lapse(wired.database, task_id)
    perform(task_id, wired)


def contents(data: bytes) -> tuple[bytes, Any]:
    """All bytes up to the manifest; then what that says, but for the name of the task."""
    found = opened(data)
    manifest = json.loads(found.read("manifest.json"))
    del manifest["task_id"]
    return data[: found.getinfo("manifest.json").header_offset], manifest


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_anywhere(
    wired: Wiring, user_id: int, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at operations all over the upload, it is what an undisturbed run writes."""
    at, store = datetime.now(UTC), storage_of(wired)
    monkeypatch.setattr(type(wired), "now", lambda _self: at)
    undisturbed = request(wired, user_id, formats=EVERYTHING)
    store.before, steps = kill_at(0)
    perform(undisturbed, wired)
    expected = contents(published(wired, undisturbed))
    assert len(steps) > 10
    for step in [1, 2, *range(3, len(steps), 4), len(steps)]:
        hook, _ = kill_at(step)
        store.before, store.after = (lambda _: None, hook) if after else (hook, lambda _: None)
        task_id = request(wired, user_id, formats=EVERYTHING)
        with pytest.raises(Killed):
            perform(task_id, wired)
        store.before = store.after = lambda _: None
        go_on(wired, task_id)
        assert contents(published(wired, task_id)) == expected, step
