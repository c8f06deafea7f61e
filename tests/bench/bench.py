"""What every row of the benchmark is measured with."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from chalicelib.db.engine import Database
from chalicelib.wiring import Wiring
from infra.local.stack import free_port
from tests.bench import child as children
from tests.bench.child import Child
from tests.bench.sizes import Sizes
from tests.harness import processes, seeds
from tests.harness.servers import Servers
from tests.harness.waiting import listens, wait_until

NAMES = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}
"""What databases are called in a row."""

POSTGRESQL_SETTINGS = ("server_version", "fsync", "synchronous_commit", "shared_buffers")

Environment = Mapping[str, str]
Measure = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Bench:
    """A run.

    Attributes:
        servers: PostgreSQL, Valkey, and S3 and SES as `make run` has them.
        sizes: How much of everything.
        say: Takes a line about how far the run is.
        peers: The Python of the environment with Celery and others; None leaves them out.
        apart: Whether what is measured gets processes of its own; a test does without.
        left_out: Sentences about what was not measured, and why.
        profile: What a cold import spends its time on: package and milliseconds.
    """

    servers: Servers
    sizes: Sizes
    say: Callable[[str], None]
    peers: Path | None = None
    apart: bool = True
    left_out: list[str] = field(default_factory=list)
    profile: list[tuple[str, float]] = field(default_factory=list)
    _cleanup: ExitStack = field(default_factory=ExitStack)
    _redis_databases: Iterator[int] = field(default_factory=partial(count, 1))

    def close(self) -> None:
        """End what was started; the servers go on."""
        self._cleanup.close()

    @cached_property
    def stub(self) -> str:
        """The address of S3 and SES that answer at once."""
        port = free_port()
        self._cleanup.callback(
            processes.stop, self.start([sys.executable, "-m", "tests.bench.stub", str(port)])
        )
        wait_until(lambda: listens(port), "the stub answers")
        return f"http://127.0.0.1:{port}"

    def aws(self, name: str) -> str:
        """The address of S3 and SES: `stub` or `moto`."""
        return self.stub if name == "stub" else self.servers.aws.url

    def redis_url(self) -> str:
        """An empty database of Valkey's."""
        return self.servers.valkey.url(next(self._redis_databases))

    def environment(self, database: str, *, aws: str = "stub") -> dict[str, str]:
        """Every variable of a process on a fresh ledger and an empty queue.

        Args:
            database: `postgresql` or `sqlite`.
            aws: Which S3 and SES.
        """
        # As the owner: a benchmark also makes tables of its own, and loads without triggers.
        kind = "owner" if database == "postgresql" else database
        url = self._cleanup.enter_context(self.servers.database(kind))
        own = {"LOG_FORMAT": "json", "REDIS_URL": self.redis_url()}
        return self.servers.environment(url) | own | {"AWS_ENDPOINT_URL": self.aws(aws)}

    def wiring(self, environment: Environment) -> Wiring:
        wired = Wiring.from_environment(environment)
        self._cleanup.callback(wired.queue.redis.close)
        self._cleanup.callback(wired.database.close)
        return wired

    def start(
        self, command: Sequence[str | Path], *, env: Environment | None = None, **options: Any
    ) -> psutil.Popen:
        """Start a process that ends with the benchmark, however that ends."""
        env = {**os.environ, **(env or {})}
        return processes.start(command, log=self.servers.log_file, env=env, **options)

    @contextmanager
    def child(self, environment: Environment) -> Iterator[Measure]:
        """A fresh process that measures, until the end of the block; it is warm already."""
        with ExitStack() as stack:
            if self.apart:
                child = Child(self.start, environment)
                stack.callback(child.close)
                take: Measure = child.measure
            else:
                take = partial(children.measure, self.wiring(environment))
            take("measurements.warm")
            yield take

    def authors(self, ledger: Database, counts: Sequence[int]) -> dict[int, int]:
        """Users by how many posts they have."""
        users = {}
        for posts in sorted(set(counts)):
            self.say(f"{NAMES[ledger.engine.dialect.name]}: writing {posts:,} posts")
            (users[posts],) = seeds.make_users(ledger, 1)
            seeds.make_posts(ledger, [users[posts]], posts)
        seeds.settle(ledger)
        return users

    def postgresql_settings(self) -> dict[str, str]:
        """What of the server's settings matters, if it was started."""
        if "postgresql" not in vars(self.servers):
            return {}
        with self.servers.database("owner") as url:
            engine = sa.create_engine(url)
            with engine.connect() as connection:
                shown = {
                    name: str(connection.exec_driver_sql(f"SHOW {name}").scalar())
                    for name in POSTGRESQL_SETTINGS
                }
            engine.dispose()
        return shown


def seconds(measure: Measure, subject: str, **options: Any) -> float:
    """Have something measured; return how long it took."""
    return float(measure(subject, **options)["seconds"])


def in_turns(rounds: int, *measured: Callable[[], float]) -> list[list[float]]:
    """Measure A B A B …; return the samples of each."""
    samples: list[list[float]] = [[] for _ in measured]
    for _ in range(rounds):
        for one, found in zip(measured, samples, strict=True):
            found.append(one())
    return samples
