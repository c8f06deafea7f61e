"""Calls that go wrong: a few here, each of them in the whole lab."""

import random

import pytest

from tests.faults import boundaries
from tests.faults.boundaries import Run
from tests.harness.servers import DATABASES

SEED = 20260102
FEW = 8
"""How many runs, chosen by the seed, fit into the time that a test may take."""

NOTED = {
    # S3 began two uploads, and the ledger knows of one.
    ("sqlite", "export"): ["s3 POST uploads: lost once", "s3 POST uploads: stall"],
    # A zombie writes a whole object when all passes of the reconciler are over.
    ("postgresql", "small"): ["s3 PUT: stall", "ses POST: lost"],
    # The object is there, and S3 does not know the upload any more.
    ("sqlite", "resumed"): ["s3 POST uploadId: lost"],
    ("postgresql", "crowd"): ["None"],
    ("postgresql", "outdated"): ["s3 PUT partNumber=3: stall"],
    ("postgresql", "cancelled"): ["s3 PUT partNumber=2: die before"],
    # Nobody knows whether SES accepted a link; a sender claimed more than it could send.
    ("sqlite", "linked"): ["1 ses POST: 500"],
    ("postgresql", "unheard"): ["None"],
    ("postgresql", "senders"): ["None"],
}
"""What went wrong once, or would first: calls and faults, by database and scenario."""


@pytest.mark.timeout(900)
def test_a_few_of_all_boundaries() -> None:
    """Whatever call goes wrong, every task reaches exactly one terminal state."""
    plain = [Run(database, name, None, SEED) for database, name in NOTED]
    with boundaries.pool(DATABASES, slots=3) as executor:
        runs = boundaries.all_runs(executor, plain)
        noted = [run for run in runs if is_noted(run)]
        assert len(noted) == sum(map(len, NOTED.values()))
        chosen = noted + random.Random(SEED).sample(runs, k=FEW)
        results = list(executor.map(boundaries.execute, chosen))
    assert not [f"{one.run}: {one.violations}" for one in results if one.violations]


def is_noted(run: Run) -> bool:
    """Whether a run is one of those that are never left out."""
    return any(str(run.plan).endswith(end) for end in NOTED[run.database, run.scenario])


@pytest.mark.faults
@pytest.mark.timeout(7200)
def test_every_boundary() -> None:
    """The same, for each call and each way in which it can go wrong."""
    bad: list[str] = []
    boundaries.run(
        databases=DATABASES,
        seed=SEED,
        report=lambda fault, ok, _after_s: None if ok else bad.append(fault),
    )
    assert not bad
