"""Deliveries to webhooks, from the side of those who make them.

They are messages of the outbox with rules of their own. One whose fate is unknown is made again: it
carries the same id, so its receiver can tell. It is tried for a day, with pauses that double, by
the database's clock. Whoever writes locks the user, the webhook and the delivery in this order.
"""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.engine import Database, db_clock
from chalicelib.db.models import (
    DELIVERIES,
    DELIVERIES_ON_THEIR_WAY,
    DUE_DELIVERIES,
    User,
    Webhook,
)
from chalicelib.outbox import messages
from chalicelib.outbox.messages import MESSAGE, ROW
from chalicelib.outbox.webhooks import disable

TRIED_FOR = timedelta(days=1)
"""How long a delivery is tried; the last try is at the end of it."""

DISABLED_AFTER = TRIED_FOR - timedelta(minutes=5)
"""How long a webhook may do nothing but fail. A little less than a delivery is tried, because the
first failure comes after the delivery was made: the last try of the first one disables it."""

FIRST_PAUSE_S = 3
"""The wait after the first try, in seconds; each one after it is twice as long: 15 tries a day."""

LONGEST_RETRY_AFTER_S = 3600
"""Receivers may ask for a longer pause (`Retry-After`), but for no more than this, in seconds."""

MOST_OF_A_USER = 4
"""How many deliveries of one user are made at once, so that no user takes all the threads. To one
webhook there is one at a time: a receiver that is slow holds up nobody but itself."""

KEPT_FOR = timedelta(days=30)
"""How long what became of a delivery can be looked at."""

GONE = 410
"""With this status a receiver says that it wants no more (RFC 9110, section 15.5.11)."""

DISABLED_TOPIC = "webhook_disabled"
"""The email that says so."""

_WEBHOOK = cast("sa.Table", Webhook.__table__).c


@dataclass(frozen=True)
class Answer:
    """What came of a try.

    Attributes:
        status: The status that the receiver answered with; None when there was no answer.
        error: Why there was none, as a code.
        retry_after_s: How long the receiver wants to be left alone, in seconds.
    """

    status: int | None = None
    error: str | None = None
    retry_after_s: float = 0

    @property
    def is_success(self) -> bool:
        """Whether the receiver has it."""
        return self.error is None and self.status is not None and self.status // 100 == 2  # noqa: PLR2004


@dataclass(frozen=True)
class Delivery:
    """A claimed delivery: the right to make it, and all that it takes.

    Attributes:
        database: The ledger.
        id: Its number in the outbox, which its receiver never sees.
        claim: The fence: the number of this claim.
        user_id: Whose webhook it is for.
        webhook_id: The webhook.
        payload: What it tells; see `webhooks.event_of`.
        tries: How often it was claimed, this time included.
        url: Where it goes now.
        secret: What it is signed with now.
    """

    database: Database
    id: str
    claim: int
    user_id: int
    webhook_id: str
    payload: dict[str, Any]
    tries: int
    url: str
    secret: str

    def __repr__(self) -> str:
        """Without what must be in no log."""
        return f"Delivery({self.id!r}, claim={self.claim})"

    def settle(self, answer: Answer, *, now: datetime) -> str:
        """Write down what came of a try, and what that means for the webhook.

        Args:
            answer: What came of it.
            now: The time, for the email that may be due.

        Returns:
            The state of the delivery; `lost` when it is somebody else's by now, or is gone.
        """
        if (state := _settle_at_once(self, answer)) is not None:
            return state
        with self.database.write() as session:
            webhook = _lock(session, self.user_id, self.webhook_id)
            if webhook is None:
                return "lost"
            return _settle(session, webhook, self, answer, now=now)

    def retry(self, *, now: datetime) -> str:
        """Whoever tried it died, and nobody knows what came of it."""
        return self.settle(Answer(error="unknown"), now=now)


_DELIVERY_FENCE = (
    ROW.id == sa.bindparam("delivery"),
    ROW.claim == sa.bindparam("fence"),
    ROW.state == "sending",
)
_OUTCOME = (
    sa.update(MESSAGE)
    .where(*_DELIVERY_FENCE)
    .values(
        state=sa.bindparam("to"),
        lease_until=None,
        status_code=sa.bindparam("answered"),
        error_code=sa.bindparam("why"),
        tried_at=db_clock(),
        sent_at=sa.case((sa.bindparam("to") == "sent", db_clock())),
        due_at=db_clock(sa.bindparam("pause_s", type_=sa.Float())),
    )
    .returning(ROW.id)
)


