"""What the API shows of the ledger."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, cast, overload

from chalicelib.db.models import ACTIVE, Notification, Post, Task, User
from chalicelib.exports.files import available, is_export
from chalicelib.schemas import responses
from chalicelib.tasks.registry import describe
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
        "data": notification.data,
    }


def show_task(task: Task, *, workers_alive: bool, now: datetime, prefix: str) -> responses.Task:
    """A task, as honestly as it can be told; its place in the queue is for the caller to add.

    Args:
        task: The task.
        workers_alive: Whether anybody is there to work on it.
        now: The time.
        prefix: The path under which the API stands.
    """
    return {
        "id": task.id,
        "name": task.name,
        "description": describe(task.name),
        "status": cast("Status", task.status),
        "progress": {"percent": task.percent, "done": task.done, "total": task.total},
        "attempt": task.attempt,
        "max_attempts": task.max_attempts,
        "waiting_for": _waiting_for(task, workers_alive=workers_alive, now=now),
        "queue_position": None,
        "last_seen_at": show_time(task.last_seen_at),
        "created_at": format_time(task.created_at),
        "started_at": show_time(task.started_at),
        "finished_at": show_time(task.finished_at),
        "error": _error(task),
        "result": _result(task, now=now),
        "links": _links(task, now=now, prefix=prefix),
    }


def _waiting_for(
    task: Task, *, workers_alive: bool, now: datetime
) -> Literal["queue", "worker", "retry"] | None:
    if task.status != "queued":
        return None
    if not workers_alive:
        return "worker"
    return "retry" if task.failures and task.due_at > now else "queue"


def _error(task: Task) -> responses.Failure | None:
    if task.error_code is None:
        return None
    return {"code": task.error_code, "detail": task.error_detail}


def _result(task: Task, *, now: datetime) -> Mapping[str, Any] | None:
    if task.status != "succeeded" or not is_export(task):
        return task.result
    result: responses.ExportResult = {
        "posts": task.posts,
        "bytes": task.size_bytes,
        "sha256": task.sha256,
        "expires_at": show_time(task.expires_at),
        "available": available(task, now=now),
        "mail": {
            "state": _mail_state(task),
            "message_id": task.mail_message_id,
            "sent_at": show_time(task.mail_sent_at),
        },
    }
    return result


def _mail_state(task: Task) -> responses.MailState:
    """One that waits until the address is confirmed is still to be sent, like any other."""
    state = "pending" if task.mail_state == "unconfirmed" else task.mail_state
    return cast("responses.MailState", state)


def _links(task: Task, *, now: datetime, prefix: str) -> responses.TaskLinks:
    own = f"{prefix}/v1/tasks/{task.id}"
    download = f"{prefix}/v1/exports/{task.id}/download"
    return {
        "self": own,
        "cancel": f"{own}/cancel" if task.status in ACTIVE else None,
        "retry": f"{own}/retry" if task.status in {"failed", "cancelled"} else None,
        "download": download if is_export(task) and available(task, now=now) else None,
    }


def etag(shown: Mapping[str, Any]) -> str:
    """The ETag of a shown task: all of it but what changes while nothing happens to it."""
    lasting = {
        key: value for key, value in shown.items() if key not in {"queue_position", "last_seen_at"}
    }
    digest = hashlib.sha256(json.dumps(lasting, sort_keys=True).encode()).hexdigest()
    return f'"{digest[:32]}"'
