"""A task's whole story: its attempts and all that happened to it, by the audit."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib import logs
from chalicelib.db.models import AuditEntry, OutboxMessage, Task, User
from chalicelib.errors import NotFound
from chalicelib.operations.oversight import Owned
from chalicelib.schemas.administration import show_message, show_owner, task_of
from chalicelib.schemas.serializers import show_time

MOST_EVENTS = 1000
"""How many of a task's events are told: the first ones."""

MOST_DELIVERIES = 1000
"""How many deliveries since the task was requested are looked at."""

MOST_LINES = 200
"""How many of a task's lines in the log are told: the last ones."""

ENDS = frozenset({"returned", "succeeded", "failed", "cancelled"})
"""What the audit says at the end of an attempt."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a task."""

    at: datetime
    event: str


@dataclass(frozen=True)
class Attempt:
    """A worker's try at a task.

    Attributes:
        started_at: When it was claimed.
        ended_at: When that claim was over; None while it lasts.
        outcome: `returned` (it is queued again), or how the task ended; None while it lasts.
    """

    started_at: datetime
    ended_at: datetime | None = None
    outcome: str | None = None


@dataclass(frozen=True)
class Story:
    """A task, and what became of it.

    Attributes:
        owned: The task, and whose it is.
        events: What happened to it, the first first.
        messages: What the outbox has about it, the newest first.
    """

    owned: Owned[Task]
    events: Sequence[Event]
    messages: Sequence[OutboxMessage]

    @property
    def attempts(self) -> list[Attempt]:
        """Its attempts, the first one first."""
        found: list[Attempt] = []
        for one in self.events:
            if one.event == "started":
                found.append(Attempt(one.at))
            elif one.event in ENDS and found and found[-1].ended_at is None:
                found[-1] = Attempt(found[-1].started_at, one.at, one.event)
        return found


def tell(session: so.Session, task_id: str) -> Story:
    """The story of a task.

    Raises:
        NotFound: There is no such task.
    """
    whose = sa.select(Task, User.username).join(User, User.id == Task.user_id)
    row = session.execute(whose.where(Task.id == task_id)).one_or_none()
    if row is None:
        raise NotFound
    return Story(Owned(*row), events_of(session, task_id), _messages_about(session, row[0]))


def _messages_about(session: so.Session, task: Task) -> list[OutboxMessage]:
    emails = sa.select(OutboxMessage).where(OutboxMessage.task_id == task.id)
    # What a delivery is about stands in its event alone, so those since the task are looked at.
    deliveries = sa.select(OutboxMessage).where(
        OutboxMessage.user_id == task.user_id,
        OutboxMessage.created_at >= task.created_at,
        OutboxMessage.webhook_id.is_not(None),
    )
    looked_at = session.scalars(
        deliveries.order_by(OutboxMessage.created_at).limit(MOST_DELIVERIES)
    )
    found = [*session.scalars(emails), *(one for one in looked_at if task_of(one) == task.id)]
    return sorted(found, key=lambda one: one.created_at, reverse=True)


def show_story(story: Story) -> dict[str, Any]:
    """What the API and the command line say of a story, beside the task itself."""
    task, username = story.owned.row, story.owned.username
    return {
        "owner": show_owner(task, username),
        "worker": task.worker,
        "attempts": [
            {
                "started_at": show_time(one.started_at),
                "ended_at": show_time(one.ended_at),
                "outcome": one.outcome,
            }
            for one in story.attempts
        ],
        "history": [{"at": show_time(one.at), "event": one.event} for one in story.events],
        "messages": [show_message(one, username) for one in story.messages],
    }


def events_of(session: so.Session, task_id: str) -> list[Event]:
    """What the audit says of a task, the first first."""
    statement = sa.select(AuditEntry.at, AuditEntry.event).where(AuditEntry.task_id == task_id)
    rows = session.execute(statement.order_by(AuditEntry.id).limit(MOST_EVENTS))
    return [Event(*row) for row in rows]


def log_of(file: str | None, task_id: str) -> list[dict[str, object]] | None:
    """The lines of a task in the log; None where there is no log that could be read."""
    return None if file is None else logs.lines_about(file, task_id, most=MOST_LINES)


def log_query(task_id: str) -> str:
    """What finds them on AWS, with CloudWatch Logs Insights over the groups of API and worker."""
    return f'fields @timestamp, @message | filter task_id = "{task_id}" | sort @timestamp'
