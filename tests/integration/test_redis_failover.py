"""Another Redis becomes the primary, and the old one, a replica now, closes no connection."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from chalicelib.accounts.rate_limits import Rate, RateLimiter
from chalicelib.adapters.job_queue import api_client, worker_client
from chalicelib.errors import TooMany
from tests.harness.proxies import Proxy, to_port
from tests.harness.servers import Valkey


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Valkey]:
    server = Valkey(tmp_path / "old")
    yield server
    server.stop()


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Valkey]:
    server = Valkey(tmp_path / "new")
    yield server
    server.stop()


@pytest.fixture
def line(old: Valkey) -> Iterator[Proxy]:
    """What the primary's name leads to."""
    proxy = Proxy(to_port(old.port))
    yield proxy
    proxy.close()


def fail_over(line: Proxy, old: Valkey, new: Valkey) -> None:
    line.redirect(to_port(new.port))
    old.follow(new.port)


def test_who_cannot_wait_fails_once(line: Proxy, old: Valkey, new: Valkey) -> None:
    """The API's client hears of it with its first write, and has a new connection for the next."""
    client = api_client(f"redis://127.0.0.1:{line.port}/0")
    client.set("before", 1)
    fail_over(line, old, new)
    with pytest.raises(RedisConnectionError, match="replica"):
        client.set("during", 1)
    client.set("after", 1)
    with Redis(port=new.port) as there:
        assert there.exists("after")
    client.close()


def test_who_waits_goes_on(line: Proxy, old: Valkey, new: Valkey) -> None:
    """A worker's client tries again by itself, in a script and in a transaction."""
    client = worker_client(f"redis://127.0.0.1:{line.port}/0")
    client.ping()
    fail_over(line, old, new)
    client.eval("redis.call('SET', KEYS[1], 1)", 1, "script")
    with client.pipeline() as pipeline:
        pipeline.set("transaction", 1)
        pipeline.execute()
    with Redis(port=new.port) as there:
        assert there.exists("script", "transaction") == 2
    client.close()


def test_limits_hold_afterwards(line: Proxy, old: Valkey, new: Valkey) -> None:
    """While Redis is away everything is allowed; a replica is not away for ever."""
    limiter = RateLimiter(api_client(f"redis://127.0.0.1:{line.port}/0"), scope="test")
    once = Rate("once", most=1, window_s=600)
    limiter.spend((once, "before"))
    fail_over(line, old, new)
    limiter.spend((once, "susan"))
    limiter.spend((once, "susan"))
    with pytest.raises(TooMany):
        limiter.spend((once, "susan"))
    limiter.redis.close()
