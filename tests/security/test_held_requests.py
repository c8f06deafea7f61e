"""Held requests on the real server: who leaves frees a thread, and half of them stay free."""

import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.harness.people import Person, Remote
from tests.harness.stacks import Stack, running

HELD = 160
"""More than half of the server's 256 threads."""


@pytest.fixture(scope="module", name="stack")
def stack_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("stack") / "data") as stack:
        yield stack


def hold(app_url: str, token: str) -> socket.socket:
    """Send a request that is held for 20 s, and do not wait for its answer."""
    parts = urlsplit(app_url)
    connection = socket.create_connection((parts.hostname or "", parts.port or 80), timeout=30)
    connection.sendall(
        f"GET /v1/notifications?after=1000000&wait=20 HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {token}\r\n\r\n".encode()
    )
    return connection


def test_half_of_the_threads_stay_free(stack: Stack) -> None:
    """However many requests are held, with LIMITS=off, others are answered quickly."""
    person = Person.sign_up(Remote(stack.app_url), "susan")
    connections = [hold(stack.app_url, person.token or "") for _ in range(HELD)]
    worst_s = 0.0
    for _ in range(20):
        started = time.monotonic()
        assert person.get("/v1/me").status_code == 200
        worst_s = max(worst_s, time.monotonic() - started)
    assert worst_s < 10  # at 20 s those that are held are over
    for connection in connections:
        connection.close()


def test_a_thread_comes_back_when_its_client_leaves(stack: Stack) -> None:
    """What is closed at once is not held to its end."""
    person = Person.sign_up(Remote(stack.app_url), "rita")
    for _ in range(2):
        for connection in [hold(stack.app_url, person.token or "") for _ in range(128)]:
            connection.close()
    deadline = time.monotonic() + 15
    waited_s = 0.0
    while waited_s < 1 and time.monotonic() < deadline:  # there is room to be held again
        started = time.monotonic()
        person.get("/v1/notifications?after=1000000&wait=1")
        waited_s = time.monotonic() - started
    assert waited_s >= 1
