"""Floods of one account or one network against the real stack: the others hardly notice.

Takes minutes: `make attack`.
"""

import os
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import requests
from requests.adapters import HTTPAdapter

from tests.harness.people import Person, Remote
from tests.harness.stacks import Stack, running

pytestmark = pytest.mark.attack

FLOOD_S = 20
THREADS = 24
MEDIAN_S = 0.1
WORST_S = 1.0
MEMORY_BYTES = 400 * 1024**2

WRITER = "writer"
"""Who has a hundred posts that are as long as can be."""


@pytest.fixture(scope="module", name="stack")
def strict_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("stack") / "data", LIMITS="on") as stack:
        writer = stack.join(WRITER)
        for _ in range(100):
            writer.call("POST", "/v1/posts", {"body": "\u2603" * 10_000}, 201)
        yield stack


class Network(HTTPAdapter):
    """Connects from an address of this machine; to the API each is a network of its own."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, source_address=(self._address, 0), **options)


def client(address: str, person: Person) -> requests.Session:
    """Somebody's client in a network."""
    session = requests.Session()
    session.mount("http://", Network(address))
    session.headers.update(person.headers)
    return session


def junk_resets(session: requests.Session, url: str, number: int) -> object:
    body = {"key": f"{number:043d}", "password": "correct horse"}
    return session.post(f"{url}/v1/passwords", json=body, timeout=30)


def wrong_passwords(session: requests.Session, url: str, number: int) -> object:
    body = {"username": f"user{number}", "password": "correct horse"}
    return session.post(f"{url}/v1/tokens", json=body, timeout=30)


def sign_ups(session: requests.Session, url: str, number: int) -> object:
    name = f"u{threading.get_ident() % 10_000}x{number}"
    body = {"username": name, "email": f"{name}@example.com", "password": "correct horse"}
    return session.post(f"{url}/v1/users", json=body, timeout=30)


def nowhere(session: requests.Session, url: str, number: int) -> object:
    return session.get(f"{url}/nowhere/{number}", timeout=30)


def held_and_left(session: requests.Session, url: str, number: int) -> object:
    """Ask to be held and leave at once."""
    del number
    with suppress(requests.RequestException):
        session.get(f"{url}/v1/notifications?after=1000000&wait=20", timeout=0.2)
    return None


def cheap_pages(session: requests.Session, url: str, number: int) -> object:
    del number
    return session.get(f"{url}/v1/me", timeout=30)


def dear_pages(session: requests.Session, url: str, number: int) -> object:
    del number
    return session.get(f"{url}/v1/users/writer/posts?limit=100", timeout=30)


def drips(session: requests.Session, url: str, number: int) -> object:
    """Never finish a head; each thread of the flood has 50 of these at a time."""
    del session, number
    with ExitStack() as stack:
        connections = [stack.enter_context(closing(connect(url))) for _ in range(50)]
        for byte in b"GET /healthz HTTP/1.1\r\nX: ":
            for one in connections:
                with suppress(OSError):
                    one.send(bytes([byte]))
            time.sleep(0.05)
    return None


def bodies(session: requests.Session, url: str, number: int) -> object:
    """Announce as much as is allowed, send nearly all of it, and stay."""
    del session, number
    with closing(connect(url)) as one, suppress(OSError):
        one.sendall(b"POST /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 10485760\r\n\r\n")
        one.sendall(b" " * 10_000_000)
        one.recv(1)
    return None


def unread(session: requests.Session, url: str, number: int) -> object:
    """Ask for the largest page there is, again and again, and read nothing of it."""
    del number
    token = session.headers["Authorization"]
    with closing(connect(url, receives=4096)) as one, suppress(OSError):
        for _ in range(20):
            one.sendall(
                b"GET /v1/users/writer/posts?limit=100 HTTP/1.1\r\nHost: x\r\n"
                b"Authorization: %s\r\n\r\n" % str(token).encode()
            )
            time.sleep(0.05)
        time.sleep(2)
    return None


def connect(url: str, *, receives: int = 0) -> socket.socket:
    """Connect from the attacker's network."""
    parts = urlsplit(url)
    connection = socket.socket()
    if receives:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
    connection.settimeout(5)
    connection.bind(("127.0.0.2", 0))
    connection.connect((parts.hostname or "", parts.port or 80))
    return connection


FLOODS = [
    cheap_pages,
    dear_pages,
    drips,
    bodies,
    unread,
    junk_resets,
    wrong_passwords,
    sign_ups,
    nowhere,
    held_and_left,
]


@pytest.mark.parametrize("flood", FLOODS)
def test_floods(
    stack: Stack, flood: Callable[..., object], record_property: Callable[[str, object], None]
) -> None:
    """While one network floods, /healthz and another user's requests stay quick."""
    name = flood.__name__.replace("_", "-")
    attacker = Person.sign_up(Remote(stack.app_url), f"mallory-{name}")
    victim = Person.sign_up(Remote(stack.app_url), f"susan-{name}")
    until = time.monotonic() + FLOOD_S

    def shoot() -> None:
        session = client("127.0.0.2", attacker)
        number = 0
        while time.monotonic() < until:
            number += 1
            with suppress(requests.RequestException):
                flood(session, stack.app_url, number)

    threads = [threading.Thread(target=shoot) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    taken: list[float] = []
    api = psutil.Process(stack.facts["pids"]["api"])
    memory, session = 0, client("127.0.0.3", victim)
    while time.monotonic() < until:
        for path in ("/healthz", "/v1/me"):
            started = time.monotonic()
            assert session.get(f"{stack.app_url}{path}", timeout=30).status_code == 200
            taken.append(time.monotonic() - started)
        memory = max(memory, api.memory_info().rss)
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    median_s, worst_s = statistics.median(taken), max(taken)
    load = os.getloadavg()[0]
    figures = f"median {median_s:.3f} s, worst {worst_s:.3f} s, {memory / 1024**2:.0f} MiB"
    figures += f" at a load of {load:.0f}"
    record_property("figures", figures)
    print(f"{name}: {figures}, {len(taken)} requests")  # noqa: T201 - what was measured
    assert median_s <= MEDIAN_S
    assert worst_s <= WORST_S
    assert memory <= MEMORY_BYTES
