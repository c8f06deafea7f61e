"""PostgreSQL's own log, with the parameters of the template: none of what people wrote is in it."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from chalicelib.db.engine import Database, connect
from tests.harness.ledgers import make_user
from tests.harness.servers import PostgreSQL
from tests.harness.waiting import wait_until
from tests.infra.templates import Template

CANARY = "a canary that nobody may read"
REVEALING = {"log_min_duration_statement": "0", "log_parameter_max_length": "-1"}
"""With these the same statements would be found: so the test can fail."""

SLOW_S = 1.1
"""Longer than `log_min_duration_statement`."""


@pytest.fixture
def database_url(postgresql: PostgreSQL) -> Iterator[str]:
    with postgresql.database() as url:
        yield url


def parameters(foundation: Template, name: str) -> dict[str, str]:
    """Those of a group that PostgreSQL itself knows."""
    found = foundation["Resources"][name]["Properties"]["Parameters"]
    return {key: value for key, value in found.items() if not key.startswith("rds.")}


def write_canaries(database: Database) -> None:
    """A statement that is slow and one that fails, with what people wrote in their parameters."""
    slow = sa.text("SELECT pg_sleep(:seconds), cast(:body AS text)")
    with database.read() as session:
        session.execute(slow, {"seconds": SLOW_S, "body": CANARY})
    make_user(database, "canary")
    with pytest.raises(sa.exc.IntegrityError):
        make_user(database, "Canary")  # PostgreSQL's detail has the name and the address


def test_both_kinds_log_alike(foundation: Template) -> None:
    """Aurora and RDS have the same parameters."""
    assert parameters(foundation, "AuroraParameters") == parameters(foundation, "RdsParameters")


@pytest.mark.parametrize("revealing", [False, True])
def test_no_canary(
    postgresql: PostgreSQL, database_url: str, foundation: Template, *, revealing: bool
) -> None:
    """A slow statement and failing ones are logged, and what was given to them is not."""
    chosen = REVEALING if revealing else parameters(foundation, "AuroraParameters")
    postgresql.configure(database_url, chosen)
    before = len(postgresql.log)
    database = connect(database_url)
    write_canaries(database)
    database.close()

    def logged() -> str:
        return postgresql.log[before:]

    wait_until(lambda: "pg_sleep" in logged(), "the slow statement is logged")
    wait_until(lambda: "duplicate key" in logged(), "the failure is logged")
    assert ("(canary)" in logged()) == revealing
    assert (CANARY in logged()) == revealing
