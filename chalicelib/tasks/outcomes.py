"""How a task ends badly, whoever ends it; `leases.Lease.succeed` is how it ends well."""

from datetime import datetime

from sqlalchemy import orm as so

from chalicelib.db.models import Task
from chalicelib.tasks import schedule_runs
from chalicelib.tasks.registry import kind_of


def end(
    session: so.Session,
    task: Task,
    *,
    status: str,
    lease_s: int,
    now: datetime,
    error: tuple[str, str] | None = None,
) -> None:
    """Give a locked task its one outcome.

    Args:
        session: The session that locked it.
        task: The task.
        status: `failed` or `cancelled`.
        lease_s: How long a worker that does not know yet may go on, in seconds.
        now: The time.
        error: Code and detail of a failure.
    """
    task.status = status
    task.finished_at = now
    task.lease_until = None
    task.checkpoint = None
    task.error_code, task.error_detail = error or (None, None)
    call_hooks(session, task, lease_s=lease_s, now=now)


def call_hooks(session: so.Session, task: Task, *, lease_s: int, now: datetime) -> None:
    """Have written what a task that has ended badly means to its kind and its schedule."""
    kind_of(task).on_end(session, task, lease_s=lease_s, now=now)
    schedule_runs.note_end(session, task, now=now)
