"""The export: the same bytes whatever happens on the way; on both databases, S3 in memory."""

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.accounts.accounts import erase
from chalicelib.db.engine import Database
from chalicelib.db.models import Removal, Task
from chalicelib.microblog.datasets import POSTS
from chalicelib.microblog.models import Post
from chalicelib.tasks.requests import cancel_task, retry_task
from chalicelib.values.fields import PostBody, flaw, format_time
from chalicelib.wiring import Wiring
from tests.conftest import both_databases
from tests.harness import documents
from tests.harness.ledgers import START, lapse, launch, make_user, the_export, the_task, write_posts
from tests.harness.small_parts import Killed, small_wiring, storage_of
from tests.harness.waiting import wait_until
from worker.attempts import perform
from worker.export import digest, pages
from worker.export.local import document, write_file
from worker.export.verify import verify

pytestmark = both_databases

PART_BYTES = 2000


@pytest.fixture
def wired(database: Database, monkeypatch: pytest.MonkeyPatch) -> Wiring:
    """Parts of 2,000 bytes and pages of 7 posts."""
    return small_wiring(database, monkeypatch, part_bytes=2000)


@pytest.fixture
def user_id(database: Database) -> int:
    """Somebody with a hundred posts: about five parts."""
    user_id = make_user(database)
    bodies = [f'{number}: ünï \u2028 \U0001f600 \\ " \x07' for number in range(100)]
    write_posts(database, user_id, bodies[:50])
    write_posts(database, user_id, bodies[50:], at=START + timedelta(microseconds=123456))
    return user_id


def export_to(database: Database, user_id: int, out: Path, *, at: datetime) -> int:
    posts = document(database, POSTS, user_id=user_id, now=at)
    return write_file(posts, out, progress=lambda _percent: None)["posts"]


def expected(wired: Wiring, task_id: str) -> bytes:
    """What the file of a task must be."""
    task = the_task(wired.database, task_id)
    assert task.started_at is not None
    return documents.whole("susan", task.started_at, posts_of(wired.database, task))


def posts_of(database: Database, task: Task) -> list[tuple[str, str]]:
    """The posts that a task exports: pairs of body and timestamp, in their order."""
    snapshot = (the_export(database, task.id).snapshot or {})["posts"] or 0
    statement = (
        sa.select(Post.body, Post.timestamp)
        .where(Post.user_id == task.user_id, Post.id <= snapshot)
        .order_by(Post.timestamp, Post.id)
    )
    with database.read() as session:
        return [(body, format_time(at)) for body, at in session.execute(statement)]


def published(wired: Wiring, task_id: str) -> bytes:
    """The file of a task that succeeded; what the ledger says of it must be true."""
    task = the_task(wired.database, task_id)
    assert (task.status, task.percent) == ("succeeded", 100)
    export = the_export(wired.database, task_id)
    data = storage_of(wired).objects[export.object_key or ""]
    assert export.sha256 == hashlib.sha256(data).hexdigest()
    assert export.size_bytes == len(data)
    assert export.rows == {"posts": json.loads(data)["count"]}
    assert verify(BytesIO(data), [POSTS]).faults == ()
    return data


def nothing_left_but(wired: Wiring, task_id: str) -> None:
    """Execute all removals: there must be one object and no upload left."""
    with wired.database.write() as session:
        session.execute(sa.update(Removal).values(due_at=START))
    wired.reconciler.sweep(now=wired.now())
    assert list(storage_of(wired).objects) == [the_export(wired.database, task_id).object_key]
    assert storage_of(wired).uploads == {}


def go_on(wired: Wiring, task_id: str) -> None:
    """What happens after a worker died: the lease ends, a sweep finds out, another one works."""

    def recovered() -> bool:
        lapse(wired.database, task_id)
        return wired.reconciler.sweep(now=wired.now())["recovered"] == 1

    # A worker that sleeps still has a heartbeat, which may come in between.
    wait_until(recovered, "the task is recovered")
    lapse(wired.database, task_id)
    perform(task_id, wired)


def test_one_go(wired: Wiring, user_id: int) -> None:
    """An export in several parts is the document, and its progress never falls."""
    task_id = launch(wired.database, user_id)
    perform(task_id, wired)
    data = published(wired, task_id)
    assert data == expected(wired, task_id)
    assert len(data) > 3 * PART_BYTES
    nothing_left_but(wired, task_id)


