from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.operations.queries import Ended
from chalicelib.web.pages.plots import HEIGHT, STEP, window

NOW = datetime(2026, 1, 2, 15, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def ended(minutes_ago: float, status: str = "succeeded", duration_s: float | None = 1.0) -> Ended:
    return Ended(status, NOW - timedelta(minutes=minutes_ago), duration_s)


def test_nothing_ended() -> None:
    """An idle hour is an empty plot, not an error."""
    idle = window([], now=NOW, length=HOUR, slices=30)
    assert (idle.throughput, idle.durations, idle.median_s) == ([], [], None)
    assert idle.counts == {"succeeded": 0, "failed": 0, "cancelled": 0}


def test_bars_stand_on_each_other() -> None:
    """States share a slice's bar from the ground up, and the highest fills the plot."""
    tasks = [ended(1), ended(1), ended(1, "failed", None), ended(1, "cancelled", None)]
    bars = window(tasks, now=NOW, length=HOUR, slices=30).throughput
    assert [(bar.kind, bar.y, bar.height) for bar in bars] == [
        ("succeeded", 50, 50),
        ("failed", 25, 25),
        ("cancelled", 0, 25),
    ]
    assert {bar.x for bar in bars} == {29 * STEP + 1}


@pytest.mark.parametrize(
    ("minutes_ago", "at"),
    [(0, 29), (1.99, 29), (2, 28), (59.99, 0), (60, None), (600, None), (-1, None)],
)
def test_slices(minutes_ago: float, at: int | None) -> None:
    """The newest slice is the last; what lies outside the window is left out."""
    bars = window([ended(minutes_ago)], now=NOW, length=HOUR, slices=30).throughput
    assert [bar.x // STEP for bar in bars] == ([] if at is None else [at])


def test_durations() -> None:
    """The median stands before the 95th percentile; what failed does not count."""
    tasks = [ended(1, duration_s=value) for value in (1, 2, 3, 4, 100)]
    drawn = window([*tasks, ended(1, "failed", 900)], now=NOW, length=HOUR, slices=30)
    high, median = drawn.durations
    assert (drawn.median_s, high.kind, median.kind) == (3, "high", "median")
    assert drawn.longest_s == 100
    assert high.height == HEIGHT
    assert median.height == 3


def test_parts_of_a_plot_for_themselves() -> None:
    """Each part knows its own bounds, in whole seconds that leave nothing of it out."""
    tasks = [ended(1), ended(1, "failed", None), ended(30)]
    (newest, older) = window(tasks, now=NOW, length=HOUR, slices=30).slices
    assert (newest.until_s, newest.span_s) == (NOW.timestamp(), 120)
    assert newest.counts == {"succeeded": 1, "failed": 1, "cancelled": 0}
    assert (newest.median_s, older.counts["failed"]) == (1, 0)
    odd = window(tasks, now=NOW, length=timedelta(seconds=100), slices=30)
    for one in odd.slices:
        assert one.until_s - one.span_s <= one.since.timestamp() < one.until.timestamp()
        assert one.until.timestamp() <= one.until_s


def test_one_path_for_all_bars_of_a_kind() -> None:
    """Bars of a kind are one element, whose outline has each of them."""
    drawn = window([ended(1), ended(30)], now=NOW, length=HOUR, slices=30)
    assert drawn.throughput_paths == {"succeeded": "M141 0h8v100h-8zM291 0h8v100h-8z"}
    assert list(drawn.duration_paths) == ["high", "median"]
