"""A server of one's own on which many wait for news: what that costs, and when news reach them."""

import asyncio
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import psutil

from chalicelib.tasks.registry import TASKS
from chalicelib.tasks.requests import TaskRequest, launch_task
from chalicelib.wiring import Wiring
from infra.local.stack import free_port
from tests.bench.bench import Bench
from tests.bench.figures import Bound, Row
from tests.harness import seeds
from tests.harness.processes import stop
from tests.harness.waiting import listens, wait_until

STATEMENTS = 50.0
"""How many statements a second a thousand who wait may cost while nothing happens."""

NEWS_MS = 100.0
OTHERS_MS = 100.0
MEMORY_MIB = 400.0
THREADS = 100.0

WAIT_S = 20
COUNTED_S = 8.0
"""For so long statements are counted: longer than the ledger is left alone in between."""

SETTLE_S = 0.5
"""Who begins to be listened for is looked at once more."""

FILES = 8_192


@dataclass
class Clients:
    """Connections that wait for news, driven by the loop of one thread.

    Args:
        port: The server's.
        tokens: Whose: one request each.
    """

    port: int
    tokens: Sequence[str]
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)
    _answers: list[asyncio.Task[float]] = field(default_factory=list)

    async def ask(self, wait_s: int = WAIT_S) -> None:
        """Send a request on each connection, some at a time."""
        for number, token in enumerate(self.tokens):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            path = f"/v1/notifications?after=0&wait={wait_s}"
            writer.write(_request(path, token))
            self._writers.append(writer)
            self._answers.append(asyncio.create_task(_read(reader)))
            if number % 20 == 0:
                await asyncio.sleep(0.05)

    async def answered_at(self, number: int) -> float:
        """When a connection had its answer."""
        return await asyncio.wait_for(self._answers[number], WAIT_S + 10)

    def answered(self) -> list[asyncio.Task[float]]:
        """Those that have an answer."""
        return [one for one in self._answers if one.done()]

    async def close(self) -> None:
        """Leave, answered or not."""
        for answer in self._answers:
            answer.cancel()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._answers, return_exceptions=True)


def _request(path: str, token: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


async def _read(reader: asyncio.StreamReader) -> float:
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    return time.perf_counter()


def rows(bench: Bench) -> Iterator[Row]:
    """Many wait, and nothing happens; then something happens to some of them."""
    environment = {**bench.environment("postgresql"), "LIMITS": "off"}  # all from one address
    bench.servers.postgresql.configure(environment["DATABASE_URL"], {"log_statement": "all"})
    wiring = bench.wiring(environment)
    count = bench.sizes.watchers
    users = seeds.make_users(wiring.database, count + 1)
    tokens = seeds.make_tokens(wiring.database, users)
    port = free_port()
    bench.say(f"{count:,} requests held on one API process")
    server = bench.start(
        [sys.executable, "-m", "infra.servers.serve", "--port", str(port)], env=environment
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, FILES)), hard))
    try:
        wait_until(lambda: listens(port), "the API listens")
        figures = asyncio.run(_watch(bench, wiring, Users(port, users, tokens), server))
    finally:
        stop(server)
    bounds = {
        "statements a second while nothing happens": ("/s", STATEMENTS),
        "from a commit to the watcher's answer": ("ms", NEWS_MS),
        "another user's GET /v1/me beside them": ("ms", OTHERS_MS),
        "memory of the API": ("MiB", MEMORY_MIB),
        "threads of the API": ("", THREADS),
    }
    for what, (unit, limit) in bounds.items():
        yield Row(
            group="watchers",
            name=f"{count:,} held requests: {what}",
            unit=unit,
            samples=figures[what],
            bound=Bound(limit, of="value"),
        )


@dataclass(frozen=True)
class Users:
    """Those who watch, after one who does not; all on one server's port."""

    port: int
    ids: Sequence[int]
    tokens: Sequence[str]

    def watch(self) -> Clients:
        """New connections of those who watch."""
        return Clients(self.port, self.tokens[1:])


async def _watch(
    bench: Bench, wiring: Wiring, users: Users, server: psutil.Popen
) -> dict[str, list[float]]:
    clients = users.watch()
    await clients.ask()
    await asyncio.to_thread(wait_until, lambda: _heard(wiring) > len(users.tokens) - 1, "all wait")
    await asyncio.sleep(SETTLE_S)
    assert not clients.answered(), "some were not held"
    before, began = _statements(bench), time.perf_counter()
    await asyncio.sleep(COUNTED_S * min(1.0, bench.sizes.window_s))
    used = (_statements(bench) - before) / (time.perf_counter() - began)
    memory = server.memory_info().rss / 2**20
    threads = float(server.num_threads())
    await clients.close()
    again = users.watch()
    await again.ask()
    news = []
    for number in range(min(bench.sizes.idle, bench.sizes.watchers)):
        launched = await asyncio.to_thread(_launch, wiring, users.ids[number + 1])
        news.append((await again.answered_at(number) - launched) * 1000)
    others = [await _ask_me(users.port, users.tokens[0]) for _ in range(bench.sizes.idle)]
    await again.close()
    return {
        "statements a second while nothing happens": [max(used, 0.1)],
        "from a commit to the watcher's answer": news,
        "another user's GET /v1/me beside them": others,
        "memory of the API": [memory],
        "threads of the API": [threads],
    }


def _launch(wiring: Wiring, user_id: int) -> float:
    request = TaskRequest(kind=TASKS["example"], params={"seconds": 0}, max_attempts=1)
    with wiring.database.write() as session:
        launch_task(session, user_id, request, now=wiring.now())
        return time.perf_counter()


async def _ask_me(port: int, token: str) -> float:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.perf_counter()
    writer.write(_request("/v1/me", token))
    answered = await _read(reader)
    writer.close()
    return (answered - began) * 1000


def _heard(wiring: Wiring) -> int:
    """For how many users the API listens, everybody counted as one."""
    return len(wiring.queue.redis.pubsub_channels("carryout:*:news:*"))


def _statements(bench: Bench) -> int:
    """How many statements PostgreSQL has logged."""
    return bench.servers.postgresql.log.count("LOG:  ")
