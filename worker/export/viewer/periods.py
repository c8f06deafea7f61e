"""How many rows a month has: counted while rows stream by, in little space."""

from collections.abc import Iterable, Mapping

MOST = 1200
"""More periods are never kept: a hundred years of months. It goes into every checkpoint."""

_WIDTHS = (len("2026-01"), len("2026"), len("202"), len("20"))
"""A month, a year, ten years, a hundred years, each as the beginning of a time."""

Counts = dict[str, int]
"""By period, how many rows; a period is the beginning of the times in it."""


def add(counts: Mapping[str, int], months: Iterable[tuple[str, int]]) -> Counts:
    """Count more rows.

    When there are too many months to keep, years are counted, then decades, then centuries: so
    wide apart may times be that people have imported. What comes of it depends on the rows alone,
    not on how many were added at once.

    Args:
        counts: Those so far.
        months: Months, such as `2026-01`, and how many rows each has.
    """
    total = dict(counts)
    width = _width(total)
    for month, number in months:
        period = month[:width]
        total[period] = total.get(period, 0) + number
        while len(total) > MOST:
            width = _WIDTHS[_WIDTHS.index(width) + 1]
            total = _folded(total, width)
    return total


def _width(counts: Mapping[str, int]) -> int:
    return len(next(iter(counts), "2026-01"))


def _folded(counts: Mapping[str, int], width: int) -> Counts:
    folded: Counts = {}
    for period, number in counts.items():
        folded[period[:width]] = folded.get(period[:width], 0) + number
    return folded
