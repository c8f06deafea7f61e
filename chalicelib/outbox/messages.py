"""The mail ledger: at most one mail for each outcome, and the truth about it.

States: `none` → `pending` → `sending` → `sent`, or `failed` (refused for good), or `unknown` (the
worker died, or SES did not answer, between asking and hearing: it may have been sent, so it is
not sent again unless the user asks). One that waits until the user's address is confirmed is
`unconfirmed`, and `pending` again from then on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.engine import Database, UtcDateTime, db_clock
from chalicelib.db.models import FAILED, OPEN_MAILS, PENDING, Task
from chalicelib.tasks.transitions import ROW, Move, as_task

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


WISHED: Mapping[str, Any] = {
    "mail_state": PENDING,
    "mail_claim": ROW.mail_claim + 1,
    "mail_tries": 0,
    "mail_due_at": db_clock(),
    "mail_lease_until": None,
    "mail_sent_at": None,
    "mail_message_id": None,
}
"""What `wish` makes of a task's columns, for a `Move`."""


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
        sent_at = now if state == "sent" else None
        how = {"state": state, "message_id": message_id, "sent_at": sent_at}
        with self.database.write() as session:
            _SETTLE.make(session, self._what, how, now=now)

    def postpone(self, *, pause_s: float, now: datetime) -> None:
        """SES certainly refused, for now: try again after a pause, but not for ever."""
        with self.database.write() as session:
            _POSTPONE.make(session, self._what, {"pause_s": pause_s}, now=now)

    @property
    def _what(self) -> dict[str, Any]:
        return {"task_id": self.task_id, "held": self.claim}


_HELD = (
    ROW.id == sa.bindparam("task_id"),
    ROW.mail_claim == sa.bindparam("held"),
    ROW.mail_state == "sending",
)
"""Nobody else has the duty by now: the fence of every write about a mail."""

_SETTLE = Move(
    *_HELD,
    mail_state=sa.bindparam("state"),
    mail_lease_until=None,
    mail_message_id=sa.bindparam("message_id"),
    mail_sent_at=sa.bindparam("sent_at", type_=UtcDateTime()),
)

_POSTPONE = Move(
    *_HELD,
    mail_state=sa.case((ROW.mail_tries >= MAX_TRIES, FAILED), else_=PENDING),
    mail_lease_until=None,
    mail_due_at=db_clock(sa.bindparam("pause_s", type_=sa.Float())),
)


def claim(
    database: Database, task_id: str, *, lease_s: int, now: datetime
) -> tuple[MailHolder, Task] | None:
    """Take the duty to send a task's mail.

    Returns:
        The duty and the task; None when no mail is due.
    """
    with database.write() as session:
        row = _CLAIM.make(session, {"task_id": task_id}, {"lease_s": lease_s}, now=now)
    if row is None:
        return None
    return MailHolder(database, task_id, row.mail_claim), as_task(row)


_CLAIM = Move(
    ROW.id == sa.bindparam("task_id"),
    ROW.mail_state == "pending",
    ROW.mail_due_at <= db_clock(1),
    mail_state="sending",
    mail_claim=ROW.mail_claim + 1,
    mail_tries=ROW.mail_tries + 1,
    mail_lease_until=db_clock(sa.bindparam("lease_s", type_=sa.Float())),
    returning=ROW,
)


def overdue(session: so.Session, *, most: int) -> list[tuple[str, int]]:
    """Mails whose sender died in the act: pairs of task id and mail claim."""
    statement = (
        sa.select(Task.id, Task.mail_claim)
        .where(OPEN_MAILS, Task.mail_state == "sending", Task.mail_lease_until < db_clock())
        .limit(most)
    )
    return [(row[0], row[1]) for row in session.execute(statement)]
