"""What is kept about an account, as datasets: all of it, and the same for every attempt."""

import io
import json
import zipfile
from datetime import timedelta
from typing import Any, cast

import pytest
import sqlalchemy as sa

from chalicelib.accounts import accounts
from chalicelib.db.engine import Database
from chalicelib.db.models import NOT_EXPORTED, Base, Notification, OutboxMessage
from chalicelib.exports.archive import FORMATS, archive_kind
from chalicelib.exports.kinds import export_kinds
from chalicelib.outbox import webhooks
from chalicelib.tasks import schedules
from chalicelib.values.fields import format_time
from chalicelib.wiring import Wiring
from tests.conftest import both_databases
from tests.harness.fakes import FakeObjectStore
from tests.harness.ledgers import (
    claim,
    fail,
    lapse,
    launch,
    make_user,
    now,
    put,
    the_export,
    the_task,
    write_posts,
)
from tests.harness.small_parts import Killed, small_wiring
from worker.attempts import perform

PLAN = schedules.Plan(
    name="example", params={"seconds": 1}, rrule="FREQ=DAILY", timezone="Europe/Madrid"
)
NAMES = {one.name for one in archive_kind().datasets}


def test_no_table_is_forgotten() -> None:
    """A table that belongs to a user is a dataset of the archive, or says why it is none."""
    ours: set[str] = {"users"}
    for table in Base.metadata.sorted_tables:
        targets = {key.column.table.name for key in table.foreign_keys}
        if "user_id" in table.columns or targets & ours:
            ours.add(table.name)
    exported = {one.table.name for one in archive_kind().datasets}
    exempt = {name for name in ours if Base.metadata.tables[name].info.get(NOT_EXPORTED)}
    assert ours - exported - exempt == set()
    assert exported & exempt == set()


def test_everything_is_in_the_archive() -> None:
    """What an export of one dataset holds, the archive offers, too."""
    assert {one.name for kind in export_kinds() for one in kind.datasets} == NAMES


@pytest.fixture
def wired(database: Database, monkeypatch: pytest.MonkeyPatch) -> Wiring:
    """Parts and pages of a few rows."""
    return small_wiring(database, monkeypatch, part_bytes=900, page_rows=(3, 5), page_bytes=600)


@pytest.fixture
def user_id(database: Database) -> int:
    """Somebody who has done a little of everything."""
    user_id = make_user(database)
    write_posts(database, user_id, [f"{number} " + "x" * number for number in range(30)])
    for _ in range(8):
        fail(database, launch(database, user_id, "example"))
    with database.write() as session:
        for day in range(5):
            at = now() + timedelta(days=day - 10)
            accounts.issue_token(session, user_id, ttl_s=3600 * 24 * 20, now=at)
        session.execute(sa.update(OutboxMessage).values(state="sent", sent_at=now()))
        webhooks.create_webhook(
            session, user_id, url="https://example.com/", events=webhooks.EVENTS, now=now()
        )
        schedules.create(session, user_id, PLAN)
    return user_id


def published(wired: Wiring, task_id: str) -> bytes:
    assert the_task(wired.database, task_id).status == "succeeded"
    store = cast("FakeObjectStore", wired.object_store)
    return store.objects[the_export(wired.database, task_id).object_key or ""]


def rows_of(data: bytes) -> dict[str, list[Any]]:
    """By dataset, the rows of an archive's JSON."""
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        documents = {
            name.removeprefix("data/").removesuffix(".json"): json.loads(found.read(name))
            for name in found.namelist()
            if name.startswith("data/") and name.endswith(".json")
        }
    assert all(one["count"] == len(one[name]) for name, one in documents.items())
    return {name: one[name] for name, one in documents.items()}


