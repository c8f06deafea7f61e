"""How many files a user keeps: a new one of a kind makes the oldest beyond expire."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from chalicelib.db.models import AuditEntry
from chalicelib.wiring import Wiring
from tests.conftest import Rewire, both_databases
from tests.harness.ledgers import (
    JSON,
    a_file,
    claim,
    launch,
    make_user,
    now,
    the_email,
    the_export,
    the_task,
)
from tests.harness.people import Person
from worker import attempts

pytestmark = both_databases


def publish(wiring: Wiring, user_id: int, name: str = "export_posts", *, kept: int = 2) -> str:
    """Do what an attempt of an export does, at another time than the one before."""
    database = wiring.database
    task_id = launch(database, user_id, name)
    lease = claim(database, task_id)
    file = replace(a_file(the_task(database, task_id), lease.claim), kept=kept)
    wiring.object_store.put(file.key, b"{}", JSON)
    lease.succeed(file, total=2, now=now())
    return task_id


def events(wiring: Wiring, task_id: str) -> list[str]:
    with wiring.database.read() as session:
        mine = AuditEntry.task_id == task_id
        return list(
            session.scalars(sa.select(AuditEntry.event).where(mine).order_by(AuditEntry.id))
        )


def available(wiring: Wiring, ids: list[str]) -> list[bool]:
    return [the_export(wiring.database, one).gone_at is None for one in ids]


def test_the_oldest_expires(wiring: Wiring) -> None:
    """The new file counts, another user's does not; the file goes, and the audit says so."""
    susan, david = make_user(wiring.database), make_user(wiring.database, "david")
    his = publish(wiring, david)
    ids = [publish(wiring, susan) for _ in range(3)]
    assert available(wiring, [his, *ids]) == [True, False, True, True]
    assert events(wiring, ids[0])[-2:] == ["expired", "email_failed"]
    email = the_email(wiring.database, ids[0])
    assert email is not None
    assert email.state == "failed"  # nobody had sent it, and there is nothing left to attach
    keys = [the_export(wiring.database, one).object_key or "" for one in ids]
    wiring.reconciler.sweep(now=now())
    assert [wiring.object_store.size(key) is not None for key in keys] == [False, True, True]


def test_fewer_are_kept_from_now_on(wiring: Wiring) -> None:
    """When the setting is lowered, the next file makes all beyond expire."""
    susan = make_user(wiring.database)
    ids = [publish(wiring, susan, kept=5) for _ in range(4)]
    ids.append(publish(wiring, susan, kept=1))
    assert available(wiring, ids) == [False, False, False, False, True]


def test_watchers_hear_of_it(wiring: Wiring, susan: Person) -> None:
    """The task whose file went has news of its own number, and says that the file is gone."""
    first, *_ = [publish(wiring, susan.user_id, kept=1) for _ in range(2)]
    items = susan.get("/v1/notifications").json_body["items"]
    assert first in {one["data"]["task_id"] for one in items}
    assert len({one["seq"] for one in items}) == len(items)
    shown = susan.get(f"/v1/tasks/{first}").json_body
    assert shown["result"]["available"] is False
    assert susan.get(f"/v1/exports/{first}/download").status_code == 410


def test_the_setting_decides(
    rewire: Rewire, susan: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker keeps as many files as EXPORTS_KEPT says."""
    wiring = rewire(EXPORTS_KEPT="1")
    monkeypatch.setattr(attempts, "process_wiring", lambda: wiring)
    ids: list[str] = []
    for _ in range(2):
        ids.append(susan.post("/v1/exports").json_body["id"])
        attempts.run(ids[-1])
    assert available(wiring, ids) == [False, True]
