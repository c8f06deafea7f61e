"""The files that hold the rows of a dataset, and what the index must know about them.

Rows come in the dataset's order and are never sorted again. So the rows of a month stand beside
each other, and the index needs no more than the number of rows of each file and of each month.
"""

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson

from chalicelib.exports.datasets import Dataset
from worker.export.statements import BETWEEN
from worker.export.viewer import frames, periods
from worker.export.viewer.files import FOLDER

FILE_BYTES = 1024 * 1024
"""How much a file holds at least, but for the last one: what a browser reads at a glance."""

FILES_PER_SIZE = 128
"""After this many files their size doubles, so that there are hundreds of them, not thousands."""

_MONTH = len("2026-01")


@dataclass(frozen=True)
class Layout:
    """How the rows of a dataset are shown; all of it follows from the declaration.

    Attributes:
        dataset: Which rows.
    """

    dataset: Dataset

    @cached_property
    def time(self) -> str | None:
        """The field that has the rows in the order of time, if one has."""
        first = self.dataset.key_columns[0]
        named = {one.column: one.name for one in self.dataset.columns}
        is_time = first is self.dataset.time_column
        return named.get(first) if is_time else None

    @cached_property
    def is_chronological(self) -> bool:
        """Whether newer rows come later, as far as their number or their time tells."""
        first = self.dataset.key_columns[0]
        # By identity: columns that are compared make an expression.
        return first is self.dataset.time_column or first is self.dataset.snapshot_column

    @cached_property
    def prose(self) -> str | None:
        """The field that people wrote, if rows are a text and its time."""
        activity = self.dataset.activity
        return activity.content if activity and self.time == activity.published else None


@dataclass
class Contents:
    """What is written of a dataset.

    Attributes:
        files: How many rows each file holds.
        counts: How many rows each period has; empty without a time.
    """

    files: list[int] = field(default_factory=list)
    counts: periods.Counts = field(default_factory=dict)

    def to_json(self) -> list[Any]:
        """As a checkpoint keeps it."""
        return [list(self.files), dict(self.counts)]

    @classmethod
    def from_json(cls, value: list[Any]) -> "Contents":
        """Out of a checkpoint."""
        files, counts = value
        return cls(list(files), dict(counts))


class DataFile:
    """A file that is being written, the last one of its dataset.

    Args:
        layout: How the rows are shown.
        contents: What is written of the dataset; it grows with the file.
        size_bytes: How much of this file is written; None begins another one.
    """

    def __init__(self, layout: Layout, contents: Contents, size_bytes: int | None = None) -> None:
        self._layout = layout
        self._contents = contents
        self.size_bytes = size_bytes or 0
        self._head = b""
        if size_bytes is None:
            contents.files.append(0)
            self._head = frames.HEAD
        self.path = f"{FOLDER}/data/{layout.dataset.name}-{len(contents.files):04}.html"

    @property
    def is_full(self) -> bool:
        """Whether the next rows belong into another file."""
        return self.size_bytes >= FILE_BYTES << (len(self._contents.files) - 1) // FILES_PER_SIZE

    def rows(self, lines: bytes, rows: int) -> bytes:
        """The next rows.

        Args:
            lines: Their JSON, one a line, as it stands in a document; at least one.
            rows: How many they are.
        """
        between = BETWEEN if self._contents.files[-1] else b"[\n"
        written = self._head + frames.escaped(between + lines)
        self._head = b""
        self.size_bytes += len(written)
        self._contents.files[-1] += rows
        if self._layout.time is not None:
            months = _months(lines, self._layout.time)
            self._contents.counts = periods.add(self._contents.counts, months)
        return written

    def end(self) -> bytes:
        """What stands after the last row."""
        return frames.escaped(b"\n]") + frames.TAIL


def _months(lines: bytes, time: str) -> list[tuple[str, int]]:
    """The months of rows, in their order, and how many rows each has."""
    rows = lines.split(BETWEEN)
    first, last = _month(rows[0], time), _month(rows[-1], time)
    if first == last:  # as it nearly always is; to read each row takes much longer
        return [(first, len(rows))]
    return list(Counter(_month(row, time) for row in rows).items())


def _month(row: bytes, time: str) -> str:
    value: str = orjson.loads(row)[time]
    return value[:_MONTH]
