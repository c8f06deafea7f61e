"""Accounts: sign up, sign in, change, erase."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.accounts import link_keys
from chalicelib.accounts.passwords import NOBODY, hash_password, verifies
from chalicelib.accounts.secrets import digest, make_secret
from chalicelib.db.engine import unhurried
from chalicelib.db.models import LinkKey, Token, User
from chalicelib.errors import EmailTaken, TooMany, Unauthenticated, UsernameTaken, WrongCredentials
from chalicelib.exports import removals
from chalicelib.outbox.allowances import Cause

MOST_TOKENS = 20
"""Tokens and sessions that a user has at a time: more devices than anybody has, and few enough to
count what is done with all of them."""


@dataclass(frozen=True)
class NewToken:
    """A token as its owner sees it, this once.

    Attributes:
        token: The secret; the ledger keeps only its SHA-256.
        expires_at: Until when it is valid.
    """

    token: str
    expires_at: datetime


@dataclass(frozen=True)
class NewUser:
    """Who wants an account; every field valid already."""

    username: str
    email: str
    password: str
    language: str = "en"
    is_admin: bool = False
    confirmed: bool = False


def sign_up(
    session: so.Session,
    new: NewUser,
    *,
    now: datetime,
    verify: bool = False,
    cause: Cause | None = None,
    hashed: str | None = None,
) -> User:
    """Create an account, and have its address confirmed if `verify` says so.

    Where too many emails were caused, none is sent; the user can request one later. Hash the
    password before the transaction and give it as `hashed`, where others may be waiting.

    Raises:
        UsernameTaken: Somebody has this name, in whatever case.
        EmailTaken: Somebody has this address, in whatever case.
    """
    user = User(
        username=new.username,
        email=new.email,
        password_hash=hashed or hash_password(new.password),
        language=new.language,
        is_admin=new.is_admin,
        created_at=now,
        confirmed_at=now if new.confirmed else None,
    )
    refuse_taken(session, username=new.username, email=new.email)
    session.add(user)
    _flush_unique(session)
    if verify:
        link_keys.send_link(session, user, "confirm", now=now, cause=cause)
    return user


def refuse_taken(session: so.Session, *, username: str | None, email: str | None) -> None:
    """Refuse a name or an address that somebody has, in whatever case.

    Raises:
        UsernameTaken, EmailTaken: Somebody has it.
    """
    if username is not None and find_user(session, username) is not None:
        raise UsernameTaken
    if email is not None:
        statement = sa.select(User.id).where(sa.func.lower(User.email) == email.lower())
        if session.scalar(statement) is not None:
            raise EmailTaken


def _flush_unique(session: so.Session) -> None:
    """Write; two who were both told that a name is free find out here."""
    try:
        session.flush()
    except sa.exc.IntegrityError as error:
        # By the index's name: PostgreSQL tells the value too, and "email" may be somebody's name.
        raise (EmailTaken if "uq_users_email" in str(error.orig) else UsernameTaken) from error


def find_user(session: so.Session, username: str) -> User | None:
    """The user of this name, in whatever case; any string may be asked for."""
    if not (username.isascii() and username.isprintable()):
        return None
    return session.scalar(sa.select(User).where(sa.func.lower(User.username) == username.lower()))


def find_address(session: so.Session, email: str) -> User | None:
    """The user of this email address, in whatever case."""
    return session.scalar(sa.select(User).where(sa.func.lower(User.email) == email.lower()))


def check_password(user: User | None, password: str) -> int:
    """Compare a password, in the same time for everybody.

    Returns:
        The user's number.

    Raises:
        WrongCredentials: It is wrong, or there is no such user; which of the two is not said.
    """
    hashed = user.password_hash if user else NOBODY
    if not verifies(hashed, password) or user is None:
        raise WrongCredentials
    return user.id


def issue_token(session: so.Session, user_id: int, *, ttl_s: int, now: datetime) -> NewToken:
    """Make a token for a user; beyond `MOST_TOKENS` the oldest ones end."""
    token = make_secret()
    expires_at = (now + timedelta(seconds=ttl_s)).replace(microsecond=0)
    session.execute(_END_OLD_TOKENS, {"of": user_id})
    session.add(Token(digest=digest(token), user_id=user_id, created_at=now, expires_at=expires_at))
    return NewToken(token, expires_at)


_NEWEST = (
    sa.select(Token.digest)
    .where(Token.user_id == sa.bindparam("of"))
    .order_by(Token.created_at.desc(), Token.digest.desc())
    .limit(MOST_TOKENS - 1)
)
_END_OLD_TOKENS = sa.delete(Token).where(
    Token.user_id == sa.bindparam("of"), Token.digest.not_in(_NEWEST)
)

BY_TOKEN = (
    sa.select(User)
    .join(Token, Token.user_id == User.id)
    .where(Token.digest == sa.bindparam("digest"), Token.expires_at > sa.bindparam("now"))
)


def authenticate(session: so.Session, token: str, *, now: datetime) -> User:
    """The user of a token, in one statement.

    Raises:
        Unauthenticated: It is unknown, revoked or expired.
    """
    row = authenticate_by(BY_TOKEN, session, token, now=now)
    return cast("User", row[0])


def authenticate_by(
    query: sa.Select[Any], session: so.Session, token: str, *, now: datetime, **more: Any
) -> sa.Row[Any]:
    """What a query made of `BY_TOKEN` finds, the user first; as `authenticate`.

    Args:
        query: The query.
        session: A session to read with.
        token: The token.
        now: The time.
        **more: Other parameters of the query.
    """
    row = session.execute(query, {"digest": digest(token), "now": now, **more}).one_or_none()
    if row is None:
        raise Unauthenticated
    return row


def signed_in_at(session: so.Session, token: str) -> datetime | None:
    """When a token was issued; None when it is unknown."""
    return session.scalar(sa.select(Token.created_at).where(Token.digest == digest(token)))


def revoke(session: so.Session, token: str) -> None:
    """Make a token worthless at once."""
    session.execute(sa.delete(Token).where(Token.digest == digest(token)))


def revoke_others(session: so.Session, user_id: int, *, keep: str = "") -> None:
    """Make all tokens of a user worthless, but for one."""
    others = sa.and_(Token.user_id == user_id, Token.digest != digest(keep))
    session.execute(sa.delete(Token).where(others))


def set_password(session: so.Session, user_id: int, hashed: str, *, keep: str = "") -> None:
    """Give a user another password, and end their sessions and the links of earlier emails.

    Args:
        session: A writing session.
        user_id: Whose.
        hashed: What `hash_password` made of the new one.
        keep: The token of the session that goes on.
    """
    session.get_one(User, user_id).password_hash = hashed
    revoke_others(session, user_id, keep=keep)
    session.execute(sa.delete(LinkKey).where(LinkKey.user_id == user_id, LinkKey.kind == "reset"))


def change_user(
    session: so.Session,
    user_id: int,
    changes: dict[str, Any],
    *,
    now: datetime,
    verify: bool = False,
    cause: Cause | None = None,
) -> User:
    """Change the email address, the language, or both.

    The old address is told, with a link that takes the change back: if it is known to be the
    user's, or if nobody has to confirm one.

    Args:
        session: A writing session.
        user_id: Whose.
        changes: The new values by their names, valid already.
        now: The time.
        verify: Whether a new address is to be confirmed.
        cause: Who is counted for the emails; None for nobody who is limited.

    Raises:
        EmailTaken: Somebody else has this address.
        TooMany: Too many emails were sent to the new address, or because of this user.
    """
    user = session.get_one(User, user_id)
    email = changes.get("email")
    moved = email is not None and email.lower() != user.email.lower()
    if moved:
        refuse_taken(session, username=None, email=email)
        _tell_old_address(session, user, now=now, verify=verify, cause=cause)
        user.confirmed_at = None
        # Links that take a change back stay: who made this one may have made the last one, too.
        session.execute(
            sa.delete(LinkKey).where(LinkKey.user_id == user_id, LinkKey.kind != "moved")
        )
    for name, value in changes.items():
        setattr(user, name, value)
    _flush_unique(session)
    if verify and email is not None and user.confirmed_at is None:
        wait_s = link_keys.send_link(session, user, "confirm", now=now, cause=cause)
        if wait_s and moved:
            raise TooMany(wait_s)
    return user


def _tell_old_address(
    session: so.Session, user: User, *, now: datetime, verify: bool, cause: Cause | None
) -> None:
    if user.confirmed_at is not None:
        # Not counted: else who is about to take the account over would use the limit up first.
        link_keys.send_link(session, user, "moved", now=now)
    elif not verify:
        link_keys.send_link(session, user, "moved", now=now, cause=cause)


def erase(session: so.Session, user_id: int, *, lease_s: int, now: datetime) -> None:
    """Erase an account: posts, tasks, notifications and tokens now, files by the removals.

    A worker that still runs for it finds its task gone and stops.
    """
    removals.request_removal(session, user_id, now=now, lease_s=lease_s)
    with unhurried(session):
        session.execute(sa.delete(User).where(User.id == user_id))
