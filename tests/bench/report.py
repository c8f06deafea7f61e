"""The table for people, `bench.json` for programs, and a plot."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pygal
from pygal.style import LightColorizedStyle

from tests.bench.figures import Row, Spread

# pygal leaves a finder for its plug-ins, of a kind that Python 3.11 warns about at every import.
sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]

HEAD = ("row", "Carryout", "peer", "peer's", "ratio", "must hold", "")
NOTHING = "–"


def table(rows: Sequence[Row], *, markdown: bool) -> str:
    """All rows, with the bound that each must hold."""
    cells = [HEAD, *map(_cells, rows)]
    if markdown:
        lines = ["| " + " | ".join(row) + " |" for row in cells]
        return "\n".join([lines[0], "|---" * len(HEAD) + "|", *lines[1:]])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def _cells(row: Row) -> tuple[str, ...]:
    peer = _spread(row.peer_samples, row.unit) if row.peer else NOTHING
    holds = {None: "", True: "holds", False: "MISSED"}[row.holds]
    return (
        row.name,
        _spread(row.samples, row.unit),
        row.peer or NOTHING,
        peer,
        _ratio(row),
        _bound(row),
        holds,
    )


def _spread(samples: Sequence[float], unit: str) -> str:
    spread = Spread.of(samples)
    if len(samples) == 1:
        return f"{_number(spread.median)} {unit}"
    return f"{_number(spread.median)} {unit} ({_number(spread.low)}–{_number(spread.high)})"


def _ratio(row: Row) -> str:
    if row.ratio is None:
        return NOTHING
    return f"{_number(row.ratio)} ×" + " faster" * row.faster


def _bound(row: Row) -> str:
    if row.bound is None:
        return NOTHING
    unit = "×" if row.bound.of == "ratio" else row.unit
    return f"{'≥' if row.bound.least else '≤'} {row.bound.limit:g} {unit}"


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 1 else f"{value:.{1 if value >= 10 else 2}f}"


def write(rows: Sequence[Row], folder: Path, **facts: Any) -> None:
    """Write `bench.json` and `bench.svg` into a folder; both appear whole."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {**facts, "rows": [row.to_json() for row in rows]}
    _replace(folder / "bench.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    _replace(folder / "bench.svg", plot(rows))


def _replace(file: Path, text: str) -> None:
    unfinished = file.with_name(f".{file.name}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(file)


def plot(rows: Sequence[Row]) -> str:
    """How much each row uses of what its bound allows, as SVG that needs nothing else."""
    bounded = [row for row in rows if row.bound is not None and row.measured is not None]
    chart = pygal.HorizontalBar(
        title="Percent of what is allowed; up to 100 the bound holds",
        style=LightColorizedStyle,
        show_legend=False,
        js=(),
        height=120 + 28 * max(1, len(bounded)),
        width=1200,
        truncate_label=-1,
        print_values=True,
        print_labels=False,
        value_formatter=lambda percent: f"{percent:.0f} %",
    )
    # pygal draws the first at the bottom.
    shares = [(row, _percent(row)) for row in reversed(bounded)]
    chart.x_labels = [f"{row.name} {_bound(row)}" for row, _ in shares]
    chart.add(
        "share",
        [
            {"value": percent, "color": "#2f7d5b" if row.holds else "#b3402e"}
            for row, percent in shares
        ],
    )
    return str(chart.render(is_unicode=True))


def _percent(row: Row) -> float:
    assert row.bound
    measured = median(row.samples) if row.measured is None else row.measured
    return 100 * row.bound.share(measured)