@both_databases
def test_what_they_hold(wired: Wiring, user_id: int) -> None:
    """Rows as people know them; what is not over yet is left out, the archive itself as well."""
    database = wired.database
    unfinished = launch(database, user_id, "example")
    task_id = launch(database, user_id, "export_archive", viewer=False)
    perform(task_id, wired)
    rows = rows_of(published(wired, task_id))
    assert rows.keys() == NAMES
    (profile,) = rows["profile"]
    assert (profile["id"], profile["username"], profile["language"]) == (user_id, "susan", "en")
    assert "password_hash" not in profile
    assert len(rows["tasks"]) == len(rows["notifications"]) == 8
    task = rows["tasks"][0]
    assert (task["name"], task["params"], task["status"]) == ("example", {"seconds": 1}, "failed")
    assert task["error_code"] == "broken"
    ids = {one["id"] for one in rows["tasks"]}
    assert ids.isdisjoint({task_id, unfinished})
    assert {one["data"]["task_id"] for one in rows["notifications"]} == ids
    assert len(rows["sessions"]) == 5
    assert all(one.keys() == {"created_at", "expires_at"} for one in rows["sessions"])
    (webhook,) = rows["webhooks"]
    assert (webhook["url"], webhook["events"]) == ("https://example.com/", [*webhooks.EVENTS])
    assert "secret" not in webhook
    assert rows["emails"] == []  # a task that is no export emails nobody
    events = [(one["event"], one["task_id"]) for one in rows["audit"]]
    assert events[-1] == ("started", task_id)
    assert ("requested", unfinished) in events
    assert the_export(database, task_id).rows == {name: len(one) for name, one in rows.items()}


@both_databases
def test_emails(wired: Wiring, user_id: int) -> None:
    """What was sent, when, and its state; of one that is on its way nothing."""
    first = launch(wired.database, user_id)
    perform(first, wired)
    second = launch(wired.database, user_id, "export_archive", datasets=["emails"], viewer=False)
    with wired.database.write() as session:
        session.add(
            OutboxMessage(
                id="0" * 36, user_id=user_id, topic="reset", payload={}, created_at=now(),
                due_at=now(),
            )
        )  # fmt: skip
    perform(second, wired)
    (email,) = rows_of(published(wired, second))["emails"]
    assert (email["state"], email["task_id"]) == ("sent", first)
    assert email["address"] == "susan@example.com"
    assert email["sent_at"] is not None


@both_databases
def test_a_period(wired: Wiring, user_id: int) -> None:
    """Each dataset by its own time, half open; what has none is there in any case."""
    since = now() - timedelta(days=9, hours=1)
    period = {"from": format_time(since), "to": format_time(since + timedelta(days=3))}
    chosen: dict[str, Any] = {"viewer": False, **period}
    task_id = launch(wired.database, user_id, "export_archive", **chosen)
    perform(task_id, wired)
    rows = rows_of(published(wired, task_id))
    counts = {name: len(found) for name, found in rows.items() if found}
    assert counts == {"profile": 1, "sessions": 3}


@both_databases
@pytest.mark.parametrize("killed_after", [1, 4, 9, 15])
def test_the_same_from_the_beginning(wired: Wiring, user_id: int, killed_after: int) -> None:
    """Killed and resumed, or begun again: with one snapshot the bytes are the same, of everything.

    In between the task has returned, has been announced anew, was finished, and told about.
    """
    store, calls = cast("FakeObjectStore", wired.object_store), list[str]()

    def kill(operation: str) -> None:
        calls.append(operation)
        if len(calls) == killed_after:
            raise Killed

    database = wired.database
    task_id = launch(database, user_id, "export_archive", formats=[*FORMATS])
    store.after = kill
    with pytest.raises(Killed):
        perform(task_id, wired)
    store.after = lambda _operation: None
    lapse(database, task_id)
    assert wired.reconciler.sweep(now=now())["recovered"] == 1
    lapse(database, task_id)
    perform(task_id, wired)
    resumed = published(wired, task_id)
    # As if nothing had been written yet, but with the snapshot and the time of the first attempt.
    put(database, task_id, status="queued", finished_at=None, checkpoint=None, percent=0, done=0)
    lapse(database, task_id)
    perform(task_id, wired)
    assert published(wired, task_id) == resumed
    assert all(rows_of(resumed)[name] for name in NAMES - {"emails"})


@both_databases
def test_numbers_of_news_are_unique(database: Database, user_id: int) -> None:
    """The database itself refuses two notifications of a user with one number."""
    with database.read() as session:
        seq = session.scalar(
            sa.select(sa.func.max(Notification.seq)).where(Notification.user_id == user_id)
        )
    task_id = launch(database, user_id, "example")
    claim(database, task_id)
    with pytest.raises(sa.exc.IntegrityError), database.write() as session:
        session.execute(
            sa.update(Notification).where(Notification.subject == task_id).values(seq=seq)
        )
