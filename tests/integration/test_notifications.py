from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Timer
from time import monotonic
from uuid import uuid4

import pytest

from chalicelib.db.engine import Database
from chalicelib.db.models import Task
from chalicelib.tasks import notifications
from chalicelib.tasks.notifications import post_task_progress, raising
from chalicelib.values.fields import parse_time
from tests.conftest import both_databases
from tests.harness import ledgers
from tests.harness.people import Person, pointers, refused

EXAMPLE = {"name": "example", "params": {"seconds": 23}}
WRITERS, EACH = 6, 15


@both_databases
def test_newest_of_each_task(susan: Person, david: Person, database: Database) -> None:
    """A client gets what is new after a number: of each task the newest, of nobody else's any."""
    david.post("/v1/exports", {})
    first = susan.post("/v1/exports", {}).json_body["id"]
    second = susan.post("/v1/tasks", EXAMPLE).json_body["id"]
    ledgers.claim(database, first).report(1, 4, now=ledgers.now())
    news = susan.get("/v1/notifications").json_body
    assert set(news) == {"items", "last_seq"}
    assert [item["data"]["task_id"] for item in news["items"]] == [second, first]
    newest = news["items"][-1]
    assert newest["seq"] == news["last_seq"]
    assert newest["name"] == "task_progress"
    assert parse_time(newest["timestamp"])
    assert (
        newest["data"].items()
        >= {
            "task_id": first,
            "name": "export_posts",
            "status": "running",
            "progress": {"percent": 25, "done": 1, "total": 4},
        }.items()
    )

    nothing = susan.get(f"/v1/notifications?after={news['last_seq']}").json_body
    assert nothing == {"items": [], "last_seq": news["last_seq"]}
    susan.post(f"/v1/tasks/{second}/cancel")
    after = susan.get(f"/v1/notifications?after={news['last_seq']}").json_body
    assert [item["data"]["status"] for item in after["items"]] == ["cancelled"]


def test_wait_returns_early_or_empty(susan: Person, database: Database) -> None:
    """A held answer comes with the news, or with nothing when the time is over."""
    task_id = susan.post("/v1/exports", {}).json_body["id"]
    last_seq = susan.get("/v1/notifications").json_body["last_seq"]
    started = monotonic()
    empty = susan.get(f"/v1/notifications?after={last_seq}&wait=0.3").json_body
    assert empty == {"items": [], "last_seq": last_seq}
    assert 0.3 <= monotonic() - started < 15
    timer = Timer(0.2, ledgers.fail, [database, task_id])
    timer.start()
    news = susan.get(f"/v1/notifications?after={last_seq}&wait=20").json_body
    timer.join()
    assert news["last_seq"] > last_seq
    assert news["items"]
    assert monotonic() - started < 15


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("after=-1", "?after"),
        ("after=x", "?after"),
        ("after=1.5", "?after"),
        (f"after={2**63}", "?after"),
        ("wait=21", "?wait"),
        ("wait=-1", "?wait"),
        ("wait=nan", "?wait"),
    ],
)
def test_query_invalid(susan: Person, query: str, pointer: str) -> None:
    """Numbers that are none are refused."""
    problem = refused(susan.get(f"/v1/notifications?{query}"), 422, "invalid")
    assert pointers(problem) == {pointer}


@both_databases
def test_largest_number(susan: Person) -> None:
    """A number of 64 bits can be asked for; there is just nothing after it."""
    news = susan.get(f"/v1/notifications?after={2**63 - 1}").json_body
    assert news == {"items": [], "last_seq": 0}


def write(database: Database, user_id: int) -> list[int]:
    """Write notifications about tasks that never were; return their numbers."""
    numbers = []
    for _ in range(EACH):
        task = Task(id=str(uuid4()), user_id=user_id, name="x", status="queued")
        with database.write() as session:
            seq = session.scalar(raising(), {"of": user_id})
            assert seq is not None
            post_task_progress(session, task, seq=seq, now=ledgers.now())
            numbers.append(seq)
    return numbers


def follow(database: Database, user_id: int) -> Iterator[int]:
    """Read as a client does that remembers the last number, until all were written."""
    last, deadline = 0, monotonic() + 120
    while last < WRITERS * EACH and monotonic() < deadline:
        with database.read() as session:
            found, known = notifications.since(session, user_id, after=last)
        seqs = [one.seq for one in found]
        assert seqs == sorted(seqs)
        assert known == (seqs[-1] if seqs else last)
        yield from seqs
        last = seqs[-1] if seqs else last


@both_databases
def test_many_writers_and_a_reader(database: Database) -> None:
    """However many write at once, who remembers the last number misses nothing."""
    user_id = ledgers.make_user(database)
    with ThreadPoolExecutor(WRITERS + 1) as pool:
        reader = pool.submit(lambda: list(follow(database, user_id)))
        writers = [pool.submit(write, database, user_id) for _ in range(WRITERS)]
    written = sorted(seq for writer in writers for seq in writer.result())
    assert reader.result() == written == list(range(1, WRITERS * EACH + 1))
