"""The role that API and workers sign in as on PostgreSQL.

That its rights are enough is shown by all other tests: on PostgreSQL they sign in as this role.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.errors import InsufficientPrivilege

from chalicelib.db.engine import Database, connect
from tests.harness.servers import APPLICATION, PostgreSQL

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@on_postgresql
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (id int)",
        "DROP TABLE posts",
        "TRUNCATE posts",
        "ALTER TABLE users ADD COLUMN mine int",
        "CREATE ROLE mine",
        "UPDATE alembic_version SET version_num = 'x'",
        "SELECT * FROM pg_authid",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    ],
)
def test_rows_and_nothing_else(database: Database, statement: str) -> None:
    """Whoever takes over the API can neither change the schema nor reach beyond the tables."""
    with pytest.raises(sa.exc.ProgrammingError) as refused, database.write() as session:
        session.execute(sa.text(statement))
    assert isinstance(refused.value.orig, InsufficientPrivilege)


@pytest.fixture
def owner_url(postgresql: PostgreSQL) -> Iterator[str]:
    """An empty database whose owner is no superuser but may create roles, as RDS's master may."""
    name = f"owner_{uuid4().hex[:8]}"
    with postgresql.database(template="template0", owner=True) as url:
        admin = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN CREATEROLE PASSWORD 'owner'")
            database = sa.make_url(url).database
            connection.exec_driver_sql(f"ALTER DATABASE {database} OWNER TO {name}")
            connection.exec_driver_sql(f"ALTER SCHEMA public OWNER TO {name}")
        yield _as(url, name, "owner")


def _as(url: str, name: str, password: str) -> str:
    parts = sa.make_url(url).set(username=name, password=password)
    return parts.render_as_string(hide_password=False)


def migrate(owner_url: str, environment: dict[str, str], *arguments: str) -> None:
    """Run `python -m worker migrate` as the owner."""
    done = subprocess.run(
        [sys.executable, "-m", "worker", "migrate", *arguments],
        env={**os.environ, **environment, "DATABASE_URL": owner_url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_owner_without_superpowers(
    owner_url: str, environment: dict[str, str], postgresql: PostgreSQL
) -> None:
    """RDS's master can create the role, and give it another password with the next migration."""
    name = f"app_{uuid4().hex[:8]}"
    verifiers = set()
    for password in ("first", "second"):
        application_url = _as(owner_url, name, password)
        migrate(owner_url, environment, "--application-url", application_url)
        verifiers.add(verifier(postgresql, name))
        ledger = connect(application_url)
        with ledger.read() as session:
            assert session.scalar(sa.text("SELECT count(*) FROM posts")) == 0
            assert session.scalar(sa.text("SHOW timezone")) == "UTC"
        ledger.close()
    assert len(verifiers) == 2


def verifier(postgresql: PostgreSQL, name: str) -> str:
    """What the server stores of a role's password."""
    with (
        postgresql.database(owner=True) as url,
        psycopg.connect(url.replace("+psycopg", "")) as one,
    ):
        query = "SELECT rolpassword FROM pg_authid WHERE rolname = %s"
        (stored,) = one.execute(query, [name]).fetchone() or ("",)
    return str(stored)


def test_later_tables(owner_url: str, environment: dict[str, str]) -> None:
    """What a later migration creates is the role's to use without another word."""
    application_url = _as(owner_url, f"app_{uuid4().hex[:8]}", "password")
    migrate(owner_url, environment, "--application-url", application_url)
    with psycopg.connect(owner_url.replace("+psycopg", "")) as owner:
        owner.execute("CREATE TABLE later (id int GENERATED ALWAYS AS IDENTITY, it text)")
    with psycopg.connect(application_url.replace("+psycopg", "")) as application:
        application.execute("INSERT INTO later (it) VALUES ('x')")
        assert application.execute("SELECT it FROM later").fetchall() == [("x",)]


def test_url_without_a_password(owner_url: str, environment: dict[str, str]) -> None:
    """A role that could not sign in is not created."""
    with pytest.raises(AssertionError, match="--help"):
        migrate(owner_url, environment, "--application-url", "postgresql+psycopg://db/carryout")


def test_password_is_in_no_statement(postgresql: PostgreSQL) -> None:
    """The server gets a verifier of the password, which is what it stores."""
    name, password = APPLICATION
    stored = verifier(postgresql, name)
    assert stored.startswith("SCRAM-SHA-256$")
    assert password not in stored
