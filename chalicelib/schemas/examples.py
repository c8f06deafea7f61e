"""A response of each kind as a client may get it, for the reference."""

from collections.abc import Mapping
from typing import Any

from chalicelib.schemas import administration, imports, responses, schedules, webhooks
from chalicelib.schemas.exports import DatasetList

_TASK = "0b9e8e6c-6f0e-4d3e-9d3f-1a2b3c4d5e6f"
_IMPORT = "5f1d7c1e-3b1a-4c58-9a0d-6f2f0f6d8e11"
_SCHEDULE = "c7a8a5b4-91f1-4a60-8b6f-0f6c2b1d3e77"
_WEBHOOK = "2d4be1b8-7d53-4d1c-9df1-8f1c7a5b9e02"
_EVENT = f"{_TASK}-20260102030408000000"
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

USER: responses.User = {
    "id": 7,
    "username": "susan",
    "email": "susan@example.com",
    "email_confirmed": True,
    "language": "en",
    "post_count": 1204,
    "links": {"self": "/v1/me", "posts": "/v1/users/susan/posts", "tasks": "/v1/tasks"},
}

TOKEN: responses.Token = {
    "token": "9hXo4d1mPpN2v8t0cQZ0e7s3yKqU5rWbL6jAfGiT_Vk",
    "expires_at": "2026-02-01T03:04:05Z",
}

POST: responses.Post = {"id": 4711, "body": "Hello!", "timestamp": "2026-01-02T03:04:05Z"}

TASK: responses.Task = {
    "id": _TASK,
    "name": "export_posts",
    "description": "Exporting your posts",
    "status": "queued",
    "progress": {"percent": 0, "done": 0, "total": 0},
    "attempt": 0,
    "max_attempts": 5,
    "waiting_for": "queue",
    "queue_position": 1,
    "last_seen_at": None,
    "created_at": "2026-01-02T03:04:05Z",
    "started_at": None,
    "finished_at": None,
    "error": None,
    "result": None,
    "links": {
        "self": f"/v1/tasks/{_TASK}",
        "cancel": f"/v1/tasks/{_TASK}/cancel",
        "retry": None,
        "download": None,
    },
}

RUNNING_TASK: responses.Task = {
    **TASK,
    "status": "running",
    "progress": {"percent": 42, "done": 505, "total": 1204},
    "attempt": 1,
    "waiting_for": None,
    "queue_position": None,
    "last_seen_at": "2026-01-02T03:04:07Z",
    "started_at": "2026-01-02T03:04:06Z",
}

EXPORT_RESULT: responses.ExportResult = {
    "rows": {"posts": 1204},
    "bytes": 183_420,
    "sha256": _SHA256,
    "expires_at": "2026-01-09T03:04:08Z",
    "available": True,
    "mail": {
        "state": "sent",
        "message_id": "0102019b7c5a4f3e-000000",
        "sent_at": "2026-01-02T03:04:09Z",
    },
}

SUCCEEDED_TASK: responses.Task = {
    **RUNNING_TASK,
    "status": "succeeded",
    "progress": {"percent": 100, "done": 1204, "total": 1204},
    "finished_at": "2026-01-02T03:04:08Z",
    "result": {"posts": 1204, **EXPORT_RESULT},
    "links": {
        "self": f"/v1/tasks/{_TASK}",
        "cancel": None,
        "retry": None,
        "download": f"/v1/exports/{_TASK}/download",
    },
}

FAILED_TASK: responses.Task = {
    **RUNNING_TASK,
    "status": "failed",
    "finished_at": "2026-01-02T04:04:06Z",
    "error": {"code": "timeout", "detail": None},
    "links": {
        "self": f"/v1/tasks/{_TASK}",
        "cancel": None,
        "retry": f"/v1/tasks/{_TASK}/retry",
        "download": None,
    },
}

DATASETS: DatasetList = {
    "items": [
        {
            "name": "posts",
            "title": "Posts",
            "rows": 1204,
            "bytes": 183_420,
            "seconds": 0.5,
            "formats": ["json", "ndjson", "csv", "activitystreams"],
        }
    ],
    "next": None,
}

NEWS: responses.News = {
    "items": [
        {
            "seq": 12,
            "name": "task_progress",
            "timestamp": "2026-01-02T03:04:07Z",
            "data": {
                "task_id": _TASK,
                "name": "export_posts",
                "status": "running",
                "progress": {"percent": 42, "done": 505, "total": 1204},
                "error": None,
            },
        }
    ],
    "last_seq": 12,
}

QUEUE: responses.Queue = {
    "name": "microblog-tasks",
    "depth": 3,
    "tasks": {"queued": 3, "running": 1, "succeeded": 1204},
    "paused": [],
    "oldest_queued_age_s": 1.25,
}

