"""Whether something grows: series of samples, and the slope of each with its confidence."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

BATCHES = 10
"""Into how many means a series is put together: samples close to each other are much alike, and
would make a slope look surer than it is."""

T_95 = 2.306
"""Student's t for 95 % on both sides, of a line through that many means (8 degrees of freedom)."""

WARM_UP = 0.3
"""The part of a run in which caches and pools fill up."""

ALLOWED = 0.1
"""By which part of its level something may grow in a run, and be called flat: memory is given back
in pages, and a table has as many rows as there happen to be users."""

HOUR_S = 3600


@dataclass(frozen=True)
class Trend:
    """A line through a series.

    Attributes:
        level: The mean.
        slope: How much is added in an hour.
        low: The slope is not below this, with 97.5 % confidence.
        high: Nor above this.
        span_h: How long the series is, in hours.
    """

    level: float
    slope: float
    low: float
    high: float
    span_h: float

    def grows(self, at_least: float) -> bool:
        """Whether it surely grows, and by more than a part of its level and this much."""
        allowed = max(ALLOWED * self.level, at_least)
        return self.low > 0 and self.slope * self.span_h > allowed


def trend(series: Sequence[tuple[float, float]]) -> Trend | None:
    """The line through a series of times, in seconds, and values; None for one that is short."""
    series = series[int(WARM_UP * len(series)) :]
    if len(series) < 2 * BATCHES:
        return None
    bounds = [round(index * len(series) / BATCHES) for index in range(BATCHES + 1)]
    batches = [series[first:last] for first, last in pairwise(bounds)]
    hours = [sum(at for at, _ in one) / len(one) / HOUR_S for one in batches]
    means = [sum(value for _, value in one) / len(one) for one in batches]
    hour, level = sum(hours) / BATCHES, sum(means) / BATCHES
    spread = sum((one - hour) ** 2 for one in hours)
    slope = sum((x - hour) * (y - level) for x, y in zip(hours, means, strict=True)) / spread
    rest = [y - level - slope * (x - hour) for x, y in zip(hours, means, strict=True)]
    error = math.sqrt(sum(one**2 for one in rest) / (BATCHES - 2) / spread)
    span_h = (series[-1][0] - series[0][0]) / HOUR_S
    return Trend(level, slope, slope - T_95 * error, slope + T_95 * error, span_h)


@dataclass
class Growth:
    """Series by what they are about."""

    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def note(self, at_s: float, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.series.setdefault(name, []).append((at_s, value))

    def report(self, at_least: Mapping[str, float]) -> tuple[list[str], list[str]]:
        """Lines of a table, and sentences about what grows.

        Args:
            at_least: How much of something may always be added in a run, by how its name begins.
        """
        lines, found = [], []
        for name, series in sorted(self.series.items()):
            line = trend(series)
            if line is None:
                lines.append(f"{name:34} too short")
                continue
            most = max((v for start, v in at_least.items() if name.startswith(start)), default=0)
            grows = line.grows(most)
            lines.append(
                f"{name:34} {series[0][1]:10.1f} {series[-1][1]:10.1f} {line.level:10.1f}"
                f" {line.slope:+10.1f} [{line.low:+.1f}, {line.high:+.1f}]"
                f"{' GROWS' if grows else ''}"
            )
            if grows:
                found.append(f"{name} grows by {line.slope:.1f} an hour, surely by {line.low:.1f}")
        return lines, found
