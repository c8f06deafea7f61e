"""Answers that several routes give: tasks, lists, health."""

import logging
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec
import sqlalchemy as sa
from chalice.app import Response

from chalicelib.accounts.rate_limits import EXPORTS_PER_USER, spend
from chalicelib.adapters.job_queue import QueueError
from chalicelib.db.models import Task
from chalicelib.errors import ExportGone, Fault, Invalid, Unauthenticated, Unavailable
from chalicelib.exports import removals
from chalicelib.logs import metrics
from chalicelib.operations import queries
from chalicelib.schemas import responses
from chalicelib.schemas.requests import ListQuery, TaskListQuery
from chalicelib.schemas.serializers import etag, show_notification, show_task, show_time
from chalicelib.tasks import notifications
from chalicelib.tasks import requests as task_requests
from chalicelib.tasks.registry import TASKS
from chalicelib.tasks.requests import Seen, Wish
from chalicelib.values.fields import IdempotencyKey, flaw
from chalicelib.values.paging import Page, cursor, parse_cursor
from chalicelib.web.api import Call, json_response, matches

log = logging.getLogger(__name__)

POLL_AFTER_S = "1"
"""When to ask again about a task that is not over, in seconds."""


def launch(call: Call, name: str, params: dict[str, Any]) -> Response:
    """Record a task, ring for it, and answer 202."""
    settings = call.wiring.settings
    wish = Wish(
        name=name,
        params=params,
        max_attempts=settings.task_max_attempts,
        cooldown_s=settings.export_cooldown_s if name == "export_posts" else 0,
        idempotency_key=_idempotency_key(call),
    )
    if settings.limits and TASKS[name].exports:
        spend(call.wiring.queue.redis, (EXPORTS_PER_USER, call.user.id))
    with call.wiring.database.write() as session:
        seen = task_requests.launch(session, call.user.id, wish, now=call.now)
    if seen.task.created_at != call.now:
        return task_response(call, seen, status=202)
    counted = metrics({"Requested": (1, "Count")}, task_name=name)
    log.info("requested", extra={"action": "launch", "task_id": seen.task.id, **counted})
    return task_response(call, seen, status=202, alive=ring(call, seen.task))


def _idempotency_key(call: Call) -> str | None:
    key: str | None = call.request.headers.get("idempotency-key")
    if key is not None and flaw(key, IdempotencyKey):
        raise Invalid(detail="Idempotency-Key must be 1 to 255 printable ASCII characters.")
    return key


def ring(call: Call, task: Task) -> bool:
    """Ring for a task; while Redis is away that is the sweeper's business.

    Returns:
        Whether a worker is alive, as `workers_alive` says.
    """
    try:
        return call.wiring.queue.ring([(task.id, task.name)]) > 0
    except QueueError:
        log.warning("could not ring", extra={"action": "ring", "task_id": task.id}, exc_info=True)
        return True


def remove(call: Call, prefix: str) -> None:
    """Remove files before the answer; what fails here is done by the sweeper."""
    try:
        removals.carry_out(call.wiring.database, call.wiring.storage, prefix)
    except Exception:
        log.warning("could not remove", extra={"action": "remove"}, exc_info=True)


