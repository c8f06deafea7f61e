"""Tasks, posts and notifications as responses, with long polls where a client waits for news."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec
from chalice.app import Response

from chalicelib.accounts import accounts
from chalicelib.adapters.job_queue import Workers
from chalicelib.errors import Fault, Invalid, NotFound, Unauthenticated
from chalicelib.exports.views import TaskView, list_tasks
from chalicelib.microblog import posts
from chalicelib.schemas import responses
from chalicelib.schemas.requests import ListQuery, PostListQuery, TaskListQuery
from chalicelib.schemas.serializers import etag, show_notification, show_post, show_task
from chalicelib.tasks import notifications
from chalicelib.values.paging import Page, cursor, parse_cursor
from chalicelib.web.request import Call
from chalicelib.web.responses import json_response, matches
from chalicelib.web.status import workers_alive

POLL_AFTER_S = "1"
"""When to ask again about a task that is not over, in seconds."""


def task_response(
    call: Call, view: TaskView, *, status: int = 200, alive: Workers | None = None
) -> Response:
    """A task, with the headers that belong to it.

    Args:
        call: The request.
        view: The task.
        status: What to respond.
        alive: How many workers are alive; None if the caller has not looked.
    """
    shown = show(call, view, alive=alive)
    return _respond(shown, etag(shown), status=status)


def _respond(shown: responses.Task, tag: str, *, status: int) -> Response:
    headers = {"ETag": tag}
    if status == 202:  # noqa: PLR2004 - Accepted
        headers["Location"] = shown["links"]["self"]
    if shown["finished_at"] is None:
        headers["Retry-After"] = POLL_AFTER_S
    return json_response(shown, status=status, headers=headers)


def show(call: Call, view: TaskView, *, alive: Workers | None = None) -> responses.Task:
    """A task as it stands; a queued one with a look whether any worker is alive."""
    if alive is None:
        alive = workers_alive(call) if view.task.status == "queued" else Workers(1)
    return show_task(
        view,
        position=call.wiring.queue_positions.position(view.task, view.counted, now=call.now),
        workers=alive,
        now=call.wiring.now(),
        prefix=call.prefix,
    )


def changed_task(call: Call, task_id: str, *, wait_s: float) -> Response:
    """A task; while the client has it already, wait for a change, and answer 304 if none comes."""
    known, tag = call.request.headers.get("if-none-match"), ""

    def look() -> Response | None:
        nonlocal tag
        shown = show(call, call.own_task(task_id))
        tag = etag(shown)
        return None if matches(tag, known) else _respond(shown, tag, status=200)

    changed = call.long_poll(look, wait_s=wait_s)
    return changed or Response("", {"ETag": tag, "Cache-Control": "no-store"}, 304)


def task_list(call: Call, *, user_id: int | None) -> Response:
    """A page of a user's tasks, or of everybody's."""
    query = call.query(TaskListQuery)
    names = None if query.name is msgspec.UNSET else [query.name]
    with call.wiring.database.read() as session:
        found, more = list_tasks(
            session,
            page=page_of(query),
            user_id=user_id,
            status=query.status or None,
            names=names,
        )
    queued = any(view.task.status == "queued" for view in found)
    alive = workers_alive(call) if queued else Workers(1)
    items = [show(call, view, alive=alive) for view in found]
    last = found[-1].task if more else None
    return list_response(call, items, after=cursor(last.created_at, last.id) if last else None)


def post_list(call: Call, username: str) -> Response:
    """A page of a user's posts.

    Raises:
        NotFound: No user has this name.
    """
    page = page_of(call.query(PostListQuery), numbered=True)
    with call.wiring.database.read() as session:
        user = accounts.find_user(session, username)
        if user is None:
            raise NotFound
        found, more = posts.list_posts(session, user.id, page=page)
    last = found[-1] if more else None
    after = cursor(last.timestamp, last.id) if last else None
    return list_response(call, [show_post(post) for post in found], after=after)


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
        raise Invalid(Fault("?cursor", "must be the `next` cursor of an earlier response"))
    return Page(query.limit, (timestamp, int(item_id) if numbered else item_id))


def list_response(
    call: Call, items: Sequence[Mapping[str, object]], *, after: str | None
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
    """Notifications after a sequence number; wait until there are any."""
    user_id, last_seq = call.user.id, 0

    def look() -> list[responses.Notification] | None:
        nonlocal last_seq
        with call.wiring.database.read() as session:
            found, last = notifications.since(session, user_id, after=after)
        if last is None:
            raise Unauthenticated
        last_seq = last
        return [show_notification(one) for one in found] or None

    items: list[Any] = call.long_poll(look, wait_s=wait_s) or []
    return {"items": items, "last_seq": last_seq}
