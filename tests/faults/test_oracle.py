"""The oracle finds what it is there to find."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from chalicelib.db.models import AuditEntry, Notification, Removal
from chalicelib.wiring import Wiring
from tests.faults.oracle import Expected, settle, unknown_mails, violations
from tests.faults.world import attempt
from tests.harness.ledgers import launch, make_user, now, put, the_task
from tests.harness.writers import write_posts

STAMP = "2026-01-02T03:04:05Z"
BODIES = ("first", "second \u2028")

Tamper = Callable[[Wiring, str, Path], object]


def insert(wiring: Wiring, row: object) -> None:
    """Add a row behind the ledger's back."""
    with wiring.database.write() as session:
        session.add(row)


def rewrite(wiring: Wiring, task_id: str) -> None:
    """Replace the published file by one that holds less, and have the ledger agree."""
    key = the_task(wiring.database, task_id).object_key
    assert key is not None
    wiring.storage.put(key, b"{}")


def mail_twice(_wiring: Wiring, _task_id: str, mail_dir: Path) -> None:
    """Deliver the mail once more."""
    (mail,) = mail_dir.glob("*.eml")
    shutil.copy(mail, mail.with_name("1-another.eml"))


def lose(mail_dir: Path) -> None:
    """Lose the mail."""
    for mail in mail_dir.glob("*.eml"):
        mail.unlink()


def misinform(wiring: Wiring, _task_id: str, _mail_dir: Path) -> None:
    """Have the notification tell something else."""
    with wiring.database.write() as session:
        session.execute(sa.update(Notification).values(data={"status": "failed"}))


def request_again(wiring: Wiring, task_id: str, _mail_dir: Path) -> None:
    """Have the audit know of a request without an ending."""
    user_id = the_task(wiring.database, task_id).user_id
    entry = AuditEntry(at=now(), event="requested", user_id=user_id, task_id=task_id)
    insert(wiring, entry)


TAMPERINGS: dict[str, Tamper] = {
    "SHA-256": lambda wiring, task_id, _: put(wiring.database, task_id, sha256="0" * 64),
    "the ledger counts": lambda wiring, task_id, _: put(wiring.database, task_id, done=1),
    "is succeeded at 99 %": lambda wiring, task_id, _: put(wiring.database, task_id, percent=99),
    "with the error": lambda wiring, task_id, _: put(wiring.database, task_id, error_code="x"),
    "ended as failed": lambda wiring, task_id, _: put(wiring.database, task_id, status="failed"),
    "is running": lambda wiring, task_id, _: put(wiring.database, task_id, status="running"),
    "was claimed": lambda wiring, task_id, _: put(wiring.database, task_id, claim=2),
    "is missing": lambda wiring, _task_id, __: wiring.storage.clear("exports/", keep=set),
    "not the 2 that it must": lambda wiring, task_id, _: rewrite(wiring, task_id),
    "byte for byte": lambda wiring, task_id, _: put(wiring.database, task_id, started_at=now()),
    "does not know the object": lambda wiring, _task_id, __: wiring.storage.put("exports/x", b""),
    "unfinished upload": lambda wiring, _task_id, __: wiring.storage.begin("exports/x"),
    "2 mails": mail_twice,
    "no mail about": lambda _wiring, _task_id, folder: lose(folder),
    "not that of the ledger": lambda wiring, task_id, _: put(
        wiring.database, task_id, mail_message_id="x"
    ),
    "called failed": lambda wiring, task_id, _: put(wiring.database, task_id, mail_state="failed"),
    "its notification says": misinform,
    "no ending in the audit": request_again,
    "to be removed": lambda wiring, _task_id, __: insert(
        wiring, Removal(prefix="exports/1/", due_at=now())
    ),
    "Redis still holds": lambda wiring, _task_id, __: wiring.queue.redis.set("rq:wip:x", "1"),
    "Redis holds rq:job:x": lambda wiring, _task_id, __: wiring.queue.redis.set("rq:job:x", "1"),
}
"""What is done after all went well, by what the oracle says to it."""


@pytest.fixture
def task_id(wiring: Wiring, mail_dir: Path) -> str:
    """An export that went well, from the bell to the mail."""
    assert mail_dir
    user_id = make_user(wiring.database)
    write_posts(wiring.database, user_id, BODIES)
    task_id = launch(wiring.database, user_id)
    settle(wiring, lambda one: attempt(one, wiring), within_s=90)
    return task_id


def expected(wiring: Wiring, task_id: str) -> dict[str, Expected]:
    """What it must have come to."""
    user_id = the_task(wiring.database, task_id).user_id
    posts = [(body, STAMP) for body in BODIES]
    return {task_id: Expected(user_id=user_id, username="susan", must=posts)}


def test_all_is_well(wiring: Wiring, task_id: str, mail_dir: Path) -> None:
    """A clean run has nothing to be told of."""
    accepted = expected(wiring, task_id)
    samples = [(task_id, 0), (task_id, 50), (task_id, 100)]
    assert not violations(wiring, mail_dir, accepted=accepted, samples=samples)
    assert not unknown_mails(wiring)


@pytest.mark.parametrize("said", TAMPERINGS)
def test_tampering_is_found(wiring: Wiring, task_id: str, mail_dir: Path, said: str) -> None:
    """Whatever is not as it must be is said."""
    accepted = expected(wiring, task_id)
    TAMPERINGS[said](wiring, task_id, mail_dir)
    assert said in "\n".join(violations(wiring, mail_dir, accepted=accepted))


def test_what_falls_and_what_is_lost(wiring: Wiring, task_id: str, mail_dir: Path) -> None:
    """A percentage that fell is said, and a promise that the ledger does not know."""
    accepted = expected(wiring, task_id)
    accepted["lost"] = accepted[task_id]
    samples = [(task_id, 50), (task_id, 49)]
    said = violations(wiring, mail_dir, accepted=accepted, samples=samples)
    assert [one.partition(": ")[2] for one in said] == [
        "progress fell from 50 to 49",
        "lost: the ledger does not know it",
    ]


def test_a_mail_of_unknown_fate(wiring: Wiring, task_id: str, mail_dir: Path) -> None:
    """A mail that may have been sent is counted, and no violation."""
    put(wiring.database, task_id, mail_state="unknown", mail_message_id=None)
    assert not violations(wiring, mail_dir, accepted=expected(wiring, task_id))
    assert unknown_mails(wiring) == [task_id]
