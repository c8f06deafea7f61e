"""Time that passes at once: what is due later becomes due now, as if everybody had waited for it.

Nobody works meanwhile. So a run takes no longer than its work, and a lease may be so long here that
no busy machine lets it run out.
"""

from datetime import timedelta

import sqlalchemy as sa

from chalicelib.db.engine import Database, db_clock
from chalicelib.db.models import LEASED, QUEUED, OutboxMessage, Removal, Task

MARGIN = timedelta(seconds=0.1)
"""How much more time passes: some compare with the clock as they know it, to a few milliseconds."""

_AWAITED = (
    (Task.due_at, Task.id, Task.status == QUEUED),
    (Task.lease_until, Task.id, Task.status.in_(LEASED)),
    (OutboxMessage.due_at, OutboxMessage.id, OutboxMessage.state == "pending"),
    (OutboxMessage.lease_until, OutboxMessage.id, OutboxMessage.state == "sending"),
    (Removal.due_at, Removal.id, sa.true()),
)
"""Moments that somebody waits for: the column, the key of its rows, and those that matter."""


_NO_OBJECTS = {"synchronize_session": False}


def pass_time(database: Database, *, unless_due: bool = False) -> float:
    """Let time pass until the next thing is due, if anything is due later.

    All else that is due later comes nearer by as much, so things stay in their order.

    Args:
        database: The ledger.
        unless_due: Let no time pass while something is due already.

    Returns:
        The seconds that passed.
    """
    with database.read() as session:
        now = session.execute(sa.select(db_clock())).scalar_one()
        awaited = [
            (column, key == value, at)
            for column, key, which in _AWAITED
            for value, at in session.execute(sa.select(key, column).where(which))
            if at is not None
        ]
    later = [one for one in awaited if one[2] > now]
    if not later or (unless_due and len(later) < len(awaited)):
        return 0.0
    passed = min(at for *_, at in later) - now + MARGIN
    with database.write() as session:
        for column, is_its, at in later:
            change = sa.update(column.class_).where(is_its, column == at)
            values = {column.key: at - passed}
            session.execute(change.values(values), execution_options=_NO_OBJECTS)
    return passed.total_seconds()
