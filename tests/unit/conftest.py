"""The worker's clients, without a network."""

import pytest

from chalicelib.db.engine import Database
from chalicelib.wiring import Wiring
from tests.harness.fakes import fake_wiring


@pytest.fixture
def wired(database: Database) -> Wiring:
    """The ledger on SQLite, fakes for the rest."""
    return fake_wiring(database)
