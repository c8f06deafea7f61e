"""The state of the service, for load balancers, administrators and queued tasks."""

import sqlalchemy as sa

from chalicelib.adapters.job_queue import QueueError, Workers
from chalicelib.operations import queries
from chalicelib.schemas import responses
from chalicelib.schemas.serializers import show_time
from chalicelib.tasks import pauses
from chalicelib.web.request import Call


def workers_alive(call: Call) -> Workers:
    """How many workers are alive; one is assumed to be while Redis does not respond."""
    try:
        return call.wiring.queue.workers_alive()
    except QueueError:
        return Workers(1)


def health(call: Call) -> tuple[int, responses.Readiness]:
    """Status and checks of what the API depends on."""
    checks = {"database": _check_database(call), **_check_queue(call)}
    healthy = all(check["ok"] for check in checks.values())
    return (200 if healthy else 503), {"status": "ok" if healthy else "failing", "checks": checks}


def _check_database(call: Call) -> responses.Check:
    try:
        with call.wiring.database.read() as session:
            oldest = queries.oldest_queued(session)
        writable = call.wiring.is_writable.value(now=call.now)
    except sa.exc.SQLAlchemyError:
        return {"ok": False}
    if not writable:
        return {"ok": False, "writable": False}
    age_s = 0.0 if oldest is None else max(0.0, (call.now - oldest).total_seconds())
    return {"ok": True, "oldest_queued_age_s": round(age_s, 3)}


def _check_queue(call: Call) -> dict[str, responses.Check]:
    try:
        alive = call.wiring.queue.workers_alive()
    except QueueError:
        return {"redis": {"ok": False}, "workers": {"ok": False, "alive": None}}
    return {"redis": {"ok": True}, "workers": {"ok": alive > 0, "alive": int(alive)}}


def queue_state(call: Call) -> responses.Queue:
    """The queue, for administrators."""
    try:
        depth: int | None = call.wiring.queue.depth()
    except QueueError:
        depth = None
    return {
        "name": call.wiring.settings.queue_name,
        "depth": depth,
        "tasks": call.wiring.task_counts.value(now=call.now),
        "paused": _paused(call),
        "oldest_queued_age_s": _check_database(call).get("oldest_queued_age_s"),
    }


def _paused(call: Call) -> list[str]:
    with call.wiring.database.read() as session:
        return pauses.list_paused(session)


def workers(call: Call) -> responses.WorkerList:
    """The workers, for administrators; null while Redis does not respond."""
    try:
        found = call.wiring.queue.workers()
    except QueueError:
        return {"items": None, "next": None}
    items: list[responses.Worker] = [
        {
            "name": one.name,
            "hostname": one.hostname,
            "pid": one.pid,
            "state": one.state,
            "task_id": one.current_task,
            "started_at": show_time(one.started_at),
            "last_seen_at": show_time(one.last_seen_at),
        }
        for one in found
    ]
    return {"items": items, "next": None}
