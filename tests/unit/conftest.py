"""The worker's clients, without a network."""

import pytest

from chalicelib.db.engine import Database
from chalicelib.wiring import Wiring
from tests.harness.fakes import fake_wiring


@pytest.fixture
def wired(database: Database, monkeypatch: pytest.MonkeyPatch) -> Wiring:
    """The ledger on SQLite, fakes for the rest."""
    for name in ("AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "us-east-1")
    return fake_wiring(database)
