"""The oracle finds what it is there to find."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from chalicelib.accounts import link_keys
from chalicelib.db.models import (
    AuditEntry,
    ExportFile,
    Notification,
    OutboxMessage,
    Removal,
    User,
)
from chalicelib.outbox import messages
from chalicelib.wiring import Wiring
from tests.faults.oracle import Expected, Promise, violations
from tests.faults.settling import settle, unknown_emails
from tests.faults.world import attempt, send_all
from tests.harness.ledgers import (
    JSON,
    launch,
    make_user,
    now,
    put,
    put_email,
    the_email,
    the_export,
    the_task,
)
from tests.harness.writers import write_posts

STAMP = "2026-01-02T03:04:05Z"
BODIES = ("first", "second \u2028")
LINK = Promise("reset", "susan@example.com")

Tamper = Callable[[Wiring, str, Path], object]


def insert(wiring: Wiring, row: object) -> None:
    """Add a row behind the ledger's back."""
    with wiring.database.write() as session:
        session.add(row)


def put_export(wiring: Wiring, task_id: str, **values: Any) -> None:
    """Change an export behind the ledger's back."""
    with wiring.database.write() as session:
        statement = sa.update(ExportFile).where(ExportFile.task_id == task_id)
        session.execute(statement.values(**values))


def put_link(wiring: Wiring, **values: Any) -> None:
    """Change the message with a link behind the ledger's back."""
    with wiring.database.write() as session:
        statement = sa.update(OutboxMessage).where(OutboxMessage.task_id.is_(None))
        session.execute(statement.values(**values))


def rewrite(wiring: Wiring, task_id: str) -> None:
    """Replace the published file by one that holds less, and have the ledger agree."""
    key = the_export(wiring.database, task_id).object_key
    assert key is not None
    wiring.object_store.put(key, b"{}", JSON)


def clear(wiring: Wiring) -> None:
    """Lose all objects."""
    wiring.object_store.clear("exports/", needed=lambda: lambda _key: False)


def find(mail_dir: Path, subject: str) -> Path:
    """The one email with this in its subject."""
    (found,) = [path for path in mail_dir.glob("*.eml") if subject in path.read_text()]
    return found


def send_twice(mail_dir: Path) -> None:
    """Deliver the email about the export once more."""
    email = find(mail_dir, "export is ready")
    shutil.copy(email, email.with_name("1-another.eml"))


def tell_twice(wiring: Wiring, task_id: str) -> None:
    """Have another message about the same ending in the outbox."""
    email = the_email(wiring.database, task_id)
    assert email is not None
    with wiring.database.write() as session:
        payload, user_id = dict(email.payload), email.user_id
        again = messages.put(session, user_id, email.topic, payload, now=now(), task_id=task_id)
        session.flush()
        session.execute(
            sa.update(OutboxMessage).where(OutboxMessage.id == again).values(state="failed")
        )


def tell_nobody(wiring: Wiring, task_id: str) -> None:
    """Lose what the outbox holds about a task."""
    with wiring.database.write() as session:
        session.execute(sa.delete(OutboxMessage).where(OutboxMessage.task_id == task_id))


def unconfirm(wiring: Wiring, task_id: str) -> None:
    """Have the email wait for a confirmation that was given."""
    put_email(wiring.database, task_id, state="unconfirmed")


def misinform(wiring: Wiring, _task_id: str, _mail_dir: Path) -> None:
    """Have the notification tell something else."""
    with wiring.database.write() as session:
        session.execute(sa.update(Notification).values(data={"status": "failed"}))


def note(wiring: Wiring, task_id: str, event: str) -> None:
    """Have the audit know of something that did not happen."""
    user_id = the_task(wiring.database, task_id).user_id
    insert(wiring, AuditEntry(at=now(), event=event, user_id=user_id, task_id=task_id))


