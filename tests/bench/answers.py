"""Times the API's answers inside a child process, called as Lambda calls them."""

import itertools
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from chalice.app import Chalice
from redis import Redis

from app import app
from chalicelib.db.models import User
from chalicelib.tasks import leases
from chalicelib.wiring import Wiring
from tests.bench import bare
from tests.harness import seeds
from tests.harness.events import Event, proxy_event

WARM_UP = 5
"""Calls before the first that is timed: connections, compiled statements, caches."""

Figures = dict[str, Any]
Timed = Callable[[], float]


def compare(wiring: Wiring, count: int) -> Figures:
    """Time `POST /v1/exports`, the poll and the notifications beside bare routes, in turns.

    Args:
        wiring: A ledger of this call's own.
        count: How many of each.

    Returns:
        Milliseconds: a list for each.
    """
    engine = sa.create_engine(wiring.settings.database_url)
    with Redis.from_url(wiring.settings.redis_url) as redis:
        figures = _beside(wiring, bare.make(engine, redis), count)
    engine.dispose()
    return figures


def _beside(wiring: Wiring, other: Chalice, count: int) -> Figures:
    users = seeds.make_users(wiring.database, count + WARM_UP)
    headers = [_bearer(token) for token in seeds.make_tokens(wiring.database, users)]
    everybody = list(zip(users, headers, strict=True))
    posts = _in_turns(
        {
            "post": _call(app, map(_ask, headers), 202, wiring),
            "bare_post": _call(other, (_bare("launch", user) for user in users), 202),
            "bare_known_post": _call(
                other, (_bare("launch-known", *one) for one in everybody), 202
            ),
        },
        count,
    )
    task_ids = seeds.queue_tasks(wiring.database, users[:2], "example")
    polls = _in_turns(
        {
            "poll": _call(app, itertools.repeat(_poll(task_ids[0], headers[0])), 200),
            "bare_poll": _call(other, itertools.repeat(_bare_poll(task_ids[0])), 200),
            "news": _call(app, map(_news, headers), 200),
            "bare_news": _call(other, map(_bare_news, users), 200),
        },
        count,
    )
    return posts | polls


def grow(
    wiring: Wiring, small: dict[str, str], large: dict[str, str], what: Sequence[str], count: int
) -> Figures:
    """Time requests on a small ledger and on a large one, in turns.

    Args:
        wiring: Is not used: there are two.
        small: The settings of the small one.
        large: Those of the large one.
        what: Of `post`, `poll`, `list`, `claim`.
        count: How many of each.

    Returns:
        Milliseconds: a list for each, and for each with `small_` before it.
    """
    del wiring
    figures: Figures = {}
    ledgers = {
        prefix: Wiring.from_environment({**os.environ, **environment})
        for prefix, environment in (("small_", small), ("", large))
    }
    calls = {prefix: _calls_on(one, what, count) for prefix, one in ledgers.items()}
    for name in what:
        figures |= _in_turns({prefix + name: calls[prefix][name] for prefix in calls}, count)
    for one in ledgers.values():
        one.database.close()
        one.queue.redis.close()
    return figures


def datasets(wiring: Wiring, user_id: int, count: int) -> Figures:
    """Time `GET /v1/datasets` of a user; tell how many posts it says there are."""
    (token,) = seeds.make_tokens(wiring.database, [user_id])
    event = proxy_event("GET", "/v1/datasets", headers=_bearer(token))
    figures: Figures = _in_turns(
        {"datasets": _call(app, itertools.repeat(event), 200, wiring)}, count
    )
    listed = {one["name"]: one["rows"] for one in json.loads(app(event, None)["body"])["items"]}
    return {**figures, "rows": listed["posts"]}


def _calls_on(wiring: Wiring, what: Sequence[str], count: int) -> dict[str, Timed]:
    """What to time on one ledger, by name.

    Polls are about the last task in its queue, lists about the first of its users.
    """
    users = seeds.make_users(wiring.database, 1 + WARM_UP + count)
    headers = [_bearer(token) for token in seeds.make_tokens(wiring.database, users)]
    calls: dict[str, Timed] = {}
    if "poll" in what:
        task_ids = seeds.queue_tasks(wiring.database, users[:1], "example")
        calls["poll"] = _call(app, itertools.repeat(_poll(task_ids[0], headers[0])), 200, wiring)
    if "post" in what:
        calls["post"] = _call(app, map(_ask, headers), 202, wiring)
    if "list" in what:
        with wiring.database.read() as session:
            username = session.scalar(sa.select(User.username).order_by(User.id).limit(1)) or ""
        page = _list(username, headers[0])
        calls["list"] = _call(app, itertools.repeat(page), 200, wiring)
    if "claim" in what:
        calls["claim"] = _claim(wiring, seeds.queue_tasks(wiring.database, users[1:], "example"))
    return calls


def _claim(wiring: Wiring, task_ids: Sequence[str]) -> Timed:
    following = iter(task_ids)

    def claim() -> float:
        task_id = next(following)
        began = time.perf_counter()
        claimed = leases.claim(
            wiring.database, task_id, worker="bench", lease_s=60, now=wiring.now()
        )
        passed_s = time.perf_counter() - began
        assert claimed
        return passed_s

    return claim


def _call(
    application: Any, events: Iterable[Event], status: int, wiring: Wiring | None = None
) -> Timed:
    """Something that sends the next event and returns how long the answer took."""
    following = iter(events)

    def call() -> float:
        if wiring is not None:
            application.wiring = wiring
        event = next(following)
        began = time.perf_counter()
        answer = application(event, None)
        passed_s = time.perf_counter() - began
        assert answer["statusCode"] == status, answer
        return passed_s

    return call


def _in_turns(calls: dict[str, Timed], count: int) -> dict[str, list[float]]:
    """Time calls, A B A B …; return milliseconds by name."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(WARM_UP + count):
        for name, call in calls.items():
            passed_s = call()
            if number >= WARM_UP:
                samples[name].append(1000 * passed_s)
    return samples


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


def _ask(headers: dict[str, str]) -> Event:
    return proxy_event("POST", "/v1/exports", headers=headers, body="{}")


def _poll(task_id: str, headers: dict[str, str]) -> Event:
    return proxy_event("GET", "/v1/tasks/{task_id}", {"task_id": task_id}, headers=headers)


def _news(headers: dict[str, str]) -> Event:
    return proxy_event("GET", "/v1/notifications", query={"after": "0"}, headers=headers)


def _list(username: str, headers: dict[str, str]) -> Event:
    parameters = {"username": username}
    return proxy_event("GET", "/v1/users/{username}/posts", parameters, headers=headers)


def _bare(route: str, user: int, headers: dict[str, str] | None = None) -> Event:
    return proxy_event("POST", f"/{route}/{{user_id}}", {"user_id": str(user)}, headers=headers)


def _bare_poll(task_id: str) -> Event:
    return proxy_event("GET", "/tasks/{task_id}", {"task_id": task_id})


def _bare_news(user: int) -> Event:
    return proxy_event("GET", "/notifications/{user_id}", {"user_id": str(user)})
