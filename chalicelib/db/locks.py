"""Locks on names, where there is no row to lock."""

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.engine import dialect


def lock_names(session: so.Session, names: Iterable[str]) -> None:
    """Let transactions that count or change the same things go one after another.

    In the names' order, so that two never wait for each other. On SQLite there is one writer at a
    time anyway.
    """
    if dialect(session) == "postgresql":
        for name in sorted(names):
            session.execute(_LOCK, {"name": name})


_LOCK = sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(sa.bindparam("name"), 0)))
