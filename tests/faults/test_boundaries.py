"""Calls that go wrong: a few here, each of them in the whole lab."""

import random

import pytest

from tests.conftest import DATABASES
from tests.faults import boundaries
from tests.faults.boundaries import Run
from tests.faults.scenarios import SCENARIOS

SEED = 20260102
FEW = 12
"""How many runs, chosen by the seed, fit into the time that a test may take."""

NOTED = {
    ("export", "s3 POST uploads: lost once"),  # S3 began two uploads, the ledger knows of one
    ("export", "s3 POST uploads: stall"),  # a zombie begins an upload when all sweeps are over
    ("export", "s3 PUT partNumber=2: stall"),  # two attempts at one upload
    ("small", "s3 PUT: stall"),  # a zombie writes a whole object when all sweeps are over
    ("resumed", "s3 POST uploadId: lost"),  # the object is there, the upload is unknown
    ("export", "ses POST: lost"),  # a mail that may have been sent
    ("crowd", "None"),  # the same job ten times at once
    ("outdated", "s3 PUT partNumber=3: stall"),  # a zombie outlives the export that it lost
}
"""What went wrong once, or would first: scenario, call and fault."""


def test_a_few_of_all_boundaries() -> None:
    """Whatever call goes wrong, every task ends in one true outcome."""
    dice = random.Random(SEED)
    names = {*(name for name, _ in NOTED), *dice.sample(sorted(SCENARIOS), k=2)}
    with boundaries.pool(DATABASES, places=4) as executor:
        runs = boundaries.plans(executor, DATABASES, sorted(names), SEED)
        noted = [run for run in runs if is_noted(run)]
        results = list(executor.map(boundaries.carry_out, noted + dice.sample(runs, k=FEW)))
    assert {run.scenario for run in noted} == {name for name, _ in NOTED}
    assert not [f"{one.run}: {one.violations}" for one in results if one.violations]


def is_noted(run: Run) -> bool:
    """Whether a run is one of those that are never left out, on one of the databases."""
    notes = (run.scenario == name and str(run.plan).endswith(end) for name, end in NOTED)
    return any(notes) and (run.database == "sqlite") == (len(str(run.plan)) % 2 == 0)


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
