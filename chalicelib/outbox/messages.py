"""The outbox: what must be told to the world, each message once, and the truth about it.

A message is a row, written in the transaction of what it is about. States: `pending` → `sending` →
`sent`, or `failed` (refused for good), or `unknown`: the sender died, or the service did not
respond, between asking and hearing. Such a message may have been sent, so it is not sent again
unless the user asks; but for topics whose repetition does no harm. A message that waits until the
user's address is confirmed is `unconfirmed`, and `pending` again from then on.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal, cast, get_args
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.engine import Database, UtcDateTime, db_clock
from chalicelib.db.models import OPEN_MESSAGES, OutboxMessage, User
from chalicelib.db.pipelines import unanswered
from chalicelib.tasks import notifications

MAX_TRIES = 10
"""How often a message is tried: after so many it `failed` if it was always refused for now (the
service throttles, or is paused), and else it is `unknown`."""

REPEATABLE = frozenset({"confirm", "reset", "moved"})
"""Topics that are sent again where nobody knows whether they were: a second link does no harm, and
one that never comes does."""

Final = Literal["sent", "failed", "unknown"]

SETTLED = get_args(Final)
"""The states of a message of which nothing more becomes by itself."""

MESSAGE = cast("sa.Table", OutboxMessage.__table__)
ROW = MESSAGE.c
_USER = cast("sa.Table", User.__table__).c


def put(
    session: so.Session,
    user_id: int,
    topic: str,
    payload: dict[str, Any],
    *,
    now: datetime,
    task_id: str | None = None,
    address: str | None = None,
    due_in_s: float = 0.0,
) -> str:
    """Have a message sent, if this transaction commits.

    Args:
        session: A writing session.
        user_id: Whom it is for.
        topic: What it is about; the worker's senders know how to write it.
        payload: All that its text needs, as JSON can hold it.
        now: The time.
        task_id: The task that it is about, whose watchers hear what becomes of it.
        address: Where it goes; None for the user's address at the time of sending.
        due_in_s: How long it is left to `claim_of_task`, in seconds.

    Returns:
        Its id.
    """
    message_id = str(uuid4())
    message = {
        "id": message_id,
        "user_id": user_id,
        "task_id": task_id,
        "topic": topic,
        "payload": payload,
        "address": address,
        "created_at": now,
        "due_in_s": due_in_s,
    }
    unanswered(session, _PUT, message)
    return message_id


_PUT = sa.insert(MESSAGE).values(
    state="pending",
    claim=0,
    tries=0,
    due_at=db_clock(sa.bindparam("due_in_s", type_=sa.Float())),
)


def is_open(session: so.Session, user_id: int, topic: str, *, address: str) -> bool:
    """Whether such a message to this address is still to be sent."""
    statement = sa.select(ROW.id).where(
        ROW.user_id == user_id,
        ROW.topic == topic,
        ROW.address == address,
        ROW.state.in_(("pending", "sending")),
    )
    return session.scalar(statement.limit(1)) is not None


@dataclass(frozen=True)
class SendingLease:
    """The right to send one message, and what may be written about it.

    Attributes:
        database: The ledger.
        message: Its id.
        claim: The fence: the number of this claim.
        user_id: Whom it is for.
        task_id: The task that it is about, if any.
    """

    database: Database
    message: str
    claim: int
    user_id: int
    task_id: str | None

    def settle(self, state: Final, *, now: datetime, message_id: str | None = None) -> None:
        """Write down what became of the message.

        Args:
            state: What became of it.
            now: The time.
            message_id: What the service that took it calls it.
        """
        sent_at = now if state == "sent" else None
        self._write(_SETTLE, now, to=state, service_id=message_id, moment=sent_at)

    def retry_later(self, *, pause_s: float, now: datetime) -> None:
        """The message was not sent, or may be sent twice: try again after a pause."""
        self._write(_RETRY_LATER, now, pause_s=pause_s)

    def await_confirmation(self, *, now: datetime) -> None:
        """Have a message about a task wait until the user's address is confirmed."""
        self._write(_AWAIT_CONFIRMATION, now)

    def _write(self, statement: Any, now: datetime, **values: Any) -> None:
        fence = {"message": self.message, "fence": self.claim}
        if self.database.is_postgresql:
            with self.database.single() as session:
                given = {**fence, **values, "moment_told": now}
                if session.execute(_telling(statement), given).first() is not None:
                    notifications.announce(session, self.user_id)
            return
        with self.database.write() as session:
            # The user's row first, as everybody locks it, or two could wait for each other.
            seq = session.scalar(_RAISE, fence) if self.task_id is not None else None
            if session.execute(statement, {**fence, **values}).first() is None:
                session.rollback()  # someone else has claimed it by now
            elif self.task_id is not None and seq is not None:
                notifications.announce_again(session, self.user_id, self.task_id, seq=seq, now=now)


