"""Plots: bars as SVG draws them, in a box of its own units that the page stretches."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median, quantiles

from chalicelib.operations import Ended

HEIGHT = 100
"""Of every plot, in its own units."""

STEP = 10
"""From one bar to the next, in the same units."""

GAP = 2


@dataclass(frozen=True)
class Bar:
    """A rectangle; `kind` is the class that gives it its colour."""

    x: float
    y: float
    width: float
    height: float
    kind: str


@dataclass(frozen=True)
class Window:
    """A stretch of time up to now, and its tasks.

    Attributes:
        since: When it begins.
        counts: How many tasks ended in each state.
        throughput: A bar for each slice of time and state: how many ended.
        most: What the highest of them stands for.
        durations: Two bars for each slice: the median, and behind it the 95th percentile.
        longest_s: What the highest of them stands for, in seconds.
        median_s: The median of the whole, in seconds; None when nothing succeeded.
        width: Of both plots.
    """

    since: datetime
    counts: dict[str, int]
    throughput: list[Bar]
    most: int
    durations: list[Bar]
    longest_s: float
    median_s: float | None
    width: int


def window(ended: Sequence[Ended], *, now: datetime, length: timedelta, slices: int) -> Window:
    """Sort tasks into slices of time and draw them.

    Args:
        ended: Tasks that ended; those before the window are left out.
        now: Where the window ends.
        length: How long it is.
        slices: Into how many parts it is cut.
    """
    parts: list[list[Ended]] = [[] for _ in range(slices)]
    for one in ended:
        age = now - one.finished_at
        if timedelta(0) <= age < length:
            parts[slices - 1 - int(age / length * slices)].append(one)
    kept = [one for part in parts for one in part]
    counts = {status: _count(kept, status) for status in ("succeeded", "failed", "cancelled")}
    most = max(1, *(len(part) for part in parts))
    durations = [_durations(part) for part in parts]
    highest_s = max([high for _, high in durations] + [0.001])
    return Window(
        since=now - length,
        counts=counts,
        throughput=[bar for at, part in enumerate(parts) for bar in _stack(at, part, most)],
        most=most,
        durations=[
            _bar(at, 0, value_s / highest_s, kind)
            for at, (middle_s, high_s) in enumerate(durations)
            for kind, value_s in (("high", high_s), ("median", middle_s))
            if value_s
        ],
        longest_s=highest_s,
        median_s=median(_taken(kept)) if _taken(kept) else None,
        width=slices * STEP,
    )


def _count(ended: Sequence[Ended], status: str) -> int:
    return sum(one.status == status for one in ended)


def _taken(ended: Sequence[Ended]) -> list[float]:
    return [
        one.duration_s for one in ended if one.status == "succeeded" and one.duration_s is not None
    ]


def _durations(part: Sequence[Ended]) -> tuple[float, float]:
    """The median and the 95th percentile, in seconds; zeros for nothing."""
    taken = _taken(part)
    if len(taken) < 2:  # noqa: PLR2004 - a percentile needs two
        return (taken[0], taken[0]) if taken else (0.0, 0.0)
    return median(taken), quantiles(taken, n=20, method="inclusive")[-1]


def _stack(at: int, part: Sequence[Ended], most: int) -> list[Bar]:
    bars, below = [], 0
    for status in ("succeeded", "failed", "cancelled"):
        if count := _count(part, status):
            bars.append(_bar(at, below / most, count / most, status))
            below += count
    return bars


def _bar(at: int, below: float, share: float, kind: str) -> Bar:
    height = round(share * HEIGHT, 2)
    y = round(HEIGHT - below * HEIGHT - height, 2)
    return Bar(at * STEP + GAP / 2, y, STEP - GAP, height, kind)
