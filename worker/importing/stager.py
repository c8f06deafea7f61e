"""Moves what a reader finds into the staged rows, batch by batch."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import orm as so

from chalicelib.imports import staging
from worker.importing.reading import Batch, Progress, Rejected, Row

ROWS_AT_ONCE = 20_000
"""How many rows a commit holds at most, so that it is short."""

BYTES_AT_ONCE = 8 * 1024 * 1024
COMMITS = 25
"""How many commits even a small file takes, so that little of it is read again after a crash."""

LEAST_BYTES = 64 * 1024


class Reader(Protocol):
    """What reads a file: see `worker.importing.opening.open_import`."""

    format: str

    @property
    def progress(self) -> Progress:
        """How far it is."""

    def __iter__(self) -> Any:
        """The batches."""


Write = Callable[[so.Session], None]
Commit = Callable[[Progress, "Staged", Write], None]


@dataclass
class Staged:
    """What was staged so far, and where to go on.

    Attributes:
        cursor: The reader's.
        read: How many entries were read.
        rejected: How many of them are left out.
    """

    cursor: Any = None
    read: int = 0
    rejected: int = 0

    def to_json(self) -> dict[str, Any]:
        """As a checkpoint."""
        return {"cursor": self.cursor, "read": self.read, "rejected": self.rejected}

    @classmethod
    def from_json(cls, note: Mapping[str, Any] | None) -> "Staged":
        """From a checkpoint, or from nothing."""
        return cls(**note) if note else cls()


@dataclass
class Stager:
    """Gathers batches until there are enough for a commit.

    Attributes:
        number: The import's.
        staged: What is committed, and what the next commit will add.
        commit: Commits it: gets how far the reader is, what is staged then, and what to write in
            the same transaction.
    """

    number: int
    staged: Staged
    commit: Commit
    _rows: list[Row] = field(default_factory=list)
    _rejected: list[Rejected] = field(default_factory=list)

    def stage(self, reader: Reader, *, check: Callable[[Progress], None]) -> Staged:
        """Stage all that a reader finds.

        Args:
            reader: Begins at the cursor of what is staged.
            check: Called between two batches; raises when the attempt is over.

        Returns:
            What is staged.
        """
        committed_at = 0
        for batch in _batches(reader):
            self._add(batch)
            progress = reader.progress
            if self._is_enough(progress, progress.bytes - committed_at):
                self._commit(progress)
                committed_at = progress.bytes
            check(progress)
        self._commit(reader.progress)
        return self.staged

    def _add(self, batch: Batch) -> None:
        self._rows += batch.rows
        self._rejected += batch.rejected
        self.staged.read += batch.read
        self.staged.rejected += len(batch.rejected)
        self.staged.cursor = batch.cursor

    def _is_enough(self, progress: Progress, gathered_bytes: int) -> bool:
        share = max(LEAST_BYTES, min(BYTES_AT_ONCE, progress.total // COMMITS))
        return len(self._rows) >= ROWS_AT_ONCE or gathered_bytes >= share

    def _commit(self, progress: Progress) -> None:
        rows, rejected = self._rows, self._rejected

        def write(session: so.Session) -> None:
            staging.stage(session, self.number, rows, rejected)
            staging.mark_staged(session, self.number)

        self.commit(progress, self.staged, write)
        self._rows, self._rejected = [], []


def _batches(reader: Reader) -> Iterable[Batch]:
    batches: Iterable[Batch] = reader
    return batches
