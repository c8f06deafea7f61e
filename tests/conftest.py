"""Real servers for the tests: PostgreSQL, Valkey, S3 and SES, started once and only if used."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
import sqlalchemy as sa
from chalice.test import Client
from hypothesis import HealthCheck, settings
from redis import Redis

from app import app
from chalicelib.accounts import accounts
from chalicelib.db.engine import Database, connect
from chalicelib.settings import Settings
from chalicelib.wiring import Wiring
from tests.harness.ledgers import launch, make_user
from tests.harness.people import Person
from tests.harness.servers import DATABASES, Aws, PostgreSQL, Servers

# The same examples each time, and no limit to how long a busy machine takes for one.
settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")

both_databases = pytest.mark.parametrize("database_url", DATABASES, indirect=True)
"""Marks a test that must hold on SQLite and on PostgreSQL."""

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
"""Marks a test about what only PostgreSQL does."""

Join = Callable[..., Person]
Rewire = Callable[..., Wiring]


class Later(Wiring):
    """Wiring whose clock is ahead."""

    def __init__(self, settings: Settings, *, by: timedelta) -> None:
        super().__init__(settings)
        vars(self)["by"] = by

    def now(self) -> datetime:
        """The time, and some more."""
        by: timedelta = vars(self)["by"]
        return super().now() + by


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The servers that all tests share; S3 lists fewer keys at a time than on AWS."""
    with Servers(MOTO_S3_DEFAULT_MAX_KEYS="50") as servers:
        yield servers


@pytest.fixture(scope="session")
def postgresql(servers: Servers) -> PostgreSQL:
    """A PostgreSQL server with a migrated database to copy."""
    return servers.postgresql


@pytest.fixture(scope="session")
def aws(servers: Servers) -> Aws:
    return servers.aws


@pytest.fixture
def database_url(request: pytest.FixtureRequest, servers: Servers) -> Iterator[str]:
    """A fresh, migrated database: SQLite, unless the test asks for another by parameter.

    `owner` is PostgreSQL for a test that migrates; all others sign in as the application does.
    """
    with servers.database(getattr(request, "param", "sqlite")) as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    ledger = connect(database_url)
    yield ledger
    ledger.close()


@pytest.fixture
def create_tables(database_url: str, servers: Servers) -> Callable[[sa.MetaData], None]:
    """Creates tables as a migration does: on PostgreSQL as the owner of the database."""

    def create(metadata: sa.MetaData) -> None:
        is_sqlite = database_url.startswith("sqlite")
        owner = connect(database_url if is_sqlite else servers.postgresql.as_owner(database_url))
        metadata.create_all(owner.engine)
        owner.close()

    return create


@pytest.fixture
def user_id(database: Database) -> int:
    return make_user(database)


@pytest.fixture
def task_id(database: Database, user_id: int) -> str:
    """An export of theirs, queued, without a job."""
    return launch(database, user_id)


@pytest.fixture(scope="session")
def valkey_port(servers: Servers) -> int:
    return servers.valkey.port


@pytest.fixture
def redis_url(servers: Servers) -> str:
    with Redis(port=servers.valkey.port) as client:
        client.flushall()
    return servers.valkey.url()


@pytest.fixture
def mail_dir(aws: Aws) -> Path:
    """Where this test's emails will be; empty."""
    for mail in aws.mail_dir.glob("*.eml"):
        mail.unlink()
    return aws.mail_dir


@pytest.fixture
def environment(servers: Servers, database_url: str, redis_url: str) -> dict[str, str]:
    """Every setting that a process needs to join this test's servers; a bucket of its own."""
    assert redis_url
    bucket = f"exports-{uuid4().hex}"
    boto3.client("s3", endpoint_url=servers.aws.url).create_bucket(Bucket=bucket)
    own = {"EXPORT_BUCKET": bucket, "LEASE_S": "3", "SWEEP_INTERVAL_S": "1"}
    return servers.environment(database_url) | own


@pytest.fixture
def wiring(environment: dict[str, str]) -> Iterator[Wiring]:
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
def rewire(client: Client, environment: dict[str, str]) -> Iterator[Rewire]:
    """Gives the app other settings, by their keys, or a clock that is ahead (`later`)."""
    assert client
    made: list[Wiring] = []

    def wire(*, later: timedelta = timedelta(0), **settings: str) -> Wiring:
        made.append(Later(Settings.from_mapping(environment | settings), by=later))
        app.__dict__["wiring"] = made[-1]
        return made[-1]

    yield wire
    for one in made:
        one.database.close()
        one.queue.redis.close()


@pytest.fixture
def join(client: Client, database: Database, now: datetime) -> Join:
    """Makes a person of a name, with an account and a token."""

    def make(username: str, *, is_admin: bool = False) -> Person:
        user_id = make_user(database, username, is_admin=is_admin)
        with database.write() as session:
            new = accounts.issue_token(session, user_id, ttl_s=3600 * 24 * 7, now=now)
        return Person(client, new.token, user_id, username)

    return make


@pytest.fixture
def susan(join: Join) -> Person:
    return join("susan")


@pytest.fixture
def david(join: Join) -> Person:
    return join("david")


@pytest.fixture
def nobody(client: Client) -> Person:
    return Person(client)


@pytest.fixture
def now() -> datetime:
    """The time when the test began."""
    return datetime.now(UTC)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name cases of bytes by their number: a compressed file holds the time at which it was made.

    The processes of pytest-xdist must name all tests alike.
    """
    return argname if isinstance(val, bytes | bytearray) else None
