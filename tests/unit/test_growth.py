"""The soak's judgement of what grows."""

import random

import pytest

from tests.faults.soak.growth import Growth, trend

HOUR_S = 3600


def series(slope: float, *, noise: float, level: float = 100.0) -> list[tuple[float, float]]:
    """An hour of samples around a line."""
    chance = random.Random(7)
    return [
        (at, level + slope * at / HOUR_S + chance.uniform(-noise, noise))
        for at in range(0, HOUR_S, 18)
    ]


@pytest.mark.parametrize(
    ("slope", "noise", "grows"),
    [
        (0, 30, False),
        (40, 5, True),
        (40, 300, False),  # nobody can tell
        (4, 0.1, False),  # surely, and too little to matter
        (-40, 5, False),
    ],
)
def test_what_grows(slope: float, noise: float, grows: bool) -> None:
    """Only what surely becomes more, by more than it may, is called growing."""
    line = trend(series(slope, noise=noise))
    assert line is not None
    assert line.grows(8) is grows
    assert line.low <= slope <= line.high


def test_a_warm_up_is_no_growth() -> None:
    """What fills up at the beginning and then stays is flat."""
    filled = [(at, min(at / 600, 1.0) * 100) for at, _ in series(0, noise=0)]
    line = trend(filled)
    assert line is not None
    assert not line.grows(0)


def test_the_report_names_what_grows() -> None:
    """Its table has every series, its sentences have those that grow, and short ones are said."""
    growth = Growth()
    for at, value in series(40, noise=5):
        growth.note(at, {"rows of tasks": value, "threads": 3})
    growth.note(0, {"seen once": 1})
    lines, found = growth.report({"rows": 5})
    assert [line.split("  ")[0] for line in lines] == ["rows of tasks", "seen once", "threads"]
    assert len(found) == 1
    assert found[0].startswith("rows of tasks grows by ")
