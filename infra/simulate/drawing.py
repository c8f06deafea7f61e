"""The plot: waiting and cost over exports a day, both on logarithmic scales."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SMALLEST_S = 0.1
"""Below this, waiting is drawn as this: a logarithm has no zero."""


@dataclass(frozen=True)
class Point:
    """A row of the table, as drawn.

    Attributes:
        label: The exports a day, in few letters.
        half_s, most_s: Within these, half and 99 % of the exports were begun.
        cost: Of 1,000 exports, in US dollars.
    """

    label: str
    half_s: float
    most_s: float
    cost: float


def draw(points: Sequence[Point], path: Path) -> None:
    """Write the plot as SVG."""
    import pygal  # noqa: PLC0415 - for development only, and not needed for tables
    from pygal.style import CleanStyle  # noqa: PLC0415

    # pygal leaves a finder behind whose interface Python 3.12 dropped and 3.11 warns of.
    mine = [one for one in sys.meta_path if not isinstance(one, pygal.PluginImportFixer)]
    sys.meta_path[:] = mine

    chart = pygal.Line(
        logarithmic=True,
        style=CleanStyle,
        js=(),
        width=900,
        height=480,
        legend_at_bottom=True,
        legend_at_bottom_columns=3,
        title="Waiting for a worker, and what 1,000 exports cost",
        y_labels=[0.1, 1, 10, 100, 1000],
        x_title="exports a day",
        y_title="seconds, US dollars",
        disable_xml_declaration=True,
        no_prefix=True,  # a random one would make each drawing another file
    )
    chart.x_labels = [point.label for point in points]
    chart.add("half wait, s", [max(SMALLEST_S, point.half_s) for point in points])
    chart.add("99 % wait, s", [max(SMALLEST_S, point.most_s) for point in points])
    chart.add("1,000 exports, $", [point.cost for point in points])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(chart.render(is_unicode=True), encoding="utf-8")
