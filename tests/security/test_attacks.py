"""Floods of one account or one network against the real stack: the others hardly notice.

Takes minutes: `make attack`.
"""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

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


@pytest.fixture(scope="module", name="stack")
def strict_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("stack") / "data", LIMITS="on") as stack:
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


FLOODS = [junk_resets, wrong_passwords, sign_ups, nowhere, held_and_left]


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
    figures = f"median {median_s:.3f} s, worst {worst_s:.3f} s, {memory / 1024**2:.0f} MiB"
    record_property("figures", figures)
    print(f"{name}: {figures}, {len(taken)} requests")  # noqa: T201 - what was measured
    assert median_s <= MEDIAN_S
    assert worst_s <= WORST_S
    assert memory <= MEMORY_BYTES
