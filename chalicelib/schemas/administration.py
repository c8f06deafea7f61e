"""What operators see of everybody: what requests may ask for, and what responses hold."""

from datetime import datetime
from typing import Annotated, Any, Literal, TypedDict, cast

import msgspec
from msgspec import Meta

from chalicelib.accounts.limits import Limit
from chalicelib.accounts.rate_limits import Refusal as RefusalRow
from chalicelib.db.models import OutboxMessage
from chalicelib.db.models import Schedule as ScheduleRow
from chalicelib.db.models import Webhook as WebhookRow
from chalicelib.imports.uploads import ImportView
from chalicelib.outbox.webhooks import event_of
from chalicelib.schemas.imports import State as ImportState
from chalicelib.schemas.imports import state_of
from chalicelib.schemas.requests import ListQuery
from chalicelib.schemas.responses import Count, Task, TaskId, Time
from chalicelib.schemas.serializers import show_time
from chalicelib.values.fields import MessageState, Text, format_time


class OutboxQuery(ListQuery):
    """A page of the outbox.

    Attributes:
        state: Only messages in this state.
        topic: Only messages of this topic: `webhook` for deliveries, else a kind of email.
    """

    state: MessageState | msgspec.UnsetType = msgspec.UNSET
    topic: Text | msgspec.UnsetType = msgspec.UNSET


class WebhookQuery(ListQuery):
    """A page of everybody's webhooks.

    Attributes:
        state: `failing` for only those that failed since their last success, or were disabled for
            that.
    """

    state: Literal["failing"] | msgspec.UnsetType = msgspec.UNSET


class Switch(msgspec.Struct):
    """Whether something is to go on.

    Attributes:
        enabled: False pauses it, true resumes it.
    """

    enabled: Annotated[bool, Meta(examples=[False])]


class Owner(TypedDict):
    """Whose it is.

    Attributes:
        id: The account's number.
        username: The account's name.
    """

    id: int
    username: Annotated[str, Meta(examples=["susan"])]


class OverseenMessage(TypedDict):
    """A message of the outbox: an email, or a delivery to a webhook. Never what it says.

    Attributes:
        id: Its id.
        owner: Whom it is for.
        topic: `webhook` for a delivery; else what the email is about.
        state: `pending` until it is due, `sending` meanwhile, then `sent`, `failed` or `unknown`;
            `unconfirmed` until its address is confirmed, `paused` while its webhook is disabled.
        tries: How many times it was tried.
        created_at: When its event happened.
        due_at: When it is tried next, or was tried last.
        sent_at: When it was accepted; null until then.
        message_id: What the email service called it.
        task_id: The task that it is about.
        webhook_id: The webhook that it goes to; null for an email.
        n: Its number among the deliveries of its webhook; null for an email.
        status: The status that a receiver responded with last.
        error: Why the last try of a delivery failed, as a stable code.
    """

    id: TaskId
    owner: Owner
    topic: Annotated[str, Meta(examples=["export"])]
    state: MessageState
    tries: Count
    created_at: Time
    due_at: Time
    sent_at: Time | None
    message_id: str | None
    task_id: TaskId | None
    webhook_id: TaskId | None
    n: Count | None
    status: Annotated[int, Meta(examples=[503])] | None
    error: Annotated[str, Meta(examples=["timeout"])] | None


class OverseenMessageList(TypedDict):
    """A page of the outbox, the newest first.

    Attributes:
        items: The messages of this page.
        next: The `cursor` of the next page; null on the last one.
    """

    items: list[OverseenMessage]
    next: str | None


class OverseenSchedule(TypedDict):
    """Somebody's schedule.

    Attributes:
        id: Its id.
        owner: Whose it is.
        name: The kind of task that it launches.
        rrule: Its recurrence rule (RFC 5545).
        timezone: The time zone by whose clock it runs.
        enabled: Whether it runs.
        next_run_at: When it runs next; null if it does not.
        last_task_id: The task that it launched last.
        skipped: How many runs were skipped.
        failures: How many tasks failed in a row.
        created_at: When it was created.
    """

    id: TaskId
    owner: Owner
    name: Annotated[str, Meta(examples=["export_posts"])]
    rrule: Annotated[str, Meta(examples=["FREQ=DAILY"])]
    timezone: Annotated[str, Meta(examples=["Europe/Madrid"])]
    enabled: bool
    next_run_at: Time | None
    last_task_id: TaskId | None
    skipped: Count
    failures: Count
    created_at: Time