def require_object(call: Call, key: str) -> None:
    """Look whether a published file is there.

    Raises:
        ExportGone: S3 has no such object.
        Unavailable: S3 does not answer.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - slow to import

    try:
        if call.wiring.storage.size(key) is None:
            raise ExportGone
    except (BotoCoreError, ClientError) as error:
        log.warning("S3 does not answer", extra={"action": "download"}, exc_info=True)
        raise Unavailable from error


def task_response(
    call: Call, seen: Seen, *, status: int = 200, alive: bool | None = None
) -> Response:
    """A task, with the headers that belong to it.

    Args:
        call: The request.
        seen: The task.
        status: What to answer.
        alive: Whether a worker is alive; None if nobody has looked.
    """
    shown = show(call, seen, alive=alive)
    return _respond(shown, etag(shown), status=status)


def _respond(shown: responses.Task, tag: str, *, status: int) -> Response:
    headers = {"ETag": tag}
    if status == 202:  # noqa: PLR2004 - Accepted
        headers["Location"] = shown["links"]["self"]
    if shown["finished_at"] is None:
        headers["Retry-After"] = POLL_AFTER_S
    return json_response(shown, status=status, headers=headers)


def show(call: Call, seen: Seen, *, alive: bool | None = None) -> responses.Task:
    """A task as it stands, with a look whether anybody is there to work on it."""
    return _placed(call, seen, _show(call, seen, alive=alive))


def _show(call: Call, seen: Seen, *, alive: bool | None = None) -> responses.Task:
    """All but the place in the queue, which no ETag covers."""
    if alive is None:
        alive = seen.task.status != "queued" or workers_alive(call)
    now = call.wiring.now()
    return show_task(seen.task, workers_alive=alive, now=now, prefix=call.prefix)


def _placed(call: Call, seen: Seen, shown: responses.Task) -> responses.Task:
    shown["queue_position"] = call.wiring.places.tell(seen.task, seen.near, now=call.now)
    return shown


def workers_alive(call: Call) -> bool:
    """Whether a worker is alive; while Redis does not answer nobody knows, so assume one is."""
    try:
        return call.wiring.queue.workers_alive() > 0
    except QueueError:
        return True


def changed_task(call: Call, task_id: str, *, wait_s: float) -> Response:
    """A task; while it is what the client knows already, held, and at last 304."""
    known, tag = call.request.headers.get("if-none-match"), ""

    def look() -> Response | None:
        nonlocal tag
        with call.wiring.database.read() as session:
            seen = task_requests.get_task(session, call.user.id, task_id)
        shown = _show(call, seen)
        tag = etag(shown)
        if matches(tag, known):
            return None
        return _respond(_placed(call, seen, shown), tag, status=200)

    changed = call.hold(look, wait_s=wait_s)
    return changed or Response("", {"ETag": tag, "Cache-Control": "no-store"}, 304)


def task_list(call: Call, *, user_id: int | None) -> Response:
    """A page of a user's tasks, or of everybody's."""
    query = call.query(TaskListQuery)
    page = page_of(query)
    name = None if query.name is msgspec.UNSET else query.name
    with call.wiring.database.read() as session:
        found, more = task_requests.list_tasks(
            session, page=page, user_id=user_id, status=query.status or None, name=name
        )
    alive = all(seen.task.status != "queued" for seen in found) or workers_alive(call)
    items = [show(call, seen, alive=alive) for seen in found]
    last = found[-1].task if more else None
    return list_response(call, items, after=cursor(last.created_at, last.id) if last else None)


def page_of(query: ListQuery, *, numbered: bool = False) -> Page:
    """Which page a query asks for.

    Args:
        query: The query.
        numbered: Whether the list's items have whole numbers for ids.
    """
    if query.cursor is msgspec.UNSET:
        return Page(query.limit)
    timestamp, item_id = parse_cursor(query.cursor)
    if numbered and not (item_id.isascii() and item_id.isdigit() and len(item_id) < 19):  # noqa: PLR2004
        raise Invalid(Fault("?cursor", "is not a cursor from an earlier answer's `next`"))
    return Page(query.limit, (timestamp, int(item_id) if numbered else item_id))


def list_response(
    call: Call, items: Sequence[responses.Task | responses.Post], *, after: str | None
) -> Response:
    """A page of a list, with a link to the next."""
    headers = {}
    if after is not None:
        given = call.request.query_params or {}
        query = urlencode({**{name: given[name] for name in given}, "cursor": after})
        path = call.request.path.format(**(call.request.uri_params or {}))
        headers["Link"] = f'<{call.prefix}{path}?{query}>; rel="next"'
    return json_response({"items": items, "next": after}, headers=headers)


def news(call: Call, *, after: int, wait_s: float) -> responses.News:
    """Notifications after a number, held until there are some."""
    user_id, last_seq = call.user.id, 0

    def look() -> list[responses.Notification] | None:
        nonlocal last_seq
        with call.wiring.database.read() as session:
            found, last = notifications.since(session, user_id, after=after)
        if last is None:
            raise Unauthenticated
        last_seq = last
        return [show_notification(one) for one in found] or None

    items = call.hold(look, wait_s=wait_s) or []
    return {"items": items, "last_seq": last_seq}


def health(call: Call) -> tuple[int, responses.Readiness]:
    """Status and checks of what the API stands on."""
    checks = {"database": _check_database(call), **_check_queue(call)}
    healthy = all(check["ok"] for check in checks.values())
    return (200 if healthy else 503), {"status": "ok" if healthy else "failing", "checks": checks}


def _check_database(call: Call) -> dict[str, Any]:
    try:
        with call.wiring.database.read() as session:
            oldest = queries.oldest_queued(session)
    except sa.exc.SQLAlchemyError:
        return {"ok": False}
    age_s = 0.0 if oldest is None else max(0.0, (call.now - oldest).total_seconds())
    return {"ok": True, "oldest_queued_age_s": round(age_s, 3)}


def _check_queue(call: Call) -> dict[str, dict[str, Any]]:
    try:
        alive = call.wiring.queue.workers_alive()
    except QueueError:
        return {"redis": {"ok": False}, "workers": {"ok": False, "alive": None}}
    return {"redis": {"ok": True}, "workers": {"ok": alive > 0, "alive": alive}}


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
        "oldest_queued_age_s": _check_database(call).get("oldest_queued_age_s"),
    }


def workers(call: Call) -> responses.WorkerList:
    """The workers, for administrators; null while Redis does not answer."""
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
