"""What is kept about an account besides the application's own rows, as datasets.

Nothing here is a secret, the hash of one, or somebody else's. What an export changes while it runs
is left out, its own task above all: each attempt must find the rows that the first one found.
"""

import sqlalchemy as sa

from chalicelib.db.models import (
    ACTIVE,
    AuditEntry,
    Notification,
    OutboxMessage,
    Schedule,
    Task,
    Token,
    User,
    Webhook,
)
from chalicelib.exports.datasets import Dataset
from chalicelib.outbox.messages import SETTLED
from chalicelib.values.languages import N_

PROFILE = Dataset(
    "profile",
    title=N_("Profile"),
    owner=User.id,
    key=(User.id,),
    snapshot=User.id,
    fields={
        "id": User.id,
        "username": User.username,
        "email": User.email,
        "email_confirmed_at": User.confirmed_at,
        "language": User.language,
        "is_administrator": User.is_admin,
        "created_at": User.created_at,
    },
)

TASKS = Dataset(
    "tasks",
    title=N_("Tasks"),
    owner=Task.user_id,
    key=(Task.created_at, Task.id),
    snapshot=Task.finished_at,
    time=Task.created_at,
    # Until it is over a task goes on changing, and the one that writes the export is not over.
    where=(Task.finished_at.is_not(None),),
    fields={
        "id": Task.id,
        "name": Task.name,
        "params": Task.params,
        "status": Task.status,
        "created_at": Task.created_at,
        "started_at": Task.started_at,
        "finished_at": Task.finished_at,
        "attempt": Task.attempt,
        "max_attempts": Task.max_attempts,
        "error_code": Task.error_code,
        "error_detail": Task.error_detail,
        "result": Task.result,
    },
)

NOTIFICATIONS = Dataset(
    "notifications",
    title=N_("Notifications"),
    owner=Notification.user_id,
    key=(Notification.seq,),
    snapshot=Notification.seq,
    time=Notification.timestamp,
    # News of a task that is not over is replaced with each step of it.
    where=(~sa.exists().where(Task.id == Notification.subject, Task.status.in_(ACTIVE)),),
    fields={
        "seq": Notification.seq,
        "name": Notification.name,
        "timestamp": Notification.timestamp,
        "data": Notification.data,
    },
)

SESSIONS = Dataset(
    "sessions",
    title=N_("Sessions"),
    owner=Token.user_id,
    key=(Token.created_at, Token.digest),
    snapshot=Token.created_at,
    time=Token.created_at,
    fields={"created_at": Token.created_at, "expires_at": Token.expires_at},
)

EMAILS = Dataset(
    "emails",
    title=N_("Emails"),
    owner=OutboxMessage.user_id,
    key=(OutboxMessage.created_at, OutboxMessage.id),
    snapshot=OutboxMessage.created_at,
    time=OutboxMessage.created_at,
    # Deliveries to webhooks are in the outbox, too.
    where=(OutboxMessage.state.in_(SETTLED), OutboxMessage.webhook_id.is_(None)),
    fields={
        "id": OutboxMessage.id,
        "topic": OutboxMessage.topic,
        "address": OutboxMessage.address,
        "state": OutboxMessage.state,
        "created_at": OutboxMessage.created_at,
        "sent_at": OutboxMessage.sent_at,
        "message_id": OutboxMessage.message_id,
        "task_id": OutboxMessage.task_id,
    },
)

SCHEDULES = Dataset(
    "schedules",
    title=N_("Schedules"),
    owner=Schedule.user_id,
    key=(Schedule.created_at, Schedule.id),
    snapshot=Schedule.created_at,
    time=Schedule.created_at,
    # A schedule's own runs change the rest, the one that writes this export among them.
    fields={
        "id": Schedule.id,
        "name": Schedule.name,
        "params": Schedule.params,
        "rrule": Schedule.rrule,
        "timezone": Schedule.timezone,
        "enabled": Schedule.enabled,
        "created_at": Schedule.created_at,
    },
)

WEBHOOKS = Dataset(
    "webhooks",
    title=N_("Webhooks"),
    owner=Webhook.user_id,
    key=(Webhook.created_at, Webhook.id),
    snapshot=Webhook.created_at,
    time=Webhook.created_at,
    # The secret is its receiver's, too. Deliveries change the rest: of those the audit tells.
    fields={
        "id": Webhook.id,
        "url": Webhook.url,
        "events": Webhook.events,
        "enabled": Webhook.enabled,
        "created_at": Webhook.created_at,
    },
)

AUDIT = Dataset(
    "audit",
    title=N_("Activity log"),
    owner=AuditEntry.user_id,
    key=(AuditEntry.id,),
    snapshot=AuditEntry.id,
    time=AuditEntry.at,
    fields={"at": AuditEntry.at, "event": AuditEntry.event, "task_id": AuditEntry.task_id},
)

DATASETS = (PROFILE, TASKS, NOTIFICATIONS, SESSIONS, EMAILS, SCHEDULES, WEBHOOKS, AUDIT)
"""What every application has."""
