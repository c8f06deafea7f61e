"""Webhooks and their deliveries: what requests may hold and what responses do."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, TypedDict, cast, get_args

import msgspec
from msgspec import Meta

from chalicelib.adapters.job_queue import Workers
from chalicelib.db.models import ExportFile, OutboxMessage, Task, Webhook
from chalicelib.exports.kinds import export_of
from chalicelib.exports.views import Email, TaskView
from chalicelib.outbox.webhooks import as_time, event_of
from chalicelib.schemas.responses import Count, Path, TaskId, Time
from chalicelib.schemas.serializers import show_task, show_time
from chalicelib.values.addresses import MAX_URL
from chalicelib.values.fields import format_time

EventName = Literal["task.succeeded", "task.failed", "task.cancelled"]
State = Literal["pending", "sending", "sent", "failed", "paused"]

Url = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_URL,
        examples=["https://example.com/hook"],
        extra_json_schema={"format": "uri", "pattern": "^[hH][tT][tT][pP][sS]?://"},
    ),
]
Events = Annotated[list[EventName], Meta(min_length=1, max_length=3)]


class NewWebhook(msgspec.Struct):
    """A webhook to add: where it is, and which endings of tasks it hears of.

    Attributes:
        url: Where to deliver: `https://`, at an address that is public.
        events: Which endings of tasks to deliver; all, if left out.
    """

    url: Url
    events: Events = msgspec.field(default_factory=lambda: list(get_args(EventName)))


class ChangedWebhook(msgspec.Struct):
    """What becomes of a webhook; a field that is left out stays as it is.

    Attributes:
        url: Another address.
        events: Which endings of tasks to deliver from now on.
        enabled: Whether anything is delivered.
    """

    url: Url | msgspec.UnsetType = msgspec.UNSET
    events: Events | msgspec.UnsetType = msgspec.UNSET
    enabled: bool | msgspec.UnsetType = msgspec.UNSET


class WebhookLinks(TypedDict):
    """Where to go from a webhook.

    Attributes:
        self: The webhook.
        deliveries: Its deliveries.
        test: Delivers a test with a POST.
    """

    self: Path
    deliveries: Path
    test: Path


class ShownWebhook(TypedDict):
    """A webhook. `secret`, with which deliveries are signed, is shown once: when it is created.

    Attributes:
        id: Its id.
        url: Where it delivers.
        events: Which endings of tasks it delivers.
        enabled: Whether anything is delivered.
        disabled_reason: `paused` by you, `gone` because the receiver responded with 410, or
            `failing` for a day; null while it is enabled.
        failing_since: When the first try failed since the last success; null if none has.
        created_at: When it was added.
        links: Where to go from here.
        secret: The key of the signatures, by Standard Webhooks; only in the response that creates
            the webhook.
    """

    id: TaskId
    url: Url
    events: list[EventName]
    enabled: bool
    disabled_reason: Literal["paused", "gone", "failing"] | None
    failing_since: Time | None
    created_at: Time
    links: WebhookLinks
    secret: NotRequired[Annotated[str, Meta(pattern="^whsec_[A-Za-z0-9+/]+=*$")]]


class WebhookList(TypedDict):
    """A page of webhooks, the newest first.

    Attributes:
        items: The webhooks of this page.
        next: The `cursor` of the next page; null on the last one.
    """

    items: list[ShownWebhook]
    next: str | None


class DeliveryLinks(TypedDict):
    """Where to go from a delivery; what cannot be done now is null.

    Attributes:
        redeliver: Delivers it once more with a POST; null while it is on its way.
        task: The task that it is about; null for a test.
    """

    redeliver: Path | None
    task: Path | None


class ShownDelivery(TypedDict):
    """A delivery: one event, for one webhook.

    `id` is the header `webhook-id`, which all deliveries of an event share; `n` is the number among
    those of its webhook. `status` is what the receiver answered last, `error` why it did not.

    Attributes:
        n: Its number among those of its webhook.
        id: The header `webhook-id`, the same at every try.
        type: The event: `task.succeeded`, `task.failed`, `task.cancelled` or `webhook.test`.
        task_id: The task that it is about; null for a test.
        state: `pending` until the next try, `sending` meanwhile, then `sent` or `failed`; `paused`
            while the webhook is disabled.
        status: The status that the receiver responded with last; null if it did not.
        error: Why the last try failed, as a stable code; null if it did not.
        tries: How many times it was tried.
        created_at: When the event happened.
        tried_at: When it was tried last.
        sent_at: When the receiver accepted it.
        next_try_at: When it is tried next; null if it is not.
        links: What can be done with it now.
    """

    n: Annotated[int, Meta(ge=1, examples=[1])]
    id: str
    type: Annotated[str, Meta(examples=["task.succeeded"])]
    task_id: TaskId | None
    state: State
    status: Annotated[int, Meta(examples=[200])] | None
    error: Annotated[str, Meta(examples=["timeout"])] | None
    tries: Count
    created_at: Time
    tried_at: Time | None
    sent_at: Time | None
    next_try_at: Time | None
    links: DeliveryLinks


class DeliveryList(TypedDict):
    """A page of deliveries, the newest first.

    Attributes:
        items: The deliveries of this page.
        next: The `cursor` of the next page; null on the last one.
    """

    items: list[ShownDelivery]
    next: str | None


def show_webhook(webhook: Webhook, *, prefix: str, once: bool = False) -> ShownWebhook:
    """A webhook.

    Args:
        webhook: The row.
        prefix: The path under which the API stands.
        once: Whether it was created just now; then it is shown with its secret.
    """
    own = f"{prefix}/v1/webhooks/{webhook.id}"
    shown: ShownWebhook = {
        "id": webhook.id,
        "url": webhook.url,
        "events": cast("list[EventName]", webhook.events),
        "enabled": webhook.enabled,
        "disabled_reason": cast("Any", webhook.disabled_reason),
        "failing_since": show_time(webhook.failing_since),
        "created_at": format_time(webhook.created_at),
        "links": {"self": own, "deliveries": f"{own}/deliveries", "test": f"{own}/test"},
    }
    if once:
        shown["secret"] = webhook.secret
    return shown


def show_delivery(delivery: OutboxMessage, *, prefix: str) -> ShownDelivery:
    """A delivery."""
    event, own = event_of(delivery.payload), f"{prefix}/v1/webhooks/{delivery.webhook_id}"
    is_over = delivery.state in {"sent", "failed"}
    number = delivery.number or 0
    return {
        "n": number,
        "id": event.id,
        "type": event.type,
        "task_id": event.task_id,
        "state": cast("State", delivery.state),
        "status": delivery.status_code,
        "error": delivery.error_code,
        "tries": delivery.tries,
        "created_at": format_time(delivery.created_at),
        "tried_at": show_time(delivery.tried_at),
        "sent_at": show_time(delivery.sent_at),
        "next_try_at": show_time(delivery.due_at if delivery.state == "pending" else None),
        "links": {
            "redeliver": f"{own}/deliveries/{number}/redeliver" if is_over else None,
            "task": f"{prefix}/v1/tasks/{event.task_id}" if event.task_id else None,
        },
    }


TIMES = ("created_at", "queued_at", "due_at", "last_seen_at", "started_at", "finished_at")
"""Columns of a task that a delivery keeps as text."""


def task_of(payload: Mapping[str, Any]) -> Task:
    """The task of a delivery as it was when it ended; it belongs to no session."""
    kept = dict(payload["task"])
    times = {name: as_time(kept[name]) for name in TIMES if kept[name] is not None}
    return Task(**{**kept, **times})


def show_event(payload: dict[str, Any], export: ExportFile | None) -> dict[str, Any]:
    """The body of a delivery, the same at every try.

    The task is shown as it was when it ended, whatever has become of it: its file is there, and its
    email is pending. Links are paths without a prefix, as API Gateway's stage may have several.

    Args:
        payload: What the outbox holds of it.
        export: What an export adds to its task, read now; what a success has written there stays.
    """
    event = event_of(payload)
    data: Mapping[str, Any] = {}
    if event.task_id is not None:
        task = task_of(payload)
        if task.status != "succeeded" or export_of(task) is None:
            export = None
        view = TaskView(
            task,
            export=None if export is None else _as_published(export),
            email=None if export is None else Email("pending", None, None),
        )
        data = show_task(view, position=None, workers=Workers(1), now=event.timestamp, prefix="")
    return {"type": event.type, "timestamp": format_time(event.timestamp), "data": data}


def _as_published(export: ExportFile) -> ExportFile:
    """An export before its file expired or was deleted."""
    columns = {column.key: getattr(export, column.key) for column in ExportFile.__table__.c}
    return ExportFile(**{**columns, "gone_at": None})
