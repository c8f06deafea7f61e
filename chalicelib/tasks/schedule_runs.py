"""What the end of a scheduled task means to its schedule.

Written in the transaction of the task's own end, and only for tasks that a schedule launched.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.models import Schedule, Task

MAX_FAILURES = 3
"""After so many failures in a row a schedule is disabled."""

SCHEDULE = cast("sa.Table", Schedule.__table__)
ROW = SCHEDULE.c


@dataclass(frozen=True)
class Disabled:
    """A schedule that was disabled because its tasks failed."""

    id: str
    name: str
    rrule: str
    timezone: str


Hook = Callable[[so.Session, Disabled, Task, datetime], None]

ON_DISABLED: list[Hook] = []
"""What is called when a schedule is disabled: with the transaction, the schedule, the task whose
failure was the last, and the time. `chalicelib.wiring` says who is to be told."""


def note_end(session: so.Session, task: Task, *, now: datetime) -> None:
    """Count a failure, or begin anew after a success; a cancelled task is neither."""
    if task.schedule_id is None:
        return
    about = {"about": task.schedule_id, "task": task.id}
    if task.status == "succeeded":
        session.execute(_SUCCEEDED, about)
    elif task.status == "failed":
        row = session.execute(_FAILED, about).one_or_none()
        if row is not None and not row.enabled:
            disabled = Disabled(row.id, row.name, row.rrule, row.timezone)
            for hook in ON_DISABLED:
                hook(session, disabled, task, now)


_SUCCEEDED = (
    sa.update(SCHEDULE)
    .where(ROW.id == sa.bindparam("about"), ROW.last_task_id == sa.bindparam("task"))
    .values(failures=0)
)

_AT_LAST = ROW.failures + 1 >= MAX_FAILURES
_FAILED = (
    sa.update(SCHEDULE)
    .where(
        ROW.id == sa.bindparam("about"),
        ROW.enabled,
        ROW.last_task_id == sa.bindparam("task"),
        # A task that is tried again by its user may fail again; that is no other run.
        ROW.counted_task_id.is_distinct_from(sa.bindparam("task")),
    )
    .values(
        failures=ROW.failures + 1,
        counted_task_id=sa.bindparam("task"),
        enabled=sa.case((_AT_LAST, sa.false()), else_=sa.true()),
        next_run_at=sa.case((_AT_LAST, sa.null()), else_=ROW.next_run_at),
    )
    .returning(ROW.id, ROW.name, ROW.rrule, ROW.timezone, ROW.enabled)
)
