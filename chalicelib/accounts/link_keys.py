"""Mails about accounts: a link to confirm an address, one to reset a password, and a warning.

A wish for a letter is a row. The worker makes the secret of a link as it writes the mail, so that
it stands in the mail alone; the ledger keeps a digest, and Redis sees nothing of it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.accounts.secrets import digest, make_secret
from chalicelib.db.engine import Database, db_clock
from chalicelib.db.models import Key, Letter, Task, User
from chalicelib.errors import LinkOver
from chalicelib.outbox import messages
from chalicelib.tasks.transitions import change

Kind = Literal["confirm", "reset", "moved"]

TTL = {"confirm": timedelta(days=3), "reset": timedelta(minutes=15)}
"""How long the link of a letter opens something."""

MAX_TRIES = 10
LEASE_S = 90
"""How long one try to send a letter may take before there is another, in seconds."""


def wish(session: so.Session, user: User, kind: Kind, *, now: datetime) -> Letter:
    """Have a letter sent to a user's address as it is now."""
    letter = Letter(
        id=str(uuid4()),
        user_id=user.id,
        kind=kind,
        address=user.email,
        created_at=now,
        due_at=db_clock(),
    )
    session.add(letter)
    return letter


def claim_due(database: Database, *, most: int = 100) -> Sequence[tuple[Letter, User]]:
    """Take the letters that are due, for as long as `LEASE_S`.

    A letter that was sent and not forgotten, because its sender died, is sent again: a second link
    does no harm.
    """
    due = sa.select(Letter.id).where(Letter.due_at <= db_clock()).limit(most)
    with database.read() as session:
        if not (ids := session.scalars(due).all()):
            return []
    statement = (
        sa.update(Letter)
        .where(Letter.id.in_(ids), Letter.due_at <= db_clock())
        .values(due_at=db_clock(LEASE_S), tries=Letter.tries + 1)
        .returning(Letter.id)
        .execution_options(synchronize_session=False)
    )
    with database.write() as session:
        mine = session.scalars(statement).all()
        found = sa.select(Letter, User).join(User, User.id == Letter.user_id)
        return [(row[0], row[1]) for row in session.execute(found.where(Letter.id.in_(mine)))]


def forget(database: Database, letter: Letter) -> None:
    """A letter was sent, or never will be."""
    with database.write() as session:
        session.execute(sa.delete(Letter).where(Letter.id == letter.id))


def make_key(database: Database, letter: Letter, *, now: datetime) -> str:
    """Make the secret of a letter's link; it is shown this once."""
    secret = make_secret()
    key = Key(
        digest=digest(secret),
        user_id=letter.user_id,
        kind=letter.kind,
        address=letter.address,
        expires_at=now + TTL[letter.kind],
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
        sa.delete(Key).where(*_opens(secret, kind, now=now)).returning(Key.user_id, Key.address)
    )
    row = session.execute(statement).one_or_none()
    user = None if row is None else session.get(User, row[0], with_for_update=True)
    if row is None or user is None or user.email != row[1]:
        raise LinkOver
    return user


def whose(session: so.Session, secret: str, kind: Kind, *, now: datetime) -> User | None:
    """Whose link it is, without using it; None when it opens nothing."""
    statement = (
        sa.select(User)
        .join(Key, sa.and_(Key.user_id == User.id, Key.address == User.email))
        .where(*_opens(secret, kind, now=now))
    )
    return session.scalar(statement)


def _opens(secret: str, kind: Kind, *, now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return Key.digest == digest(secret), Key.kind == kind, Key.expires_at > now


def confirm(session: so.Session, user: User, *, now: datetime) -> list[tuple[str, str]]:
    """Note that an address is its owner's, and have the mails sent that waited for it.

    Returns:
        Pairs of task id and name to ring for.
    """
    user.confirmed_at = now
    session.flush()
    waiting = sa.select(Task.id, Task.name).where(
        Task.user_id == user.id, Task.mail_state == "unconfirmed", Task.gone_at.is_(None)
    )
    found = [(row[0], row[1]) for row in session.execute(waiting)]
    for task_id, _ in found:
        with change(session, task_id, now=now) as task:
            if task.mail_state == "unconfirmed":
                messages.wish(task)
    return found