WORKERS: responses.WorkerList = {
    "items": [
        {
            "name": "7f3c0b6ad0b34f4b8f0e0c1f6f9d4f11",
            "hostname": "ip-10-0-1-17",
            "pid": 17,
            "state": "busy",
            "task_id": _TASK,
            "started_at": "2026-01-01T00:00:00Z",
            "last_seen_at": "2026-01-02T03:04:07Z",
        }
    ],
    "next": None,
}

READY: responses.Readiness = {
    "status": "ok",
    "checks": {
        "database": {"ok": True, "oldest_queued_age_s": 1.25},
        "redis": {"ok": True},
        "workers": {"ok": True, "alive": 2},
    },
}

SCHEDULE: schedules.Schedule = {
    "id": _SCHEDULE,
    "task": {"name": "export_posts", "params": {}},
    "rrule": "FREQ=MONTHLY;BYMONTHDAY=1;BYHOUR=3",
    "timezone": "Europe/Madrid",
    "enabled": True,
    "next_runs": ["2026-02-01T02:00:00Z", "2026-03-01T02:00:00Z", "2026-04-01T01:00:00Z"],
    "last_task": SUCCEEDED_TASK,
    "skipped": 0,
    "failures": 0,
    "created_at": "2025-12-24T18:00:00Z",
    "links": {"self": f"/v1/schedules/{_SCHEDULE}", "last_task": f"/v1/tasks/{_TASK}"},
}

IMPORT: imports.Import = {
    "id": _IMPORT,
    "filename": "archive-20260102.zip",
    "status": "waiting",
    "created_at": "2026-01-02T03:04:05Z",
    "expires_at": "2026-01-03T03:04:05Z",
    "upload": {
        "method": "PUT",
        "url": "https://bucket.s3.eu-central-1.amazonaws.com/imports/7/5f1d7c1e/upload?X-Amz-Expires=3600",
        "headers": {"Content-Type": "application/octet-stream"},
        "expires_at": "2026-01-02T04:04:05Z",
        "max_bytes": 2_147_483_648,
    },
    "links": {
        "self": f"/v1/imports/{_IMPORT}",
        "start": f"/v1/imports/{_IMPORT}/start",
        "task": None,
        "report": None,
    },
}

IMPORT_RESULT: imports.ImportResult = {
    "format": "mastodon_outbox",
    "read": 1310,
    "imported": 1200,
    "skipped": 106,
    "rejected": 4,
    "report": f"/v1/imports/{_IMPORT}/report",
    "expires_at": "2026-01-09T03:04:08Z",
}

WEBHOOK: webhooks.ShownWebhook = {
    "id": _WEBHOOK,
    "url": "https://example.com/hook",
    "events": ["task.succeeded", "task.failed"],
    "enabled": True,
    "disabled_reason": None,
    "failing_since": None,
    "created_at": "2026-01-02T03:04:05Z",
    "links": {
        "self": f"/v1/webhooks/{_WEBHOOK}",
        "deliveries": f"/v1/webhooks/{_WEBHOOK}/deliveries",
        "test": f"/v1/webhooks/{_WEBHOOK}/test",
    },
}

DELIVERY: webhooks.ShownDelivery = {
    "n": 3,
    "id": _EVENT,
    "type": "task.succeeded",
    "task_id": _TASK,
    "state": "sent",
    "status": 200,
    "error": None,
    "tries": 1,
    "created_at": "2026-01-02T03:04:08Z",
    "tried_at": "2026-01-02T03:04:09Z",
    "sent_at": "2026-01-02T03:04:09Z",
    "next_try_at": None,
    "links": {
        "redeliver": f"/v1/webhooks/{_WEBHOOK}/deliveries/3/redeliver",
        "task": f"/v1/tasks/{_TASK}",
    },
}

_OWNER: administration.Owner = {"id": 7, "username": "susan"}

OVERSEEN_MESSAGE: administration.OverseenMessage = {
    "id": "8a6e3f0c-2b61-4d3b-8f2a-5d7f6b1c9e10",
    "owner": _OWNER,
    "topic": "webhook",
    "state": "pending",
    "tries": 3,
    "created_at": "2026-01-02T03:04:08Z",
    "due_at": "2026-01-02T03:04:29Z",
    "sent_at": None,
    "message_id": None,
    "task_id": _TASK,
    "webhook_id": _WEBHOOK,
    "n": 3,
    "status": 503,
    "error": None,
}

OVERSEEN_SCHEDULE: administration.OverseenSchedule = {
    "id": _SCHEDULE,
    "owner": _OWNER,
    "name": "export_posts",
    "rrule": "FREQ=MONTHLY;BYMONTHDAY=1;BYHOUR=3",
    "timezone": "Europe/Madrid",
    "enabled": True,
    "next_run_at": "2026-02-01T02:00:00Z",
    "last_task_id": _TASK,
    "skipped": 0,
    "failures": 0,
    "created_at": "2025-12-24T18:00:00Z",
}