class OverseenScheduleList(TypedDict):
    """A page of everybody's schedules, the newest first.

    Attributes:
        items: The schedules of this page.
        next: The `cursor` of the next page; null on the last one.
    """

    items: list[OverseenSchedule]
    next: str | None


class OverseenWebhook(TypedDict):
    """Somebody's webhook.

    Attributes:
        id: Its id.
        owner: Whose it is.
        receiver: Scheme and host of its URL; the rest may hold a secret of the receiver's.
        enabled: Whether anything is delivered.
        disabled_reason: `paused` by somebody, `gone` because the receiver responded with 410, or
            `failing` for a day; null while it is enabled.
        failing_since: When the first try failed since the last success.
        deliveries: How many there were.
        created_at: When it was added.
    """

    id: TaskId
    owner: Owner
    receiver: Annotated[str, Meta(examples=["https://example.com"])]
    enabled: bool
    disabled_reason: Literal["paused", "gone", "failing"] | None
    failing_since: Time | None
    deliveries: Count
    created_at: Time


class OverseenWebhookList(TypedDict):
    """A page of everybody's webhooks, the newest first.

    Attributes:
        items: The webhooks of this page.
        next: The `cursor` of the next page; null on the last one.
    """

    items: list[OverseenWebhook]
    next: str | None


class OverseenImport(TypedDict):
    """Somebody's import.

    Attributes:
        id: Its id.
        owner: Whose it is.
        status: `waiting` until it is started, `expired` if it never was; then its task's status.
        task_id: The task that imports it; null until it is started.
        size_bytes: How large the file is; null until it is started.
        format: What the file was found to be; null until it is imported, as what follows.
        read: How many entries the file has.
        imported: How many posts were added.
        skipped: How many entries were no public posts of the owner's, or were there already.
        rejected: How many posts were left out.
        created_at: When it was created.
    """

    id: TaskId
    owner: Owner
    status: ImportState
    task_id: TaskId | None
    size_bytes: Count | None
    format: Annotated[str, Meta(examples=["mastodon_outbox"])] | None
    read: Count | None
    imported: Count | None
    skipped: Count | None
    rejected: Count | None
    created_at: Time


class OverseenImportList(TypedDict):
    """A page of everybody's imports, the newest first.

    Attributes:
        items: The imports of this page.
        next: The `cursor` of the next page; null on the last one.
    """

    items: list[OverseenImport]
    next: str | None


class LimitFigure(TypedDict):
    """A limit, and how often it refused somebody.

    Attributes:
        what: What is counted.
        by: Whom it is counted by.
        most: How much there may be, with its window.
        answer: What comes of one more.
        without_redis: What counts while Redis is away.
        refused: How often it refused somebody within a day; null where that is not counted.
    """

    what: Annotated[str, Meta(examples=["requests"])]
    by: Annotated[str, Meta(examples=["user"])]
    most: Annotated[str, Meta(examples=["600 in a minute"])]
    answer: Annotated[str, Meta(examples=["429"])]
    without_redis: Annotated[str, Meta(examples=["nobody"])]
    refused: Count | None


class Refusal(TypedDict):
    """How often a limit refused somebody within a day.

    Attributes:
        limit: What the limit is called in the counts.
        who: A user's number or a network; empty for those beyond the first 1,000 of an hour, and
            where only a token was known.
        count: How often.
        last: The hour of the last one.
    """

    limit: Annotated[str, Meta(examples=["exports:user"])]
    who: Annotated[str, Meta(examples=["7"])]
    count: Count
    last: Time


class Limits(TypedDict):
    """All limits, and who was refused within a day.

    Attributes:
        enabled: Whether there are limits here (`LIMITS`).
        items: The limits.
        refusals: Who was refused, most often first; null while Redis does not respond.
    """

    enabled: bool
    items: list[LimitFigure]
    refusals: list[Refusal] | None


class StoryEvent(TypedDict):
    """Something that happened to a task.

    Attributes:
        at: When.
        event: What, in the audit's word: `requested`, `started`, `returned`, `succeeded` …
    """

    at: Time
    event: Annotated[str, Meta(examples=["started"])]


