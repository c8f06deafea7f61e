"""What users are told about their schedules."""

from datetime import datetime

from sqlalchemy import orm as so

from chalicelib.db.models import Task
from chalicelib.outbox import messages
from chalicelib.tasks.schedule_runs import Disabled

TOPIC = "schedule"
"""What the outbox calls a message about a schedule that was disabled."""


def tell_owner(session: so.Session, disabled: Disabled, task: Task, now: datetime) -> None:
    """Have the owner of a schedule told that it runs no longer."""
    payload = {
        "schedule_id": disabled.id,
        "name": disabled.name,
        "rrule": disabled.rrule,
        "timezone": disabled.timezone,
        "error_code": task.error_code,
    }
    messages.put(session, task.user_id, TOPIC, payload, now=now, task_id=task.id)