def _settle_at_once(delivery: Delivery, answer: Answer) -> str | None:
    """Write down with one round trip to PostgreSQL that a delivery was made, or is tried again.

    Returns:
        Its state; None when nothing was written: more follows from it, or it is somebody else's.
    """
    if not delivery.database.is_postgresql or answer.status == GONE:
        return None
    state, pause_s = "sent", 0.0
    if not answer.is_success:
        state, pause_s = "pending", _pause_s(delivery.tries, answer)
    values = {"to": state, "answered": answer.status, "why": answer.error, "pause_s": pause_s}
    given = {
        **values,
        "of": delivery.user_id,
        "webhook": delivery.webhook_id,
        "delivery": delivery.id,
        "fence": delivery.claim,
        "late_s": pause_s - TRIED_FOR.total_seconds(),
    }
    with delivery.database.single() as session:
        settled: str | None = session.scalar(_settling(), given)
    return settled


@cache
def _settling() -> sa.Select[Any]:
    """One statement that locks as `_lock` does, and does what `_settle` does in the usual cases.

    Not where the webhook is disabled, or has to be, or where there is no time for another try.
    """
    user = sa.select(User.id).where(User.id == sa.bindparam("of"))
    user_part = user.with_for_update(read=True, key_share=True).cte("owner")
    locked = (
        sa.select(_WEBHOOK.id, _WEBHOOK.enabled, _WEBHOOK.failing_since)
        .where(_WEBHOOK.id == sa.bindparam("webhook"), _WEBHOOK.user_id == user_part.c.id)
        .with_for_update(of=Webhook)
        .cte("locked")
    )
    is_sent = sa.bindparam("to", type_=sa.String()) == "sent"
    first_failure = locked.c.failing_since.is_(None)
    may_fail = (
        locked.c.enabled,
        sa.or_(first_failure, locked.c.failing_since > db_clock(-DISABLED_AFTER.total_seconds())),
        ROW.created_at > db_clock(sa.bindparam("late_s", type_=sa.Float())),
    )
    settled = (
        _OUTCOME.where(ROW.webhook_id == locked.c.id, sa.or_(is_sent, sa.and_(*may_fail)))
        .returning(ROW.state, ROW.webhook_id, first_failure.label("first"))
        .cte("settled")
    )
    noted = (
        sa.update(Webhook)
        .where(_WEBHOOK.id == settled.c.webhook_id, settled.c.first != is_sent)
        .values(failing_since=sa.case((is_sent, sa.null()), else_=db_clock()))
        .cte("noted")
    )
    return sa.select(settled.c.state).add_cte(noted)


def _lock(session: so.Session, user_id: int, webhook_id: str) -> Webhook | None:
    # A weak lock of the user's row is enough: it only keeps the account from being erased, which
    # would lock the same rows in another order.
    user = sa.select(User.id).where(User.id == user_id)
    session.execute(user.with_for_update(read=True, key_share=True))
    return session.scalar(sa.select(Webhook).where(Webhook.id == webhook_id).with_for_update())


def _settle(
    session: so.Session, webhook: Webhook, delivery: Delivery, answer: Answer, *, now: datetime
) -> str:
    clock, created_at = session.execute(
        sa.select(db_clock(), ROW.created_at).where(ROW.id == delivery.id)
    ).one_or_none() or (now, now)
    left = created_at + TRIED_FOR - clock
    pause_s = min(_pause_s(delivery.tries, answer), left.total_seconds())
    state = "sent" if answer.is_success else "failed" if answer.status == GONE else "pending"
    if state == "pending" and pause_s <= 0:
        state = "failed"
    if state == "pending" and not webhook.enabled:
        state = "paused"
    values = {"delivery": delivery.id, "fence": delivery.claim, "to": state, "pause_s": pause_s}
    result = {"answered": answer.status, "why": answer.error}
    if session.execute(_OUTCOME, values | result).first() is None:
        return "lost"
    _note(session, webhook, answer, clock=clock, now=now)
    return state


def _pause_s(tries: int, answer: Answer) -> float:
    """How long to wait until the next try, if there is time for it."""
    # A tenth of chance, so that what failed together does not return together, and pauses grow.
    doubled = 2 ** min(tries - 1, 20)
    pause_s: float = FIRST_PAUSE_S * doubled * random.uniform(0.9, 1.1)  # noqa: S311 - no secret  # nosec B311
    return max(pause_s, min(answer.retry_after_s, LONGEST_RETRY_AFTER_S))