@pytest.mark.parametrize("openssl", [True, False], ids=["openssl", "python"])
def test_in_slices(
    wired: Wiring, user_id: int, openssl: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export that makes room after each part has the bytes of one that never did.

    Its digest goes on, too; only where OpenSSL is hidden the file is read back.
    """
    read: list[str] = []
    storage_of(wired).before = read.append
    if not openssl:
        monkeypatch.setattr(digest, "_openssl", lambda: None)
    vars(wired)["settings"] = replace(wired.settings, fair_slice_s=0)
    wired.queue.contended = True  # type: ignore[attr-defined]
    launch(wired.database, make_user(wired.database, "waiting"), "example")
    task_id = launch(wired.database, user_id)
    seen = [0]
    while (outcome := perform(task_id, wired)) == "slice_over":
        seen.append(the_task(wired.database, task_id).percent)
    assert outcome == "succeeded"
    assert len(seen) > 3
    assert seen == sorted(set(seen))
    task = the_task(wired.database, task_id)
    assert (task.claim, task.attempt, task.failures) == (len(seen), 1, 0)
    assert read.count("read") == (1 if openssl else 2)  # the email's attachment, at least
    assert published(wired, task_id) == expected(wired, task_id)
    nothing_left_but(wired, task_id)


@pytest.mark.parametrize("bodies", [[], ["x"], ["x" * 10_000]], ids=["none", "one", "large"])
def test_small(wired: Wiring, bodies: list[str]) -> None:
    """No post, one post, one that fills a part: each is a valid export, uploaded at once.

    Where nothing follows, there is nothing to go on from.
    """
    user_id = make_user(wired.database)
    write_posts(wired.database, user_id, bodies)
    task_id = launch(wired.database, user_id)
    asked: list[str] = []
    storage_of(wired).before = asked.append
    perform(task_id, wired)
    assert asked[0] == "put"
    assert published(wired, task_id) == expected(wired, task_id)
    assert [post["body"] for post in json.loads(published(wired, task_id))["posts"]] == bodies


def test_small_takes_few_steps(wired: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    """The most common export: one look at the posts, one request to S3, and no thread."""
    monkeypatch.setattr(pages, "FIRST_PAGE_ROWS", 2000)
    user_id = make_user(wired.database)
    write_posts(wired.database, user_id, ["x"] * 20)
    task_id = launch(wired.database, user_id)
    looks: list[str] = []
    requests: list[tuple[str, list[str]]] = []

    def look(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        looks.extend([statement] if "FROM posts" in statement else [])

    def ask(operation: str) -> None:
        readers = [one.name for one in threading.enumerate() if one.name.startswith("pages")]
        requests.append((operation, readers))

    sa.event.listen(wired.database.engine, "before_cursor_execute", look)
    storage_of(wired).before = ask
    perform(task_id, wired)
    snapshot, page = looks
    assert ("FROM users" in snapshot, "group_concat" in page or "string_agg" in page) == (
        True,
        True,
    )
    assert published(wired, task_id) == expected(wired, task_id)
    assert requests[0] == ("put", [])


@pytest.mark.parametrize("first_page", [1, 2, 3, 50, 1000])
def test_pages_leave_no_trace(
    wired: Wiring, user_id: int, first_page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of any size give the same bytes."""
    monkeypatch.setattr(pages, "FIRST_PAGE_ROWS", first_page)
    monkeypatch.setattr(pages, "MAX_PAGE_ROWS", first_page)
    task_id = launch(wired.database, user_id)
    perform(task_id, wired)
    monkeypatch.undo()
    assert published(wired, task_id) == expected(wired, task_id)


def kill_at(step: int) -> tuple[Callable[[str], None], list[str]]:
    """A hook that kills at the n-th of the writing operations, and what they were."""
    steps: list[str] = []

    def hook(operation: str) -> None:
        if operation not in {"put", "begin", "upload", "complete"}:
            return
        steps.append(operation)
        if len(steps) == step:
            raise Killed

    return hook, steps


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_each_step(wired: Wiring, user_id: int, *, after: bool) -> None:
    """A worker may die before or after any request to S3: the next one ends with the same bytes."""
    storage, killed = storage_of(wired), 0
    for step in range(1, 20):
        hook, steps = kill_at(step)
        vars(storage)["after" if after else "before"] = hook
        task_id = launch(wired.database, user_id)
        try:
            perform(task_id, wired)
        except Killed:
            killed += 1
            vars(storage)["after" if after else "before"] = lambda _operation: None
            go_on(wired, task_id)
        vars(storage)["after" if after else "before"] = lambda _operation: None
        assert published(wired, task_id) == expected(wired, task_id)
        storage.objects.pop(the_export(wired.database, task_id).object_key or "")
        if len(steps) < step:
            break
    assert steps[0] == "begin"
    assert steps[-1] == "complete"
    assert killed == len(steps) >= 6
    with wired.database.write() as session:
        session.execute(sa.update(Removal).values(due_at=START))
    wired.reconciler.sweep(now=wired.now())
    assert (storage.objects, storage.uploads) == ({}, {})


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_the_only_step(wired: Wiring, *, after: bool) -> None:
    """An export of one part is put in one request; after a crash it is simply done again."""
    user_id = make_user(wired.database)
    write_posts(wired.database, user_id, ["one", "two"])
    task_id = launch(wired.database, user_id)
    storage = storage_of(wired)
    vars(storage)["after" if after else "before"] = kill_at(1)[0]
    with pytest.raises(Killed):
        perform(task_id, wired)
    vars(storage)["after" if after else "before"] = lambda _operation: None
    go_on(wired, task_id)
    assert published(wired, task_id) == expected(wired, task_id)
    nothing_left_but(wired, task_id)


def killed_in_the_middle(wired: Wiring, user_id: int, *, step: int = 4) -> str:
    """A task whose worker died after some parts."""
    task_id = launch(wired.database, user_id)
    storage_of(wired).before = kill_at(step)[0]
    with pytest.raises(Killed):
        perform(task_id, wired)
    storage_of(wired).before = lambda _operation: None
    return task_id


def test_goes_on_where_it_was(wired: Wiring, user_id: int) -> None:
    """The next attempt begins with the first part that is not there yet."""
    task_id = killed_in_the_middle(wired, user_id)
    before = the_task(wired.database, task_id)
    assert before.checkpoint is not None
    assert len(before.checkpoint["parts"]) == 2
    uploads: list[str] = []
    storage_of(wired).before = uploads.append
    go_on(wired, task_id)
    assert "begin" not in uploads
    assert the_task(wired.database, task_id).attempt == 2
    assert the_export(wired.database, task_id).object_key == before.checkpoint["key"]


def test_upload_is_gone(wired: Wiring, user_id: int) -> None:
    """An upload that S3 does not know any more is begun anew; progress does not fall."""
    task_id = killed_in_the_middle(wired, user_id)
    percent = the_task(wired.database, task_id).percent
    assert percent > 0
    storage_of(wired).uploads.clear()
    percents: list[int] = []
    storage_of(wired).before = lambda _: percents.append(the_task(wired.database, task_id).percent)
    go_on(wired, task_id)
    assert published(wired, task_id) == expected(wired, task_id)
    assert percents == sorted(percents)
    assert percents[0] >= percent
    nothing_left_but(wired, task_id)


def test_upload_goes_in_the_middle(wired: Wiring, user_id: int) -> None:
    """An upload may also vanish while an attempt works on it."""
    task_id = launch(wired.database, user_id)
    done: list[str] = []

    def vanish(operation: str) -> None:
        done.append(operation)
        if done.count("upload") == 3 and "vanished" not in done:
            done.append("vanished")
            storage_of(wired).uploads.clear()

    storage_of(wired).before = vanish
    perform(task_id, wired)
    assert "vanished" in done
    assert published(wired, task_id) == expected(wired, task_id)
    nothing_left_but(wired, task_id)


def test_upload_was_completed_by_another(wired: Wiring, user_id: int) -> None:
    """Who was taken for dead in the middle, and wakes up at the end, begins nothing anew."""
    task_id = launch(wired.database, user_id)
    storage = storage_of(wired)
    begun: list[str] = []

    def fall_asleep(operation: str) -> None:
        begun.append(operation)
        if begun.count("upload") == 3:
            storage.before = begun.append
            go_on(wired, task_id)
            begun.clear()

    storage.before = fall_asleep
    perform(task_id, wired)
    assert "begin" not in begun
    assert published(wired, task_id) == expected(wired, task_id)
    nothing_left_but(wired, task_id)


def test_taken_over_after_complete(wired: Wiring, user_id: int) -> None:
    """A worker that died right after completing left a whole object: nothing is uploaded again."""
    task_id = launch(wired.database, user_id)
    storage = storage_of(wired)

    def kill(operation: str) -> None:
        if operation == "complete":
            raise Killed

    storage.after = kill
    with pytest.raises(Killed):
        perform(task_id, wired)
    (left,) = storage.objects.items()
    storage.after = lambda _operation: None
    go_on(wired, task_id)
    assert storage.objects == dict([left])
    assert published(wired, task_id) == expected(wired, task_id)
    nothing_left_but(wired, task_id)


def test_a_part_of_somebody_else(wired: Wiring, user_id: int) -> None:
    """A worker that was taken for dead wrote a part of its own: the upload is begun anew."""
    task_id = killed_in_the_middle(wired, user_id)
    (upload_id,) = storage_of(wired).uploads
    key = (the_task(wired.database, task_id).checkpoint or {})["key"]
    storage_of(wired).upload(key, upload_id, 1, b"-" * PART_BYTES)
    go_on(wired, task_id)
    assert published(wired, task_id) == expected(wired, task_id)
    nothing_left_but(wired, task_id)


def test_posts_of_meanwhile(wired: Wiring, user_id: int) -> None:
    """Between two attempts a post is written and another deleted: neither breaks the file."""
    task_id = killed_in_the_middle(wired, user_id)
    write_posts(wired.database, user_id, ["too late"], at=START - timedelta(days=1))
    with wired.database.write() as session:
        last = sa.select(sa.func.max(Post.id) - 1).where(Post.body != "too late")
        session.execute(sa.delete(Post).where(Post.id == session.scalar(last)))
    go_on(wired, task_id)
    found = json.loads(published(wired, task_id))
    bodies = [int(post["body"].partition(":")[0]) for post in found["posts"]]
    assert bodies == [*range(98), 99]
    assert found["count"] == 99


def test_retried_by_the_user(wired: Wiring, user_id: int) -> None:
    """A task that the user tries again is taken as of its new first attempt."""
    task_id = killed_in_the_middle(wired, user_id)
    with wired.database.write() as session:
        cancel_task(session, task_id, lease_s=30, now=wired.now())
    lapse(wired.database, task_id)
    wired.reconciler.sweep(now=wired.now())
    assert the_task(wired.database, task_id).status == "cancelled"
    write_posts(wired.database, user_id, ["new"], at=datetime(2026, 2, 1, tzinfo=UTC))
    with wired.database.write() as session:
        retry_task(session, task_id, now=wired.now())
    perform(task_id, wired)
    assert published(wired, task_id) == expected(wired, task_id)
    assert json.loads(published(wired, task_id))["posts"][-1]["body"] == "new"
    nothing_left_but(wired, task_id)


def test_account_is_erased_meanwhile(wired: Wiring, user_id: int) -> None:
    """A worker whose user is gone stops, and what it wrote goes."""
    task_id = launch(wired.database, user_id)

    def vanish(operation: str) -> None:
        if operation == "complete":
            with wired.database.write() as session:
                erase(session, user_id, lease_s=30, now=wired.now())

    storage_of(wired).before = vanish
    perform(task_id, wired)
    with wired.database.write() as session:
        assert session.get(Task, task_id) is None
        session.execute(sa.update(Removal).values(due_at=START))
    storage_of(wired).before = lambda _operation: None
    wired.reconciler.sweep(now=wired.now())
    assert (storage_of(wired).objects, storage_of(wired).uploads) == ({}, {})


BODIES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
AWKWARD = st.sampled_from(
    ["\x01", "\\", '"', "\\u0000", "\ufeff", "\u2028", "\U0010ffff", "é", "e\u0301"]
)
TIMES = st.datetimes(timezones=st.just(UTC))


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(BODIES | AWKWARD, TIMES), max_size=20))
def test_whatever_the_api_accepts(
    database: Database, tmp_path: Path, posts: list[tuple[str, datetime]]
) -> None:
    """Bodies come back code point for code point, in the order of time, at any time.

    Both databases write, byte for byte, what orjson would.
    """
    with database.read() as session:
        number = session.scalar(sa.text("SELECT count(*) FROM users"))
    user_id = make_user(database, f"user-{number}")
    for body, at in posts:
        assert flaw(body, PostBody) is None
        write_posts(database, user_id, [body], at=at)
    out = tmp_path / "posts.json"
    export_to(database, user_id, out, at=START)
    found = json.loads(out.read_bytes())["posts"]
    in_order = sorted(posts, key=lambda post: post[1])
    assert [post["body"] for post in found] == [body for body, _ in in_order]
    pairs = [(body, format_time(at)) for body, at in in_order]
    assert out.read_bytes() == documents.whole(f"user-{number}", START, pairs)
    with out.open("rb") as file:
        assert verify(file, [POSTS]).faults == ()


def test_file_is_the_same_document(wired: Wiring, user_id: int, tmp_path: Path) -> None:
    """The engine straight to a file writes what the task writes; nothing else is left there."""
    task_id = launch(wired.database, user_id)
    perform(task_id, wired)
    task = the_task(wired.database, task_id)
    assert task.started_at is not None
    out, percents = tmp_path / "out" / "posts.json", [0]
    out.parent.mkdir()
    out.write_text("an old one")
    posts = document(wired.database, POSTS, user_id=user_id, now=task.started_at)
    rows = write_file(posts, out, progress=percents.append)
    assert (rows, percents[-1]) == ({"posts": 100}, 100)
    assert out.read_bytes() == published(wired, task_id)
    assert list(out.parent.iterdir()) == [out]