@dataclass(frozen=True)
class Message:
    """A claimed message.

    Attributes:
        lease: The right to send it.
        address: Where it goes.
        tries: How often it was claimed, this time included.
        username: The user's name now.
        language: The user's language now.
        confirmed: Whether the user's address is known to be theirs.
    """

    lease: SendingLease
    topic: str
    payload: dict[str, Any]
    address: str
    tries: int
    created_at: datetime
    username: str
    language: str
    confirmed: bool


def _of_user(column: sa.ColumnElement[Any]) -> sa.ScalarSelect[Any]:
    """Something about the user whom a message is for, as it is now."""
    return sa.select(column).where(_USER.id == ROW.user_id).correlate(MESSAGE).scalar_subquery()


_FENCE = (
    ROW.id == sa.bindparam("message"),
    ROW.claim == sa.bindparam("fence"),
    ROW.state == "sending",
)
_RAISE = notifications.raising(of=sa.select(ROW.user_id).where(*_FENCE).scalar_subquery())
_SETTLE = (
    sa.update(MESSAGE)
    .where(*_FENCE)
    .values(
        state=sa.bindparam("to"),
        lease_until=None,
        message_id=sa.bindparam("service_id"),
        sent_at=sa.bindparam("moment", type_=UtcDateTime()),
    )
    .returning(ROW.id)
)
_RETRY_LATER = (
    sa.update(MESSAGE)
    .where(*_FENCE)
    .values(
        state="pending",
        lease_until=None,
        due_at=db_clock(sa.bindparam("pause_s", type_=sa.Float())),
    )
    .returning(ROW.id)
)

# The address may have been confirmed since the claim. Whoever confirms it locks the user, too, so
# they either see that the message waits, or are seen here.
_AWAIT_CONFIRMATION = (
    sa.update(MESSAGE)
    .where(*_FENCE)
    .values(
        state=sa.case((_of_user(_USER.confirmed_at.is_(None)), "unconfirmed"), else_="pending"),
        lease_until=None,
        due_at=db_clock(),
    )
    .returning(ROW.id)
)


@cache
def _telling(change: sa.Update) -> sa.Select[Any]:
    """One statement that changes a message on PostgreSQL and has those look who watch its task."""
    owner = sa.select(ROW.user_id).where(*_FENCE, ROW.task_id.is_not(None)).scalar_subquery()
    raised = notifications.raising(notifications.USER.id, of=owner).cte("raised")
    seq = sa.select(raised.c.notification_seq).scalar_subquery()
    # A message about no task has no number to wait for; any other has, so its user comes first.
    locked = change.where(sa.or_(ROW.task_id.is_(None), seq.is_not(None)))
    changed = locked.returning(ROW.user_id, ROW.task_id).cte("changed")
    now = sa.bindparam("moment_told", type_=UtcDateTime())
    told = notifications.announcing(changed.c, seq=seq, now=now).cte("told")
    return sa.select(changed.c.user_id).add_cte(told)


def claim_due(database: Database, *, lease_s: float, most: int = 20) -> list[Message]:
    """Claim messages that are due, the oldest first; two senders never claim the same.

    Args:
        database: The ledger.
        lease_s: How long one may take to be sent before its sender is taken for dead, in seconds.
        most: How many.
    """
    return _claim(database, _CLAIM_DUE, {"lease_s": lease_s, "most": most})