def _note(
    session: so.Session, webhook: Webhook, answer: Answer, *, clock: datetime, now: datetime
) -> None:
    """What a try means for the webhook; a success forgives everything before it."""
    if answer.is_success:
        webhook.failing_since = None
        return
    webhook.failing_since = webhook.failing_since or clock
    if not webhook.enabled:
        return
    if answer.status == GONE:
        _disable(session, webhook, reason="gone", now=now)
    elif clock - webhook.failing_since >= DISABLED_AFTER:
        _disable(session, webhook, reason="failing", now=now)


def _disable(session: so.Session, webhook: Webhook, *, reason: str, now: datetime) -> None:
    """Disable a webhook, and have its user told."""
    disable(session, webhook, reason=reason)
    address = session.scalar(sa.select(User.email).where(User.id == webhook.user_id))
    payload = {"webhook_id": webhook.id, "url": webhook.url, "reason": reason}
    messages.put(session, webhook.user_id, DISABLED_TOPIC, payload, now=now, address=address)


def _of_webhook(column: sa.ColumnElement[Any]) -> sa.ScalarSelect[Any]:
    return (
        sa.select(column).where(_WEBHOOK.id == ROW.webhook_id).correlate(MESSAGE).scalar_subquery()
    )


# Literals, written as in the partial index.
_OTHER = MESSAGE.alias("other")
_ON_ITS_WAY = sa.text("other.topic = 'webhook' AND other.state = 'sending'")
_IN_PARALLEL = (
    sa.select(sa.func.count())
    .select_from(_OTHER)
    .where(_ON_ITS_WAY, _OTHER.c.user_id == ROW.user_id)
    .correlate(MESSAGE)
    .scalar_subquery()
)
_TO_THE_SAME = (
    sa.select(sa.literal(1))
    .select_from(_OTHER)
    .where(_ON_ITS_WAY, _OTHER.c.user_id == ROW.user_id, _OTHER.c.webhook_id == ROW.webhook_id)
    .correlate(MESSAGE)
    .exists()
)
_DUE = (
    sa.select(ROW.id)
    .where(DUE_DELIVERIES, ROW.due_at <= db_clock(), ~_TO_THE_SAME, _IN_PARALLEL < MOST_OF_A_USER)
    .order_by(ROW.due_at)
    .limit(1)
    .with_for_update(skip_locked=True)
    .cte("due")
)
_CLAIM = (
    sa.update(MESSAGE)
    .where(ROW.state == "pending", ROW.id.in_(sa.select(_DUE.c.id)))
    .values(
        state="sending",
        claim=ROW.claim + 1,
        tries=ROW.tries + 1,
        lease_until=db_clock(sa.bindparam("lease_s", type_=sa.Float())),
    )
    .returning(
        *(ROW.id, ROW.claim, ROW.user_id, ROW.webhook_id, ROW.payload, ROW.tries),
        _of_webhook(_WEBHOOK.url).label("url"),
        _of_webhook(_WEBHOOK.secret).label("secret"),
    )
)


def claim_due(database: Database, *, lease_s: float) -> Delivery | None:
    """Claim a delivery that is due, the oldest of those that may be made now.

    Args:
        database: The ledger.
        lease_s: How long it may take until whoever makes it is taken for dead, in seconds.
    """
    with database.single() as session:
        row = session.execute(_CLAIM, {"lease_s": lease_s}).one_or_none()
    return None if row is None else Delivery(database, *row)


def seconds_until_due(database: Database) -> float | None:
    """When to look again, in seconds from now; None when nothing is pending.

    Only reads: on SQLite, whoever looks this often must not stop those who write.
    """
    first = sa.select(sa.func.min(ROW.due_at), db_clock()).where(DUE_DELIVERIES)
    with database.read() as session:
        due_at, clock = session.execute(first).one()
    return None if due_at is None else float((due_at - clock).total_seconds())


def recover(database: Database, *, now: datetime, most: int) -> int:
    """Have deliveries made again whose sender died in the act.

    Returns:
        How many there were.
    """
    columns = (ROW.id, ROW.claim, ROW.user_id, ROW.webhook_id, ROW.payload, ROW.tries)
    statement = (
        sa.select(*columns).where(DELIVERIES_ON_THEIR_WAY, ROW.lease_until < db_clock()).limit(most)
    )
    with database.read() as session:
        overdue = session.execute(statement).all()
    for row in overdue:
        Delivery(database, *row, url="", secret="").retry(now=now)  # nosec B106
    return len(overdue)


def forget(session: so.Session, *, now: datetime) -> None:
    """Forget deliveries that were over long ago."""
    old = (DELIVERIES, ROW.created_at < now - KEPT_FOR, ROW.state.in_(("sent", "failed")))
    session.execute(sa.delete(MESSAGE).where(*old))
