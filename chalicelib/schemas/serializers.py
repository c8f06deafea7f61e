"""What the API shows of the ledger."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, cast, overload

from chalicelib.adapters.job_queue import Workers
from chalicelib.db.models import ACTIVE, Notification, Task, User
from chalicelib.exports.files import is_available
from chalicelib.exports.kinds import export_of
from chalicelib.exports.views import Email, TaskView
from chalicelib.imports.kinds import import_of
from chalicelib.microblog.models import Post
from chalicelib.schemas import responses
from chalicelib.tasks.queue_position import is_delayed
from chalicelib.tasks.registry import kind_of
from chalicelib.values.fields import Language, Status, format_time

Json = Mapping[str, Any]
"""An answer of whatever shape."""


@overload
def show_time(value: datetime) -> str: ...
@overload
def show_time(value: datetime | None) -> str | None: ...
def show_time(value: datetime | None) -> str | None:
    """A time as the API writes it, or null."""
    return None if value is None else format_time(value)


def show_user(user: User, *, post_count: int, prefix: str) -> responses.User:
    """An account, to its owner."""
    return {
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "email_confirmed": user.confirmed_at is not None,
        "language": cast("Language", user.language),
        "post_count": post_count,
        "links": {
            "self": f"{prefix}/v1/me",
            "posts": f"{prefix}/v1/users/{user.username}/posts",
            "tasks": f"{prefix}/v1/tasks",
        },
    }


def show_post(post: Post) -> responses.Post:
    """A post."""
    return {"id": post.id, "body": post.body, "timestamp": format_time(post.timestamp)}


def show_notification(notification: Notification) -> responses.Notification:
    """A notification."""
    return {
        "seq": notification.seq,
        "name": notification.name,
        "timestamp": format_time(notification.timestamp),
        "data": cast("responses.TaskNews", notification.data),
    }


def show_task(
    view: TaskView,
    *,
    position: int | None,
    workers: Workers,
    now: datetime,
    prefix: str,
) -> responses.Task:
    """A task, as honestly as it can be told.

    Args:
        view: The task, its file and its email.
        position: Its position in the queue, as `QueuePositions.position` tells.
        workers: Who is there to work on it.
        now: The time.
        prefix: The path under which the API stands.
    """
    task = view.task
    waiting_for = _waiting_for(view, workers=workers, now=now)
    return {
        "id": task.id,
        "name": task.name,
        "description": kind_of(task).title,
        "status": cast("Status", task.status),
        "progress": {"percent": task.percent, "done": task.done, "total": task.total},
        "attempt": task.attempt,
        "max_attempts": task.max_attempts,
        "waiting_for": waiting_for,
        # Whose turn has not come, or does not come, is nowhere in the queue.
        "queue_position": None if waiting_for in {"time", "paused"} else position,
        "last_seen_at": show_time(task.last_seen_at),
        "created_at": format_time(task.created_at),
        "started_at": show_time(task.started_at),
        "finished_at": show_time(task.finished_at),
        "error": _error(task),
        "result": _result(view, now=now, prefix=prefix),
        "links": _links(view, now=now, prefix=prefix),
    }


def _waiting_for(
    view: TaskView, *, workers: Workers, now: datetime
) -> Literal["queue", "worker", "retry", "time", "paused"] | None:
    task = view.task
    if task.status != "queued":
        return None
    if is_delayed(task, now=now):
        return "time"
    if view.paused or workers.suspended:
        return "paused"
    if not workers:
        return "worker"
    return "retry" if task.failures and task.due_at > now else "queue"


def _error(task: Task) -> responses.Failure | None:
    if task.error_code is None:
        return None
    return {"code": task.error_code, "detail": task.error_detail}


def _result(view: TaskView, *, now: datetime, prefix: str) -> Mapping[str, Any] | None:
    task, export = view.task, view.export
    if task.result is not None and import_of(task) is not None:
        return {**task.result, "report": prefix + task.result["report"]}
    if task.status != "succeeded" or export_of(task) is None or export is None:
        return task.result
    result: responses.ExportResult = {
        "rows": export.rows or {},
        "bytes": export.size_bytes,
        "sha256": export.sha256,
        "expires_at": show_time(export.expires_at),
        "available": is_available(task, export, now=now),
        "mail": _email(view.email),
    }
    # Each dataset's count under its own name, too: what an export of one dataset is asked for.
    return {**(export.rows or {}), **result}


def _email(email: Email | None) -> responses.Mail:
    if email is None:
        return {"state": "none", "message_id": None, "sent_at": None}
    # One that waits until the address is confirmed is still to be sent, like any other.
    state = "pending" if email.state == "unconfirmed" else email.state
    return {
        "state": cast("responses.MailState", state),
        "message_id": email.message_id,
        "sent_at": show_time(email.sent_at),
    }


def _links(view: TaskView, *, now: datetime, prefix: str) -> responses.TaskLinks:
    task = view.task
    own = f"{prefix}/v1/tasks/{task.id}"
    has_file = export_of(task) is not None and is_available(task, view.export, now=now)
    return {
        "self": own,
        "cancel": f"{own}/cancel" if task.status in ACTIVE else None,
        "retry": f"{own}/retry" if _can_be_retried(task) else None,
        "download": f"{prefix}/v1/exports/{task.id}/download" if has_file else None,
    }


def _can_be_retried(task: Task) -> bool:
    """An import needs its file, which is gone when it is over."""
    return task.status in {"failed", "cancelled"} and import_of(task) is None


def etag(shown: Mapping[str, Any]) -> str:
    """The ETag of a shown task: all of it but what changes while nothing happens to it."""
    lasting = {
        key: value for key, value in shown.items() if key not in {"queue_position", "last_seen_at"}
    }
    digest = hashlib.sha256(json.dumps(lasting, sort_keys=True).encode()).hexdigest()
    return f'"{digest[:32]}"'