class StoryAttempt(TypedDict):
    """A worker's try at a task.

    Attributes:
        started_at: When it was claimed.
        ended_at: When that claim was over; null while it lasts.
        outcome: `returned` if the task was queued again, else how it ended; null while it lasts.
    """

    started_at: Time
    ended_at: Time | None
    outcome: Annotated[str, Meta(examples=["returned"])] | None


class TaskStory(TypedDict):
    """A task's whole story.

    Attributes:
        task: The task, as its owner sees it.
        owner: Whose it is.
        worker: The worker that has it, or had it last.
        attempts: Its attempts, the first one first.
        history: What happened to it, the first first, at most 1,000 events.
        messages: What the outbox has about it, the newest first.
        log: Its last lines in the log, the oldest first, at most 200; null where the log is not in
            a file of this machine (`LOG_FILE`).
        log_query: What finds its lines with CloudWatch Logs Insights.
    """

    task: Task
    owner: Owner
    worker: str | None
    attempts: list[StoryAttempt]
    history: list[StoryEvent]
    messages: list[OverseenMessage]
    log: list[dict[str, Any]] | None
    log_query: str


def show_owner(row: Any, username: str) -> Owner:
    """Whose a row is."""
    return {"id": row.user_id, "username": username}


def task_of(message: OutboxMessage) -> str | None:
    """The task that a message is about; that of a delivery is in its event."""
    return message.task_id if message.webhook_id is None else event_of(message.payload).task_id


def show_message(message: OutboxMessage, username: str) -> OverseenMessage:
    """A message, without what it says and where it goes."""
    return {
        "id": message.id,
        "owner": show_owner(message, username),
        "topic": message.topic,
        "state": cast("MessageState", message.state),
        "tries": message.tries,
        "created_at": format_time(message.created_at),
        "due_at": format_time(message.due_at),
        "sent_at": show_time(message.sent_at),
        "message_id": message.message_id,
        "task_id": task_of(message),
        "webhook_id": message.webhook_id,
        "n": message.number,
        "status": message.status_code,
        "error": message.error_code,
    }


def show_schedule(schedule: ScheduleRow, username: str) -> OverseenSchedule:
    """A schedule."""
    return {
        "id": schedule.id,
        "owner": show_owner(schedule, username),
        "name": schedule.name,
        "rrule": schedule.rrule,
        "timezone": schedule.timezone,
        "enabled": schedule.enabled,
        "next_run_at": show_time(schedule.next_run_at),
        "last_task_id": schedule.last_task_id,
        "skipped": schedule.skipped,
        "failures": schedule.failures,
        "created_at": format_time(schedule.created_at),
    }


def receiver_of(url: str) -> str:
    """Where a webhook leads; the rest of its URL may hold a secret of its receiver's."""
    return "/".join(url.split("/", 3)[:3])


def show_webhook(webhook: WebhookRow, username: str) -> OverseenWebhook:
    """A webhook."""
    return {
        "id": webhook.id,
        "owner": show_owner(webhook, username),
        "receiver": receiver_of(webhook.url),
        "enabled": webhook.enabled,
        "disabled_reason": cast("Any", webhook.disabled_reason),
        "failing_since": show_time(webhook.failing_since),
        "deliveries": webhook.deliveries,
        "created_at": format_time(webhook.created_at),
    }


def show_import(view: ImportView, username: str, *, now: datetime) -> OverseenImport:
    """An import."""
    upload = view.upload
    return {
        "id": upload.id,
        "owner": show_owner(upload, username),
        "status": state_of(view, now=now),
        "task_id": upload.task_id,
        "size_bytes": upload.size_bytes,
        "format": upload.format,
        "read": upload.read,
        "imported": upload.imported,
        "skipped": upload.skipped,
        "rejected": upload.rejected,
        "created_at": format_time(upload.created_at),
    }


def show_limit(limit: Limit, refusals: list[RefusalRow] | None) -> LimitFigure:
    """A limit, with how often it refused somebody within a day."""
    refused = None
    if limit.counted and refusals is not None:
        refused = sum(one.count for one in refusals if one.limit in limit.counted)
    return {
        "what": limit.what,
        "by": limit.by,
        "most": limit.most,
        "answer": limit.answer,
        "without_redis": limit.without_redis,
        "refused": refused,
    }


def show_refusal(refusal: RefusalRow) -> Refusal:
    """How often a limit refused somebody within a day."""
    last = format_time(refusal.last)
    return {"limit": refusal.limit, "who": refusal.who, "count": refusal.count, "last": last}
