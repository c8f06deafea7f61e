"""The oracle finds what it is there to find."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
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
    write_posts,
)
from worker.export import follow_up

STAMP = "2026-01-02T03:04:05Z"
BODIES = ("first", "second \u2028")
LINK = Promise("reset", "susan@example.com")
OF_LINK = OutboxMessage.task_id.is_(None)


@dataclass
class Done:
    """An export that went well, from the job to the email, and a link; to be tampered with."""

    wiring: Wiring
    task_id: str
    mail_dir: Path

    @property
    def user_id(self) -> int:
        return the_task(self.wiring.database, self.task_id).user_id

    def put(self, **values: Any) -> None:
        put(self.wiring.database, self.task_id, **values)

    def put_email(self, **values: Any) -> None:
        """Change the message about the export in the outbox."""
        put_email(self.wiring.database, self.task_id, **values)

    def put_export(self, **values: Any) -> None:
        self.execute(sa.update(ExportFile).values(**values))

    def put_link(self, **values: Any) -> None:
        self.execute(sa.update(OutboxMessage).where(OF_LINK).values(**values))

    def execute(self, statement: Any) -> None:
        with self.wiring.database.write() as session:
            session.execute(statement)

    def add(self, row: object) -> None:
        with self.wiring.database.write() as session:
            session.add(row)

    def note(self, event: str) -> None:
        """Have the audit know of something that did not happen."""
        about = {"event": event, "user_id": self.user_id, "task_id": self.task_id}
        self.add(AuditEntry(at=now(), **about))

    def tell_twice(self) -> None:
        """Have another message about the same ending in the outbox."""
        first = the_email(self.wiring.database, self.task_id)
        assert first is not None
        with self.wiring.database.write() as session:
            about = first.user_id, first.topic, dict(first.payload)
            again = messages.put(session, *about, now=now(), task_id=self.task_id)
        mine = OutboxMessage.id == again
        self.execute(sa.update(OutboxMessage).where(mine).values(state="failed"))

    def store(self, key: str = "exports/x") -> None:
        """Store an object that says nothing."""
        self.wiring.object_store.put(key, b"{}", JSON)

    def rewrite(self) -> None:
        self.store(the_export(self.wiring.database, self.task_id).object_key or "")

    def lose_file(self) -> None:
        self.wiring.object_store.clear("exports/", needed=lambda: lambda _key: False)

    def email(self, subject: str = "export is ready") -> Path:
        """The one email with this in its subject."""
        (found,) = [path for path in self.mail_dir.glob("*.eml") if subject in path.read_text()]
        return found

    def email_again(self) -> None:
        """Deliver the email about the export once more."""
        shutil.copy(self.email(), self.mail_dir / "1-another.eml")

    def violations(self, **more: Any) -> list[str]:
        """What the oracle says."""
        posts = [(body, STAMP) for body in BODIES]
        expected = Expected(user_id=self.user_id, username="susan", must=posts)
        accepted = {self.task_id: expected} | dict.fromkeys(more.pop("lost", ()), expected)
        return violations(
            self.wiring, self.mail_dir, accepted=accepted, **{"promised": [LINK]} | more
        )


TAMPERINGS: dict[str, Callable[[Done], object]] = {
    "SHA-256": lambda done: done.put_export(sha256="0" * 64),
    "the ledger counts": lambda done: done.put(done=1),
    "{'posts': 3}": lambda done: done.put_export(rows={"posts": 3}),
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
    "lost its file": lambda done: done.note("expired"),
    "does not know the object": Done.store,
    "unfinished upload": lambda done: done.wiring.object_store.begin("exports/x", JSON),
    "2 emails for one ending": Done.email_again,
    "no email about": lambda done: done.email().unlink(),
    "not that of the ledger": lambda done: done.put_email(message_id="x"),
    "are called failed": lambda done: done.put_email(state="failed"),
    "2 messages in the outbox": Done.tell_twice,
    "no message in the outbox": lambda done: done.execute(sa.delete(OutboxMessage)),
    "does not name the message": lambda done: done.put_export(email_id=None),
    "the email of task": lambda done: done.put_email(state="pending"),
    "the outbox {'emailed': 1}": lambda done: done.note("emailed"),
    "waits for a confirmation": lambda done: done.put_email(state="unconfirmed"),
    "that were promised": lambda done: done.put_link(address="x@example.com"),
    "ended as unknown": lambda done: done.put_link(state="unknown"),
    "and there is no email": lambda done: done.email("Reset your").unlink(),
    "was tried 0 times": lambda done: done.put_link(tries=0),
    "its notification says": lambda done: done.execute(
        sa.update(Notification).values(data={"status": "failed"})
    ),
    "no ending in the audit": lambda done: done.note("requested"),
    "these requests and endings": lambda done: done.note("cancelled"),
    "was published 2 times": lambda done: done.note("published"),
    "to be removed": lambda done: done.add(Removal(user_id=done.user_id, due_at=now())),
    "Redis still holds": lambda done: done.wiring.queue.redis.set("rq:wip:x", "1"),
    "Redis holds rq:job:x": lambda done: done.wiring.queue.redis.set("rq:job:x", "1"),
}
"""What is done after all went well, by what the oracle says to it."""


@pytest.fixture
def done(wiring: Wiring, mail_dir: Path) -> Done:
    user_id = make_user(wiring.database)
    write_posts(wiring.database, user_id, BODIES)
    with wiring.database.write() as session:
        link_keys.send_link(session, session.get_one(User, user_id), "reset", now=now())
    task_id = launch(wiring.database, user_id)
    settle(wiring, lambda one: attempt(one, wiring), lambda: send_all(wiring), within_s=90)
    return Done(wiring, task_id, mail_dir)


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
    said = done.violations(samples=samples, lost=["another"])
    assert [one.partition(": ")[2] for one in said] == [
        "progress fell from 50 to 49",
        "lost: the ledger does not know it",
    ]


def test_an_email_of_unknown_fate(
    wiring: Wiring, mail_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An email that may have been sent is counted, and no violation."""
    monkeypatch.setattr(follow_up, "follow_up", lambda *_: None)
    user_id = make_user(wiring.database)
    write_posts(wiring.database, user_id, BODIES)
    done = Done(wiring, launch(wiring.database, user_id), mail_dir)
    settle(
        wiring,
        lambda one: attempt(one, wiring),
        lambda: done.put_email(state="unknown"),
        within_s=90,
    )
    assert not done.violations(promised=())
    assert len(unknown_emails(wiring)) == 1
