import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import boto3
import pytest
import sqlalchemy as sa
from redis import Redis
from redis.exceptions import RedisError

from chalicelib.adapters.job_queue import api_client, worker_client
from chalicelib.adapters.secrets_manager import Credentials, Secret, SecretError
from chalicelib.db.engine import connect
from infra.local.stack import free_port
from tests.harness.servers import Aws, PostgreSQL


class Rotated:
    def __init__(self, endpoint_url: str) -> None:
        self.endpoint_url = endpoint_url
        self._client: Any = boto3.client("secretsmanager", endpoint_url=endpoint_url)
        self.name = uuid4().hex
        self._client.create_secret(Name=self.name, SecretString="{}")

    def put(self, username: str, password: str) -> None:
        value = json.dumps({"username": username, "password": password})
        self._client.put_secret_value(SecretId=self.name, SecretString=value)

    def secret(self) -> Secret:
        """As a process that just started sees it."""
        return Secret(self.name, endpoint_url=self.endpoint_url)


@pytest.fixture
def rotated(aws: Aws) -> Rotated:
    return Rotated(aws.url)


def test_read_once_and_again_when_refused(rotated: Rotated) -> None:
    """A secret is fetched once; again only for the credentials that are known to be wrong."""
    secret = rotated.secret()
    rotated.put("susan", "first")
    first = secret.read()
    assert first == Credentials("susan", "first")
    rotated.put("susan", "second")
    assert secret.read() == first
    second = secret.read_again(first)
    assert second == Credentials("susan", "second")
    assert secret.read_again(first) == second  # another thread was quicker
    assert secret.read_again(second) is None
    assert "second" not in repr(second)


def test_what_cannot_be_read(rotated: Rotated) -> None:
    """A secret that is missing, or in another form, or out of reach, is one kind of error."""
    with pytest.raises(SecretError, match=rotated.name):
        rotated.secret().read()  # an object without a password
    with pytest.raises(SecretError):
        Secret("nothing", endpoint_url=rotated.endpoint_url).read()
    with pytest.raises(SecretError):
        Secret("nobody", endpoint_url=f"http://127.0.0.1:{free_port()}").read()


@pytest.fixture
def ledger_url(postgresql: PostgreSQL) -> Iterator[str]:
    """The URL of a ledger without a user."""
    with postgresql.database() as url:
        yield sa.make_url(url).set(username=None, password=None).render_as_string()


def test_ledger_after_a_rotation(ledger_url: str, rotated: Rotated) -> None:
    """A new connection that is refused reads the secret again; open ones go on."""
    rotated.put("postgres", "first")
    database = connect(ledger_url, secret=rotated.secret())
    with database.write() as session:
        assert session.scalar(sa.text("SELECT current_user")) == "postgres"
        session.execute(sa.text("DROP ROLE IF EXISTS next_one"))
        session.execute(sa.text("CREATE ROLE next_one LOGIN SUPERUSER"))

    rotated.put("no-such-role", "second")
    late = connect(ledger_url, secret=rotated.secret())
    with pytest.raises(sa.exc.OperationalError, match="no-such-role"), late.read() as session:
        session.connection()  # the secret is read again, and is the same

    rotated.put("next_one", "third")
    with late.read() as session:
        assert session.scalar(sa.text("SELECT current_user")) == "next_one"
    with database.read() as session:
        assert session.scalar(sa.text("SELECT current_user")) == "postgres"
    late.close()
    with database.write() as session:
        session.execute(sa.text("DROP ROLE next_one"))
    database.close()


def test_ledger_without_a_secret(ledger_url: str, rotated: Rotated) -> None:
    """While Secrets Manager is away the database does not answer: that is a transient error."""
    away = Secret(rotated.name, endpoint_url=f"http://127.0.0.1:{free_port()}")
    database = connect(ledger_url, secret=away)
    with pytest.raises(sa.exc.OperationalError, match="nobody"), database.read() as session:
        session.connection()
    database.close()


def test_queue(valkey_port: int, redis_url: str, rotated: Rotated) -> None:
    """The queue's user comes from the secret; without one, Redis does not answer."""
    rotated.put("somebody", "a-password")
    away = Secret(rotated.name, endpoint_url=f"http://127.0.0.1:{free_port()}")
    with Redis(port=valkey_port) as admin:
        admin.acl_setuser("somebody", enabled=True, passwords=["+a-password"], commands=["+@all"])
        with api_client(redis_url, secret=rotated.secret()) as client:
            assert client.acl_whoami() == "somebody"
        with worker_client(redis_url, secret=rotated.secret()) as client:
            assert client.acl_whoami() == "somebody"
        with api_client(redis_url, secret=away) as client, pytest.raises(RedisError):
            client.ping()
        admin.acl_deluser("somebody")
