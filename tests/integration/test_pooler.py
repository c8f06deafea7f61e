"""A pooler between the application and PostgreSQL: a real PgBouncer, which stands for RDS Proxy.

Both refuse options at connect and share the server's connections among transactions.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from chalicelib.db.engine import Database, connect
from infra.local.stack import free_port
from tests.harness.ledgers import launch, make_user, the_task
from tests.harness.servers import APPLICATION
from tests.harness.waiting import wait_until

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin:/opt/homebrew/bin")
SERVER_CONNECTIONS = 2

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def pooler_url(database_url: str, tmp_path: Path) -> Iterator[str]:
    """The application's URL by way of a pooler that has two connections for everybody."""
    if not PGBOUNCER:
        pytest.skip("pgbouncer is not here")
    url, port = sa.make_url(database_url), free_port()
    name, password = APPLICATION
    folder = str(url.query["host"])  # the server's own, which nobody else may enter
    users, settings = tmp_path / "users", tmp_path / "pgbouncer.ini"
    users.write_text(f'"{name}" "{password}"\n')
    settings.write_text(
        "[databases]\n"
        f"* = host={folder} port={url.port or 5432}\n"
        "[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = plain\nauth_file = {users}\n"
        f"pool_mode = transaction\ndefault_pool_size = {SERVER_CONNECTIONS}\n"
        + (f"user = {Path(folder).owner()}\n" if os.geteuid() == 0 else "")
    )
    for path in (users, settings, tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)  # root starts it as the server's own user
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([str(PGBOUNCER), str(settings)], stderr=output)
    through = url.set(username=name, password=password, host="127.0.0.1", port=port, query={})
    text = through.render_as_string(hide_password=False)
    try:
        wait_until(
            lambda: process.poll() is not None or _answers(text), "the pooler answers", within_s=10
        )
        assert process.poll() is None, log.read_text()
        yield text
    finally:
        process.terminate()
        process.wait(timeout=60)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url.replace("+psycopg", ""), connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture
def pooled(pooler_url: str) -> Iterator[Database]:
    ledger = connect(pooler_url, pool_size=10, pooler=True)
    yield ledger
    ledger.close()


@pytest.fixture(params=[True, False], ids=["pooler", "none"])
def careful(request: pytest.FixtureRequest, database_url: str) -> Iterator[Database]:
    """A database as it is used by way of a pooler, also where there is none."""
    url = request.getfixturevalue("pooler_url") if request.param else database_url
    ledger = connect(url, pooler=True)
    yield ledger
    ledger.close()


def test_options_are_refused(pooler_url: str) -> None:
    """Without the setting there is no way through."""
    ledger = connect(pooler_url)
    with pytest.raises(sa.exc.OperationalError, match="startup parameter"), ledger.read() as one:
        one.connection()
    ledger.close()


def test_sessions_are_as_they_must_be(careful: Database) -> None:
    """The role brings what options would have set, on every connection of the server."""
    for setting, value in (("timezone", "UTC"), ("idle_in_transaction_session_timeout", "30s")):
        with careful.read() as session:
            assert session.scalar(sa.text(f"SHOW {setting}")) == value


def test_many_share_few(pooled: Database) -> None:
    """Ten threads do their work on two connections of the server, statement after statement."""
    users = [make_user(pooled, f"user-{number}") for number in range(10)]

    def work(user_id: int) -> set[int]:
        pids = set()
        for _ in range(20):
            with pooled.read() as session:
                pids.add(session.scalar(sa.text("SELECT pg_backend_pid()")) or 0)
        assert the_task(pooled, launch(pooled, user_id)).status == "queued"
        return pids

    with ThreadPoolExecutor(len(users)) as threads:
        pids = set().union(*threads.map(work, users))
    assert 1 <= len(pids) <= SERVER_CONNECTIONS


def test_nothing_is_prepared(careful: Database) -> None:
    """The same statement again and again leaves no prepared statement behind."""
    for _ in range(20):
        with careful.read() as session:
            left = session.scalar(sa.text("SELECT count(*) FROM pg_prepared_statements"))
            assert left == 0
