"""The one door through which a task changes.

Whoever changes a task locks its user first (by raising their notification number), then the
task, checks that it may, changes attributes, and leaves a notification; all in one transaction.
Nobody locks in another order, so nobody waits in a circle; and no change goes unannounced.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib import notifications
from chalicelib.errors import CancelRequested, ClaimLost, NotFound
from chalicelib.models import HELD, Task

_RAISE = notifications.raising(
    of=sa.select(Task.user_id).where(Task.id == sa.bindparam("task_id")).scalar_subquery()
)
_LOCK = (
    sa.select(Task)
    .where(Task.id == sa.bindparam("task_id"))
    .with_for_update()
    .execution_options(populate_existing=True)
)


@contextmanager
def change(session: so.Session, task_id: str, *, now: datetime) -> Iterator[Task]:
    """Lock a task for a change by somebody who holds no claim on it.

    Args:
        session: A writing session.
        task_id: Which task.
        now: The time of the change, for the notification.

    Yields:
        The task as it stands; attributes set inside are written at the end of the block, together
        with a notification, if there were any.

    Raises:
        NotFound: There is no such task.
    """
    seq = session.scalar(_RAISE, {"task_id": task_id})
    # Read anew under the lock: what the session knew of it may be old.
    task = session.scalar(_LOCK, {"task_id": task_id})
    if seq is None or task is None:
        raise NotFound
    yield task
    if session.is_modified(task):
        session.flush()
        notifications.post_task_progress(session, task, seq=seq, now=now)


@contextmanager
def change_held(
    session: so.Session, task_id: str, *, claim: int, now: datetime, cancelling: bool = False
) -> Iterator[Task]:
    """Lock a task for a change by the worker that claimed it: the fence.

    Args:
        session: A writing session.
        task_id: Which task.
        claim: The number that the worker's claim got.
        now: The time of the change.
        cancelling: Whether the change is the one that ends a cancelled task.

    Raises:
        ClaimLost: Another claim was made, the lease was taken away, or the task is gone.
        CancelRequested: The user asked to cancel it, and this change does not do that.
    """
    try:
        with change(session, task_id, now=now) as task:
            if task.claim != claim or task.status not in HELD:
                raise ClaimLost
            if task.status == "cancelling" and not cancelling:
                raise CancelRequested
            yield task
    except NotFound as error:
        raise ClaimLost from error