OVERSEEN_WEBHOOK: administration.OverseenWebhook = {
    "id": _WEBHOOK,
    "owner": _OWNER,
    "receiver": "https://example.com",
    "enabled": True,
    "disabled_reason": None,
    "failing_since": "2026-01-02T03:04:09Z",
    "deliveries": 3,
    "created_at": "2026-01-02T03:04:05Z",
}

OVERSEEN_IMPORT: administration.OverseenImport = {
    "id": _IMPORT,
    "owner": _OWNER,
    "status": "succeeded",
    "task_id": _TASK,
    "size_bytes": 183_420,
    "format": "mastodon_outbox",
    "read": 1310,
    "imported": 1200,
    "skipped": 106,
    "rejected": 4,
    "created_at": "2026-01-02T03:04:05Z",
}

LIMITS: administration.Limits = {
    "enabled": True,
    "items": [
        {
            "what": "uploads",
            "by": "user",
            "most": "30 in 60 minutes",
            "answer": "429",
            "without_redis": "nobody",
            "refused": 2,
        }
    ],
    "refusals": [{"limit": "imports:user", "who": "7", "count": 2, "last": "2026-01-02T03:00:00Z"}],
}

STORY: administration.TaskStory = {
    "task": SUCCEEDED_TASK,
    "owner": _OWNER,
    "worker": "7f3c0b6ad0b34f4b8f0e0c1f6f9d4f11",
    "attempts": [
        {
            "started_at": "2026-01-02T03:04:06Z",
            "ended_at": "2026-01-02T03:04:08Z",
            "outcome": "succeeded",
        }
    ],
    "history": [
        {"at": "2026-01-02T03:04:05Z", "event": "requested"},
        {"at": "2026-01-02T03:04:06Z", "event": "started"},
        {"at": "2026-01-02T03:04:08Z", "event": "succeeded"},
    ],
    "messages": [OVERSEEN_MESSAGE],
    "log": None,
    "log_query": f'fields @timestamp, @message | filter task_id = "{_TASK}" | sort @timestamp',
}

EXAMPLES: dict[Any, Mapping[str, Any]] = {
    administration.OverseenMessage: OVERSEEN_MESSAGE,
    administration.OverseenMessageList: {"items": [OVERSEEN_MESSAGE], "next": None},
    administration.OverseenSchedule: OVERSEEN_SCHEDULE,
    administration.OverseenScheduleList: {"items": [OVERSEEN_SCHEDULE], "next": None},
    administration.OverseenWebhook: OVERSEEN_WEBHOOK,
    administration.OverseenWebhookList: {"items": [OVERSEEN_WEBHOOK], "next": None},
    administration.OverseenImportList: {"items": [OVERSEEN_IMPORT], "next": None},
    administration.Limits: LIMITS,
    administration.TaskStory: STORY,
    responses.User: USER,
    responses.Token: TOKEN,
    responses.Post: POST,
    responses.PostList: {"items": [POST], "next": None},
    responses.Task: TASK,
    responses.TaskList: {"items": [SUCCEEDED_TASK], "next": None},
    responses.ExportResult: EXPORT_RESULT,
    responses.News: NEWS,
    responses.Queue: QUEUE,
    responses.WorkerList: WORKERS,
    responses.Liveness: {"status": "ok"},
    responses.Readiness: READY,
    responses.Failure: {"code": "timeout", "detail": None},
    DatasetList: DATASETS,
    schedules.Schedule: SCHEDULE,
    schedules.ScheduleList: {"items": [SCHEDULE], "next": None},
    imports.Import: IMPORT,
    imports.ImportList: {"items": [{**IMPORT, "upload": None}], "next": None},
    imports.ImportResult: IMPORT_RESULT,
    webhooks.ShownWebhook: WEBHOOK,
    webhooks.WebhookList: {"items": [WEBHOOK], "next": None},
    webhooks.ShownDelivery: DELIVERY,
    webhooks.DeliveryList: {"items": [DELIVERY], "next": None},
}
"""An example of each response by its type."""

METRICS = """\
# HELP carryout_workers Workers that are alive.
# TYPE carryout_workers gauge
carryout_workers 2
"""

MORE_EXAMPLES: dict[Any, Mapping[str, Any]] = {
    str: {"metrics": METRICS},
    responses.Task: {
        "queued": TASK,
        "running": RUNNING_TASK,
        "succeeded": SUCCEEDED_TASK,
        "failed": FAILED_TASK,
    },
}
"""Of responses that look different from time to time, an example of each time."""
