"""NDJSON: a row a line, for programs that read them one by one."""

from dataclasses import dataclass

from worker.export.statements import BETWEEN


@dataclass(frozen=True)
class Ndjson:
    """A dataset's rows, one a line.

    Attributes:
        name: The dataset's.
    """

    name: str
    media_type: str = "application/x-ndjson"

    @property
    def path(self) -> str:
        """Where it is in the archive."""
        return f"data/{self.name}.ndjson"

    def head(self) -> bytes:
        """Nothing."""
        return b""

    def rows(self, lines: bytes, _written: int) -> bytes:
        """The lines without the commas between them."""
        return lines.replace(BETWEEN, b"\n") + b"\n"

    def tail(self, _count: int) -> bytes:
        """Nothing."""
        return b""
