"""The mail ledger: at most one mail for each outcome, and the truth about it.

States: `none` → `pending` → `sending` → `sent`, or `failed` (refused for good), or `unknown` (the
worker died, or SES did not answer, between asking and hearing: it may have been sent, so it is
not sent again unless the user asks). One that waits until the user's address is confirmed is
`unconfirmed`, and `pending` again from then on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db import Database, db_clock
from chalicelib.ledger import change
from chalicelib.models import OPEN_MAILS, Task

MAX_TRIES = 10
"""How often SES may refuse for a passing reason (throttled, paused) before the mail `failed`."""

Final = Literal["sent", "failed", "unknown", "unconfirmed"]


def forget(task: Task) -> None:
    """A task that starts anew has no mail; one that is being sent for its past is disowned."""
    task.mail_state = "none"
    task.mail_claim += 1
    task.mail_tries = 0
    task.mail_due_at = task.mail_lease_until = task.mail_sent_at = None
    task.mail_message_id = None


def wish(task: Task) -> None:
    """Have one mail sent about the task as it stands."""
    forget(task)
    task.mail_state = "pending"
    task.mail_due_at = db_clock()


@dataclass(frozen=True)
class MailHolder:
    """The duty to send one mail, and what may be written about it.

    Attributes:
        database: The ledger.
        task_id: Whose mail.
        claim: The fence: the number of this claim on the mail.
    """

    database: Database
    task_id: str
    claim: int

    def settle(self, state: Final, *, now: datetime, message_id: str | None = None) -> None:
        """Write down what became of the mail."""
        with self._held(now) as task:
            if task is not None:
                _settle(task, state, message_id=message_id, now=now)

    def postpone(self, *, pause_s: float, now: datetime) -> None:
        """SES certainly refused, for now: try again after a pause, but not for ever."""
        with self._held(now) as task:
            if task is not None and task.mail_tries >= MAX_TRIES:
                _settle(task, "failed", message_id=None, now=now)
            elif task is not None:
                task.mail_state = "pending"
                task.mail_lease_until = None
                task.mail_due_at = db_clock(pause_s)

    @contextmanager
    def _held(self, now: datetime) -> Iterator[Task | None]:
        """The task, or None when somebody else has the duty now."""
        with self.database.write() as session, change(session, self.task_id, now=now) as task:
            held = task.mail_claim == self.claim and task.mail_state == "sending"
            yield task if held else None


def _settle(task: Task, state: Final, *, message_id: str | None, now: datetime) -> None:
    task.mail_state = state
    task.mail_lease_until = None
    task.mail_message_id = message_id
    task.mail_sent_at = now if state == "sent" else None


def claim(
    database: Database, task_id: str, *, lease_s: int, now: datetime
) -> tuple[MailHolder, Task] | None:
    """Take the duty to send a task's mail.

    Returns:
        The duty and the task; None when no mail is due.

    Raises:
        NotFound: The task is gone.
    """
    due = sa.select(Task.id).where(
        Task.id == task_id, Task.mail_state == "pending", Task.mail_due_at <= db_clock(1)
    )
    with database.write() as session:
        if session.scalar(due) is None:
            return None
        with change(session, task_id, now=now) as task:
            if task.mail_state != "pending":
                return None
            task.mail_state = "sending"
            task.mail_claim += 1
            task.mail_tries += 1
            task.mail_lease_until = db_clock(lease_s)
        return MailHolder(database, task_id, task.mail_claim), task


def overdue(session: so.Session, *, most: int) -> list[tuple[str, int]]:
    """Mails whose sender died in the act: pairs of task id and mail claim."""
    statement = (
        sa.select(Task.id, Task.mail_claim)
        .where(OPEN_MAILS, Task.mail_state == "sending", Task.mail_lease_until < db_clock())
        .limit(most)
    )
    return [(row[0], row[1]) for row in session.execute(statement)]
