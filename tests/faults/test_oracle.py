"""The oracle finds what it is there to find."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from chalicelib.db.models import (
    AuditEntry,
    ExportFile,
    Notification,
    OutboxMessage,
    Removal,
)
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
    the_export,
    the_task,
    write_posts,
)
from worker.export import follow_up

STAMP = "2026-01-02T03:04:05Z"
BODIES = ("first", "second \u2028")


@dataclass
class Done:
    """An export that went well, from the job to the email, to be tampered with."""

    wiring: Wiring
    task_id: str
    mail_dir: Path

    @property
    def user_id(self) -> int:
        """Whose it is."""
        return the_task(self.wiring.database, self.task_id).user_id

    def put(self, **values: Any) -> None:
        """Change the task."""
        put(self.wiring.database, self.task_id, **values)

    def put_email(self, **values: Any) -> None:
        """Change the message in the outbox."""
        put_email(self.wiring.database, self.task_id, **values)

    def execute(self, statement: Any) -> None:
        """Change whatever it is."""
        with self.wiring.database.write() as session:
            session.execute(statement)

    def put_export(self, **values: Any) -> None:
        """Change the export."""
        self.execute(sa.update(ExportFile).values(**values))

    def add(self, row: object) -> None:
        """Add a row."""
        with self.wiring.database.write() as session:
            session.add(row)

    def note(self, event: str) -> None:
        """Have the audit know of something that never was."""
        entry = {"event": event, "user_id": self.user_id, "task_id": self.task_id}
        self.add(AuditEntry(at=now(), **entry))

    def store(self, key: str = "exports/x") -> None:
        """Store an object that says nothing."""
        self.wiring.object_store.put(key, b"{}", JSON)

    def rewrite(self) -> None:
        """Replace the published file."""
        self.store(the_export(self.wiring.database, self.task_id).object_key or "")

    def email_again(self) -> None:
        """Deliver the email once more."""
        (email,) = self.mail_dir.glob("*.eml")
        shutil.copy(email, email.with_name("1-another.eml"))

    def lose_email(self) -> None:
        """Lose the email."""
        for email in self.mail_dir.glob("*.eml"):
            email.unlink()

    def lose_file(self) -> None:
        """Lose the file."""
        self.wiring.object_store.clear("exports/", needed=lambda: lambda _key: False)

    def violations(self, **more: Any) -> list[str]:
        """What the oracle says."""
        posts = [(body, STAMP) for body in BODIES]
        expected = Expected(user_id=self.user_id, username="susan", must=posts)
        accepted = {self.task_id: expected} | dict.fromkeys(more.pop("lost", ()), expected)
        return violations(self.wiring, self.mail_dir, accepted=accepted, **more)


TAMPERINGS: dict[str, Callable[[Done], object]] = {
    "SHA-256": lambda done: done.put_export(sha256="0" * 64),
    "the ledger counts": lambda done: done.put(done=1),
    "is succeeded at 99 %": lambda done: done.put(percent=99),
    "with the error": lambda done: done.put(error_code="x"),
    "ended as failed": lambda done: done.put(status="failed"),
    "is running": lambda done: done.put(status="running"),
    "is not wound up": lambda done: done.put(lease_until=now()),
    "was tried 9 times": lambda done: done.put(failures=9),
    "was claimed": lambda done: done.put(claim=2),
    "byte for byte": lambda done: done.put(started_at=now()),
    "is missing": Done.lose_file,
    "not the 2 that it must": Done.rewrite,
    "does not know the object": Done.store,
    "unfinished upload": lambda done: done.wiring.object_store.begin("exports/x", JSON),
    "2 emails for one ending": Done.email_again,
    "no email about its ending": Done.lose_email,
    "not that of the ledger": lambda done: done.put_email(message_id="x"),
    "the messages are called failed": lambda done: done.put_email(state="failed"),
    "the email of task": lambda done: done.put_email(state="pending"),
    "does not name the message": lambda done: done.put_export(email_id=None),
    "no message in the outbox": lambda done: done.execute(sa.delete(OutboxMessage)),
    "its notification says": lambda done: done.execute(
        sa.update(Notification).values(data={"status": "failed"})
    ),
    "no ending in the audit": lambda done: done.note("requested"),
    "was published 2 times": lambda done: done.note("published"),
    "lost its file 1 times": lambda done: done.note("expired"),
    "the audit says": lambda done: done.note("email_unknown"),
    "to be removed": lambda done: done.add(Removal(user_id=done.user_id, due_at=now())),
    "Redis still holds": lambda done: done.wiring.queue.redis.set("rq:wip:x", "1"),
    "Redis holds rq:job:x": lambda done: done.wiring.queue.redis.set("rq:job:x", "1"),
}
"""What is done after all went well, by what the oracle says to it."""


def export(wiring: Wiring, mail_dir: Path, send: Callable[[Done], object]) -> Done:
    """Do an export, from the job to the email."""
    user_id = make_user(wiring.database)
    write_posts(wiring.database, user_id, BODIES)
    done = Done(wiring, launch(wiring.database, user_id), mail_dir)
    settle(wiring, lambda one: attempt(one, wiring), lambda: send(done), within_s=90)
    return done


@pytest.fixture
def done(wiring: Wiring, mail_dir: Path) -> Done:
    """What went well."""
    return export(wiring, mail_dir, lambda _: send_all(wiring))


def test_all_is_well(done: Done) -> None:
    """A clean run has nothing to be told of."""
    samples = [(done.task_id, percent) for percent in (0, 50, 100)]
    assert not done.violations(samples=samples)
    assert not unknown_emails(done.wiring)


@pytest.mark.parametrize("said", TAMPERINGS)
def test_tampering_is_found(done: Done, said: str) -> None:
    """Whatever is not as it must be is said."""
    TAMPERINGS[said](done)
    assert said in "\n".join(done.violations())


def test_what_falls_and_what_is_lost(done: Done) -> None:
    """A percentage that fell is said, and a promise that the ledger does not know."""
    samples = [(done.task_id, 50), (done.task_id, 49)]
    promised = [Promise("reset", "susan@example.com")]
    said = done.violations(samples=samples, lost=["another"], promised=promised)
    assert [one.partition(": ")[2] for one in said] == [
        "progress fell from 50 to 49",
        "lost: the ledger does not know it",
        "1 messages (reset) that were promised to susan@example.com",
    ]


def test_an_email_of_unknown_fate(
    wiring: Wiring, mail_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An email that may have been sent is counted, and no violation."""
    monkeypatch.setattr(follow_up, "follow_up", lambda *_: None)
    done = export(wiring, mail_dir, send=lambda done: done.put_email(state="unknown"))
    assert not done.violations()
    assert len(unknown_emails(wiring)) == 1
