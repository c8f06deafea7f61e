"""Keys in links of emails: to confirm an address or to reset a password.

The sender makes the secret of a link as it writes the email, so that it is in the email alone; the
ledger keeps a digest, and neither the outbox nor Redis ever sees it.
"""

from datetime import datetime, timedelta
from typing import Literal

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.accounts.secrets import digest, make_secret
from chalicelib.db.engine import Database
from chalicelib.db.models import LinkKey, User
from chalicelib.errors import LinkOver
from chalicelib.outbox import messages

Kind = Literal["confirm", "reset"]

TTL = {"confirm": timedelta(days=3), "reset": timedelta(minutes=15)}
"""How long a link opens something."""


def send_link(session: so.Session, user: User, kind: Kind, *, now: datetime) -> None:
    """Have a link emailed to a user's address as it is now."""
    messages.put(session, user.id, kind, {}, now=now, address=user.email)


def make_key(database: Database, user_id: int, kind: str, *, address: str, now: datetime) -> str:
    """Make the secret of a link; it is shown this once."""
    secret = make_secret()
    key = LinkKey(
        digest=digest(secret),
        user_id=user_id,
        kind=kind,
        address=address,
        expires_at=now + TTL[kind],
    )
    with database.write() as session:
        session.add(key)
    return secret


def use_key(session: so.Session, secret: str, kind: Kind, *, now: datetime) -> User:
    """Open what a link opens; it is worth nothing afterwards.

    Returns:
        Whose link it was, their row locked.

    Raises:
        LinkOver: It is unknown, used or expired, or the address is another one by now.
    """
    statement = (
        sa.delete(LinkKey)
        .where(*_opens(secret, kind, now=now))
        .returning(LinkKey.user_id, LinkKey.address)
    )
    row = session.execute(statement).one_or_none()
    user = None if row is None else session.get(User, row[0], with_for_update=True)
    if row is None or user is None or user.email != row[1]:
        raise LinkOver
    return user


def owner_of(session: so.Session, secret: str, kind: Kind, *, now: datetime) -> User | None:
    """Whose link it is, without using it; None when it opens nothing."""
    statement = (
        sa.select(User)
        .join(LinkKey, sa.and_(LinkKey.user_id == User.id, LinkKey.address == User.email))
        .where(*_opens(secret, kind, now=now))
    )
    return session.scalar(statement)


def _opens(secret: str, kind: Kind, *, now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return LinkKey.digest == digest(secret), LinkKey.kind == kind, LinkKey.expires_at > now


def confirm(session: so.Session, user: User, *, now: datetime) -> None:
    """Note that an address is its owner's, and have the messages sent that waited for that."""
    user.confirmed_at = now
    session.flush()
    messages.release_unconfirmed(session, user.id)
