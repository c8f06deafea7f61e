"""Random users, who come, ask for tasks of all kinds, and leave again with all that is theirs."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import requests
from chalice.test import HTTPResponse

from chalicelib.outbox import webhooks
from tests.faults.lab import Author, Lab, as_exported
from tests.faults.oracle import ERASED, Expected
from tests.faults.world import schedule
from tests.harness.people import Remote
from tests.harness.uploads import json_lines, put
from tests.harness.waiting import wait_until

ANSWERED_WITHIN_S = 180
"""How long somebody goes on asking who gets no answer: faults last for seconds, and a worker that
met one is back within a minute or two."""

ENDS_WITHIN_S = 240
SIZES = (0, 3, 200, 5_000, 20_000)
NOT_NOW = (0, 502, 503, 504)
FORMATS = (["json"], ["csv", "ndjson"], ["json", "activitystreams"])
PAGES = (
    "/v1/me",
    "/v1/tasks",
    "/v1/notifications",
    "/v1/schedules",
    "/v1/webhooks",
    "/v1/datasets",
)


@dataclass
class Town:
    """Where users live.

    Attributes:
        lab: The stack.
        deadline: When nobody comes any more, by the monotonic clock.
        app_urls: The servers of the API, as they are now.
        hook_url: A receiver of webhooks.
        done: How often somebody did what.
        faults: What should not have happened, in words.
        hooked: The users who have a webhook.
    """

    lab: Lab
    deadline: float
    app_urls: list[str]
    hook_url: str
    done: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    hooked: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def is_over(self) -> bool:
        return time.monotonic() > self.deadline

    def live(self, chance: random.Random) -> None:
        """Be one user after another, until it is over."""
        while not self.is_over():
            try:
                self._live_once(chance)
            except Exception as error:  # noqa: BLE001 - it is a finding, and life goes on
                self.faults.append(f"a user met {type(error).__name__}: {error}")

    def _live_once(self, chance: random.Random) -> None:
        with self._lock:
            person = self.lab.join(chance.choice(SIZES))
        user = User(self, person, chance)
        for _ in range(chance.randint(2, 6)):
            action = chance.choice(ACTIONS)
            action(user)
            self.done[action.__name__] += 1
        user.leave()
        self.done["leave"] += 1


class User:
    """Somebody who does one thing after another, and asks again when nobody answers."""

    def __init__(self, town: Town, person: Author, chance: random.Random) -> None:
        self.town, self.person, self.chance = town, person, chance
        self.tasks: list[str] = []

    def ask(
        self, method: str, path: str, body: object = None, *, expected: Collection[int]
    ) -> HTTPResponse:
        """Ask, at any of the servers, until one answers; the answer must be one of these."""
        key = {"Idempotency-Key": uuid4().hex}

        def attempt() -> HTTPResponse | None:
            self.person.client = Remote(self.chance.choice(self.town.app_urls))
            try:
                answer = self.person.ask(method, path, body, key)
            except requests.RequestException:
                return None
            return None if answer.status_code in NOT_NOW else answer

        answer: HTTPResponse = wait_until(
            attempt, f"{method} {path} is answered", within_s=ANSWERED_WITHIN_S, every_s=0.2
        )
        assert answer.status_code in expected, f"{method} {path}: {answer.body!r}"
        return answer

    def launch(self, name: str, outcomes: tuple[str, ...] = ("succeeded",), **params: Any) -> str:
        """Request a task; nothing when one of its kind is in progress, as a schedule's may be."""
        body = {"name": name, "params": params}
        return self._note(self.ask("POST", "/v1/tasks", body, expected=(202, 409)), outcomes)

    def _note(self, answer: HTTPResponse, outcomes: tuple[str, ...] = ("succeeded",)) -> str:
        if answer.status_code == 409:
            return ""
        task_id: str = answer.json_body["id"]
        person = self.person
        self.town.lab.accepted[task_id] = Expected(
            user_id=person.user_id, username=person.username, must=person.posts, outcomes=outcomes
        )
        self.tasks.append(task_id)
        return task_id

    def wait(self, task_id: str) -> Any:
        """Wait until a task is over; return it."""

        def is_over() -> Any:
            task = self.ask("GET", f"/v1/tasks/{task_id}", expected=(200,)).json_body
            return task if task["finished_at"] else None

        return wait_until(is_over, f"{task_id} is over", within_s=ENDS_WITHIN_S, every_s=0.3)

    def maybe_wait(self, task_id: str) -> None:
        if task_id and self.chance.random() < 0.7:
            self.wait(task_id)

    def leave(self) -> None:
        """Erase the account, in the middle of whatever is going on."""
        mine = {one: self.town.lab.accepted[one] for one in self.tasks}
        for task_id, expected in mine.items():
            outcomes = (*expected.outcomes, ERASED)
            self.town.lab.accepted[task_id] = replace(expected, outcomes=outcomes)
        # Who was not answered and asks again is not known any more.
        self.ask("DELETE", "/v1/me", expected=(204, 401))


def export(user: User) -> None:
    user.maybe_wait(user._note(user.ask("POST", "/v1/exports", {}, expected=(202, 409))))


def archive(user: User) -> None:
    formats = user.chance.choice(FORMATS)
    user.maybe_wait(user.launch("export_archive", datasets=["posts"], formats=formats))


def count_words(user: User) -> None:
    user.maybe_wait(user.launch("count_words"))


def example(user: User) -> None:
    user.maybe_wait(user.launch("example", seconds=user.chance.randint(0, 3)))


def cancel(user: User) -> None:
    task_id = user.launch("example", ("succeeded", "cancelled"), seconds=20)
    if task_id:
        user.ask("POST", f"/v1/tasks/{task_id}/cancel", expected=(200, 202, 409))


def import_posts(user: User) -> None:
    """A file into an account that has none: what was in it is in every export from then on."""
    if user.person.posts or user.tasks:
        return
    rows = as_exported(user.chance.choice(SIZES[1:4]))
    created = user.ask("POST", "/v1/imports", {}, expected=(201,)).json_body
    wait_until(lambda: _put(created["upload"], json_lines(rows)), "the file is uploaded")
    path = f"/v1/imports/{created['id']}/start"
    task_id = user._note(user.ask("POST", path, {}, expected=(202,)))
    assert user.wait(task_id)["status"] == "succeeded", f"import {task_id}"
    user.person.posts = rows


def _put(upload: dict[str, Any], content: bytes) -> bool:
    try:
        return put(upload, content).status_code == 200
    except requests.RequestException:
        return False


def be_scheduled(user: User) -> None:
    """A schedule that is due at once, for the same export that the user asks for."""
    schedule(user.town.lab.wiring, user.person.user_id)


def add_webhook(user: User) -> None:
    if user.person.user_id in user.town.hooked or user.tasks:
        return
    with user.town.lab.wiring.database.write() as session:
        webhooks.create_webhook(
            session,
            user.person.user_id,
            url=user.town.hook_url,
            events=webhooks.EVENTS,
            now=user.town.lab.wiring.now(),
        )
    user.town.hooked.add(user.person.user_id)


def look_around(user: User) -> None:
    for path in user.chance.sample(PAGES, k=3):
        user.ask("GET", path, expected=(200,))


ACTIONS: tuple[Callable[[User], None], ...] = (
    export,
    archive,
    count_words,
    example,
    cancel,
    import_posts,
    be_scheduled,
    add_webhook,
    look_around,
)
