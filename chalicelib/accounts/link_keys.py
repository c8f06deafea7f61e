"""Keys in links of emails: to confirm an address, to reset a password, to take a change back.

The sender makes the secret of a link as it writes the email, so that it is in the email alone; the
ledger keeps a digest, and neither the outbox nor Redis ever sees it.
"""

from datetime import datetime, timedelta
from typing import Literal

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.accounts.secrets import digest, make_secret
from chalicelib.db.engine import Database
from chalicelib.db.models import LinkKey, Token, User
from chalicelib.errors import EmailTaken, LinkOver
from chalicelib.outbox import allowances, messages
from chalicelib.outbox.allowances import Cause

Kind = Literal["confirm", "reset", "moved"]

NO_PASSWORD = "!"  # noqa: S105 - no hash, so that no password has it  # nosec B105
"""What stands where a hash of the password does, until its owner sets another one."""

TTL = {
    "confirm": timedelta(days=3),
    "reset": timedelta(minutes=15),
    "moved": timedelta(days=7),
}
"""How long a link opens something; `moved` takes a change of address back."""


def send_link(
    session: so.Session, user: User, kind: Kind, *, now: datetime, cause: Cause | None = None
) -> int:
    """Have a link emailed to a user's address as it is now.

    While one that confirms this address is still to be sent, no other is.

    Args:
        session: A writing session.
        user: Whose address it is.
        kind: What the link is for.
        now: The time.
        cause: Who causes it; None for nobody who is limited.

    Returns:
        How long to wait until one may be sent, in seconds; 0 if it is on its way.
    """
    session.flush()
    if kind == "confirm" and messages.is_open(session, user.id, kind, address=user.email):
        return 0
    if cause is not None:
        confirmed = user.confirmed_at is not None
        wait_s = allowances.wait_for(session, user.email, cause, confirmed=confirmed, now=now)
        if wait_s:
            return wait_s
    messages.put(session, user.id, kind, {}, now=now, address=user.email)
    return 0


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


def restore_address(session: so.Session, secret: str, *, now: datetime) -> User:
    """Take a change of address back, with the link that the old address got.

    Whoever has made the change knows the password, so it opens nothing any more, every session
    ends, and the links of later changes are worth nothing; those of earlier ones still work, for
    they go to somebody who had the account before.

    Returns:
        The user, with the old address again, which is confirmed: its owner has read the email.

    Raises:
        LinkOver: It is unknown, used or expired.
        EmailTaken: Another account has the address by now.
    """
    statement = sa.delete(LinkKey).where(*_opens(secret, "moved", now=now))
    row = session.execute(
        statement.returning(LinkKey.user_id, LinkKey.address, LinkKey.expires_at)
    ).one_or_none()
    user = None if row is None else session.get(User, row[0], with_for_update=True)
    if row is None or user is None:
        raise LinkOver
    user.email, user.confirmed_at, user.password_hash = row[1], now, NO_PASSWORD
    try:
        session.flush()
    except sa.exc.IntegrityError as error:
        raise EmailTaken from error
    session.execute(sa.delete(Token).where(Token.user_id == user.id))
    later = sa.or_(LinkKey.kind != "moved", LinkKey.expires_at >= row[2])
    session.execute(sa.delete(LinkKey).where(LinkKey.user_id == user.id, later))
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