TAMPERINGS: dict[str, Tamper] = {
    "SHA-256": lambda wiring, task_id, _: put_export(wiring, task_id, sha256="0" * 64),
    "the ledger counts": lambda wiring, task_id, _: put(wiring.database, task_id, done=1),
    "{'posts': 3}": lambda wiring, task_id, _: put_export(wiring, task_id, rows={"posts": 3}),
    "is succeeded at 99 %": lambda wiring, task_id, _: put(wiring.database, task_id, percent=99),
    "with the error": lambda wiring, task_id, _: put(wiring.database, task_id, error_code="x"),
    "ended as failed": lambda wiring, task_id, _: put(wiring.database, task_id, status="failed"),
    "is running": lambda wiring, task_id, _: put(wiring.database, task_id, status="running"),
    "was claimed": lambda wiring, task_id, _: put(wiring.database, task_id, claim=2),
    "is missing": lambda wiring, _task_id, __: clear(wiring),
    "not the 2 that it must": lambda wiring, task_id, _: rewrite(wiring, task_id),
    "byte for byte": lambda wiring, task_id, _: put(wiring.database, task_id, started_at=now()),
    "lost its file": lambda wiring, task_id, _: note(wiring, task_id, "expired"),
    "does not know the object": lambda wiring, _task_id, __: wiring.object_store.put(
        "exports/x", b"", JSON
    ),
    "unfinished upload": lambda wiring, _task_id, __: wiring.object_store.begin("exports/x", JSON),
    "2 emails for one ending": lambda _wiring, _task_id, folder: send_twice(folder),
    "no email about": lambda _wiring, _task_id, folder: find(folder, "export is ready").unlink(),
    "not that of the ledger": lambda wiring, task_id, _: put_email(
        wiring.database, task_id, message_id="x"
    ),
    "are called failed": lambda wiring, task_id, _: put_email(
        wiring.database, task_id, state="failed"
    ),
    "2 messages in the outbox": lambda wiring, task_id, _: tell_twice(wiring, task_id),
    "no message in the outbox": lambda wiring, task_id, _: tell_nobody(wiring, task_id),
    "does not name the message": lambda wiring, task_id, _: put_export(
        wiring, task_id, email_id=None
    ),
    "the email of task": lambda wiring, task_id, _: put_email(
        wiring.database, task_id, state="pending"
    ),
    "the outbox {'emailed': 1}": lambda wiring, task_id, _: note(wiring, task_id, "emailed"),
    "waits for a confirmation": lambda wiring, task_id, _: unconfirm(wiring, task_id),
    "that were promised": lambda wiring, _task_id, __: put_link(wiring, address="x@example.com"),
    "ended as unknown": lambda wiring, _task_id, __: put_link(wiring, state="unknown"),
    "and there is no email": lambda _wiring, _, folder: find(folder, "Reset your").unlink(),
    "was tried 0 times": lambda wiring, _task_id, __: put_link(wiring, tries=0),
    "its notification says": misinform,
    "no ending in the audit": lambda wiring, task_id, _: note(wiring, task_id, "requested"),
    "these requests and endings": lambda wiring, task_id, _: note(wiring, task_id, "cancelled"),
    "was published 2 times": lambda wiring, task_id, _: note(wiring, task_id, "published"),
    "to be removed": lambda wiring, _task_id, __: insert(wiring, Removal(user_id=1, due_at=now())),
    "Redis still holds": lambda wiring, _task_id, __: wiring.queue.redis.set("rq:wip:x", "1"),
    "Redis holds rq:job:x": lambda wiring, _task_id, __: wiring.queue.redis.set("rq:job:x", "1"),
}
"""What is done after all went well, by what the oracle says to it."""


@pytest.fixture
def task_id(wiring: Wiring, mail_dir: Path) -> str:
    """An export that went well, from the request to the email, and a link that was sent."""
    assert mail_dir
    user_id = make_user(wiring.database)
    write_posts(wiring.database, user_id, BODIES)
    with wiring.database.write() as session:
        user = session.get_one(User, user_id)
        link_keys.send_link(session, user, "reset", now=now())
    task_id = launch(wiring.database, user_id)
    settle(wiring, lambda one: attempt(one, wiring), lambda: send_all(wiring), within_s=90)
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
    found = violations(wiring, mail_dir, accepted=accepted, promised=[LINK], samples=samples)
    assert not found
    assert not unknown_emails(wiring)


@pytest.mark.parametrize("said", TAMPERINGS)
def test_tampering_is_found(wiring: Wiring, task_id: str, mail_dir: Path, said: str) -> None:
    """Whatever is not as it must be is said."""
    accepted = expected(wiring, task_id)
    TAMPERINGS[said](wiring, task_id, mail_dir)
    assert said in "\n".join(violations(wiring, mail_dir, accepted=accepted, promised=[LINK]))


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


def test_an_email_of_unknown_fate(wiring: Wiring, task_id: str, mail_dir: Path) -> None:
    """An email that may have been sent is counted, and no violation."""
    email = the_email(wiring.database, task_id)
    assert email is not None
    put_email(wiring.database, task_id, state="sending")
    put_email(wiring.database, task_id, state="unknown", message_id=None)
    (said,) = violations(wiring, mail_dir, accepted=expected(wiring, task_id))
    assert said.endswith("the outbox {'email_unknown': 1}")  # it was not always so
    assert unknown_emails(wiring) == [email.id]
