"""Plots: bars as SVG draws them, in a box of its own units that the page stretches."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.operations.queries import Ended

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


class Period:
    """A stretch of time that can be looked at alone; its bounds in whole seconds contain it.

    Attributes:
        since: When it begins.
        until: When it ends.
    """

    since: datetime
    until: datetime

    @property
    def length_s(self) -> float:
        """How long it is, in seconds."""
        return (self.until - self.since).total_seconds()

    @property
    def until_s(self) -> int:
        """When it ends, in seconds since 1970."""
        return math.ceil(self.until.timestamp())

    @property
    def span_s(self) -> int:
        """How long it is, in seconds."""
        return self.until_s - math.floor(self.since.timestamp())


@dataclass(frozen=True)
class Slice(Period):
    """A part of a window in which tasks ended: a row of the table behind the plots.

    Attributes:
        x: Where its bar begins.
        counts: How many tasks ended in each state.
        median_s: How long those that succeeded took, in seconds; None when none did.
        high_s: What 95 % of them did not exceed.
    """

    since: datetime
    until: datetime
    x: float
    counts: dict[str, int]
    median_s: float | None
    high_s: float | None


@dataclass(frozen=True)
class Window(Period):
    """A stretch of time up to now, and its tasks.

    Attributes:
        since: When it begins.
        until: When it ends.
        slices: The parts in which tasks ended, the newest first.
        counts: How many tasks ended in each state.
        throughput: A bar for each slice of time and state: how many ended.
        most: What the highest of them stands for.
        durations: Two bars for each slice: the median, and behind it the 95th percentile.
        longest_s: What the highest of them stands for, in seconds.
        median_s: The median of the whole, in seconds; None when nothing succeeded.
        width: Of both plots.
    """

    since: datetime
    until: datetime
    slices: list[Slice]
    counts: dict[str, int]
    throughput: list[Bar]
    most: int
    durations: list[Bar]
    longest_s: float
    median_s: float | None
    width: int

    @property
    def throughput_paths(self) -> dict[str, str]:
        """The bars of the throughput as SVG draws them, by their kind."""
        return _paths(self.throughput)

    @property
    def duration_paths(self) -> dict[str, str]:
        """The bars of the durations, likewise; those behind come first."""
        return _paths(self.durations)


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
    most = max(1, *(len(part) for part in parts))
    durations = [_durations(part) for part in parts]
    drawn = [
        (at, kind, value_s)
        for at, ordered in enumerate(durations)
        for kind, share in (("high", 0.95), ("median", 0.5))
        if (value_s := _quantile(ordered, share))
    ]
    longest_s = max((value_s for _, _, value_s in drawn), default=0.0)
    return Window(
        since=now - length,
        until=now,
        slices=[
            _slice(
                at, part, until=now - length + length / slices * (at + 1), length=length / slices
            )
            for at, part in reversed([*enumerate(parts)])
            if part
        ],
        counts=_counts(kept),
        throughput=[bar for at, part in enumerate(parts) for bar in _stack(at, part, most)],
        most=most,
        durations=[_bar(at, 0, value_s / longest_s, kind) for at, kind, value_s in drawn],
        longest_s=longest_s,
        median_s=_quantile(_durations(kept), 0.5),
        width=slices * STEP,
    )


def _paths(bars: Sequence[Bar]) -> dict[str, str]:
    """One path for all bars of a kind: a fifth of what an element for each takes."""
    paths: dict[str, str] = {}
    for bar in bars:
        drawn = f"M{bar.x:g} {bar.y:g}h{bar.width:g}v{bar.height:g}h{-bar.width:g}z"
        paths[bar.kind] = paths.get(bar.kind, "") + drawn
    return paths


def _slice(at: int, part: Sequence[Ended], *, until: datetime, length: timedelta) -> Slice:
    ordered = _durations(part)
    return Slice(
        since=until - length,
        until=until,
        x=at * STEP,
        counts=_counts(part),
        median_s=_quantile(ordered, 0.5),
        high_s=_quantile(ordered, 0.95),
    )


def _counts(ended: Sequence[Ended]) -> dict[str, int]:
    return {status: _count(ended, status) for status in ("succeeded", "failed", "cancelled")}


def _count(ended: Sequence[Ended], status: str) -> int:
    return sum(one.status == status for one in ended)


def _durations(ended: Sequence[Ended]) -> list[float]:
    """How long what succeeded took, in seconds, the shortest first."""
    return sorted(
        one.duration_s for one in ended if one.status == "succeeded" and one.duration_s is not None
    )


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    """The value that this share of all does not exceed, to the nearest of them."""
    return ordered[round(share * (len(ordered) - 1))] if ordered else None


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
