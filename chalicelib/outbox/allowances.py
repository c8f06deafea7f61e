"""How many emails about accounts may be caused: the outbox itself counts, whatever asks for them.

Counted in the ledger, in the transaction that writes the message: whatever is undone was not
counted, the count outlives an account that is erased, and it goes on while Redis is away.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.engine import UtcDateTime
from chalicelib.db.locks import lock_names
from chalicelib.db.models import CountedEmail

WINDOW_S = 3600

TO_STRANGER = 3
"""To an address that nobody has confirmed: it may be that of somebody who never heard of us."""

TO_OWNER = 10
"""To the confirmed address of an account, whoever asks."""

TO_OWNER_FROM_NETWORK = 3
"""The same, from one network, so that a stranger does not use up what the owner may ask for."""

BY_USER = 20
FROM_NETWORK = 100
"""From one network: a school or an office may sign up in an hour."""


@dataclass(frozen=True)
class Cause:
    """Who causes an email.

    Attributes:
        network: Where the request came from.
        user_id: Who asked, if they are signed in.
    """

    network: str
    user_id: int | None = None


def recipient_of(address: str) -> str:
    """Whose mailbox an address leads to: what stands behind a `+` is the owner's own label."""
    local, _, domain = address.lower().rpartition("@")
    return f"{local.partition('+')[0]}@{domain}"


def wait_for(
    session: so.Session, address: str, cause: Cause, *, confirmed: bool, now: datetime
) -> int:
    """Count an email, if one may still be sent; call it last in a writing transaction.

    Args:
        session: A writing session.
        address: Where it would go.
        cause: Who causes it.
        confirmed: Whether the address is known to be the account's owner's.
        now: The time.

    Returns:
        How long to wait, in seconds; 0 if the email may be sent, which is counted then.
    """
    allowed = _allowed(recipient_of(address), cause, confirmed=confirmed)
    lock_names(session, allowed)  # two at once must see each other
    since = now - timedelta(seconds=WINDOW_S)
    counted = session.execute(_COUNT, {"subjects": list(allowed), "since": since}).all()
    spent = [first for subject, count, first in counted if count >= allowed[subject]]
    if spent:
        return max(1, ceil((max(spent) - since).total_seconds()))
    session.execute(
        sa.insert(CountedEmail), [{"subject": subject, "at": now} for subject in allowed]
    )
    return 0


def _allowed(recipient: str, cause: Cause, *, confirmed: bool) -> dict[str, int]:
    allowed = {
        _subject("to", recipient): TO_OWNER if confirmed else TO_STRANGER,
        _subject("from", cause.network): FROM_NETWORK,
    }
    if confirmed:
        allowed[_subject("between", f"{cause.network} {recipient}")] = TO_OWNER_FROM_NETWORK
    if cause.user_id is not None:
        allowed[_subject("by", str(cause.user_id))] = BY_USER
    return allowed


def _subject(name: str, who: str) -> str:
    """What is counted; of addresses the digest alone."""
    return f"{name}:{hashlib.sha256(who.encode('utf-8', 'surrogatepass')).hexdigest()}"


_COUNT = (
    sa.select(CountedEmail.subject, sa.func.count(), sa.func.min(CountedEmail.at))
    .where(
        CountedEmail.subject.in_(sa.bindparam("subjects", expanding=True)),
        CountedEmail.at > sa.bindparam("since", type_=UtcDateTime()),
    )
    .group_by(CountedEmail.subject)
)
