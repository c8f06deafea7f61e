"""A short selection of the faults; `make faults` plays all of them."""

from tests.faults import chaos
from tests.faults.trial import SCENARIOS, play
from tests.harness.servers import Servers

assert chaos


def test_whatever_dies_each_task_has_one_true_outcome(servers: Servers) -> None:
    """Workers are killed and stopped, a job comes twice, an export is cancelled."""
    (medley,) = [entry for entry in SCENARIOS if entry.name == "medley"]
    result = play(medley, "sqlite", seed=1, quick=True, servers=servers)
    assert not result.violations
    assert result.kills
