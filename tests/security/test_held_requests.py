"""Held requests on the real server: they occupy no thread, and end when their client leaves."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis import Redis

from tests.harness.stacks import Stack, running
from tests.harness.waiting import readable, seconds, wait_until

HELD = 300
"""More than the server has threads."""


@pytest.fixture(scope="module", name="stack")
def stack_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("stack") / "data") as stack:
        yield stack


def hold(app_url: str, token: str, *, after: int = 1_000_000) -> socket.socket:
    """Send a request that is held for 20 s, and do not wait for its answer."""
    parts = urlsplit(app_url)
    connection = socket.create_connection((parts.hostname or "", parts.port or 80), timeout=30)
    connection.sendall(
        f"GET /v1/notifications?after={after}&wait=20 HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {token}\r\n\r\n".encode()
    )
    return connection


def test_held_requests_occupy_no_thread(stack: Stack) -> None:
    """However many requests are held, with LIMITS=off, others are answered at once."""
    person = stack.join("susan")
    connections = [hold(stack.app_url, person.token or "") for _ in range(HELD)]
    took_s: list[float] = []
    while len(took_s) < 20 and sum(took_s) < 5:
        took_s.append(seconds(lambda: person.call("GET", "/v1/me")))
    answered = readable(*connections)
    for connection in connections:
        connection.close()
    assert answered == []  # so all were held throughout
    assert max(took_s) < 15  # at 20 s those that are held are over


def test_one_request_after_another(stack: Stack) -> None:
    """A held request may follow at once on another one of its connection; both are answered."""
    person = stack.join("maria")
    parts = urlsplit(stack.app_url)
    rest = f" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {person.token}\r\n"
    asked = f"GET /v1/me{rest}\r\nGET /v1/notifications?wait=1{rest}Connection: close\r\n\r\n"
    for _ in range(4):
        connections = []
        for _ in range(50):
            address = (parts.hostname or "", parts.port or 80)
            connections.append(socket.create_connection(address, timeout=30))
            connections[-1].sendall(asked.encode())
        for connection in connections:
            with connection, connection.makefile("rb") as answers:
                assert answers.read().count(b"HTTP/1.1 200 OK") == 2


def test_all_who_wait_hear_news(stack: Stack) -> None:
    """What happens to a user is told to all of their held requests, long before they are over."""
    person = stack.join("david")
    connections = [hold(stack.app_url, person.token or "", after=0) for _ in range(HELD)]
    wait_until(lambda: is_listened_for(stack, person.user_id), "somebody listens for news")
    started = time.monotonic()
    person.post("/v1/tasks", {"name": "example", "params": {"seconds": 0}})
    for connection in connections:
        answer = b""
        while b'"task_progress"' not in answer:
            data = connection.recv(65536)
            assert data, answer
            answer += data
        connection.close()
    assert time.monotonic() - started < 10


def is_listened_for(stack: Stack, user_id: int) -> bool:
    """Whether a process has subscribed to a user's news."""
    with Redis.from_url(stack.facts["redis_url"]) as redis:
        return bool(redis.pubsub_channels(f"carryout:*:news:{user_id}"))


def test_a_client_that_leaves_frees_what_it_held(tmp_path: Path) -> None:
    """With limits a user has 12 held requests; those of clients that are gone do not count."""
    with running(tmp_path / "data", LIMITS="on") as stack:
        person = stack.join("rita")
        for _ in range(5):
            for connection in [hold(stack.app_url, person.token or "") for _ in range(12)]:
                connection.close()

        def is_held() -> bool:
            started = time.monotonic()
            person.get("/v1/notifications?after=1000000&wait=1")
            return time.monotonic() - started >= 1

        wait_until(is_held, "there is room again", within_s=15)