def claim_of_task(database: Database, task_id: str, *, lease_s: float) -> list[Message]:
    """Claim the messages about one task that nobody has tried to send, or that are due."""
    return _claim(database, _CLAIM_OF_TASK, {"lease_s": lease_s, "about": task_id})


def _claim(database: Database, statement: sa.Update, values: dict[str, Any]) -> list[Message]:
    with database.single() as session:
        rows = session.execute(statement, values).all()
    return [
        Message(
            SendingLease(database, row.id, row.claim, row.user_id, row.task_id),
            *(row.topic, row.payload, row.address, row.tries, row.created_at),
            *(row.username, row.language, row.confirmed),
        )
        for row in rows
    ]


def _claiming(*which: sa.ColumnElement[bool]) -> Any:
    # The address of a link is fixed; the file of an export goes where its owner can be reached now.
    address = sa.case((ROW.task_id.is_(None), ROW.address), else_=_of_user(_USER.email))
    return (
        sa.update(MESSAGE)
        .where(ROW.state == "pending", *which)
        .values(
            state="sending",
            claim=ROW.claim + 1,
            tries=ROW.tries + 1,
            address=address,
            lease_until=db_clock(sa.bindparam("lease_s", type_=sa.Float())),
        )
        .returning(
            *(ROW.id, ROW.claim, ROW.user_id, ROW.task_id, ROW.topic, ROW.payload),
            *(ROW.address, ROW.tries, ROW.created_at),
            _of_user(_USER.username).label("username"),
            _of_user(_USER.language).label("language"),
            _of_user(_USER.confirmed_at.is_not(None)).label("confirmed"),
        )
    )


_EMAILS = ROW.webhook_id.is_(None)
"""Deliveries to webhooks are sent by others; see `deliveries`."""

_DUE = (
    sa.select(ROW.id)
    .where(OPEN_MESSAGES, ROW.state == "pending", ROW.due_at <= db_clock(), _EMAILS)
    .order_by(ROW.due_at)
    .limit(sa.bindparam("most", type_=sa.Integer))
    .with_for_update(skip_locked=True)
    .cte("due")
)
# A subquery in the place of the CTE is executed once for each row where PostgreSQL joins by a loop,
# and finds the next ones each time: what was to be one message would be all of them.
_IS_DUE = ROW.due_at <= db_clock(1)
_CLAIM_DUE = _claiming(ROW.id.in_(sa.select(_DUE.c.id)), _IS_DUE)
_CLAIM_OF_TASK = _claiming(ROW.task_id == sa.bindparam("about"), sa.or_(ROW.tries == 0, _IS_DUE))


def release_unconfirmed(session: so.Session, user_id: int) -> None:
    """Have the messages sent that waited until the user's address was confirmed."""
    statement = sa.update(MESSAGE).where(ROW.user_id == user_id, ROW.state == "unconfirmed")
    session.execute(statement.values(state="pending", due_at=db_clock()))


def withdraw(session: so.Session, message_id: str) -> None:
    """There is nothing left to tell: a message that nobody has sent yet is never sent."""
    statement = sa.update(MESSAGE).where(
        ROW.id == message_id, ROW.state.in_(("pending", "unconfirmed"))
    )
    session.execute(statement.values(state="failed"))


def recover(database: Database, *, now: datetime, most: int) -> int:
    """Settle the messages whose sender died in the act.

    Returns:
        How many there were.
    """
    statement = (
        sa.select(ROW.id, ROW.claim, ROW.user_id, ROW.task_id, ROW.topic, ROW.tries)
        .where(OPEN_MESSAGES, ROW.state == "sending", ROW.lease_until < db_clock(), _EMAILS)
        .limit(most)
    )
    with database.read() as session:
        overdue = session.execute(statement).all()
    for message_id, claim, user_id, task_id, topic, tries in overdue:
        lease = SendingLease(database, message_id, claim, user_id, task_id)
        if topic in REPEATABLE and tries < MAX_TRIES:  # some other one may end every sender
            lease.retry_later(pause_s=0, now=now)
        else:
            lease.settle("unknown", now=now)
    return len(overdue)
