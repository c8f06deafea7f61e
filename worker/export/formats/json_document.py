"""JSON: the document that an export of the dataset alone writes, byte for byte."""

from dataclasses import dataclass
from datetime import datetime

from worker.export import document
from worker.export.statements import BETWEEN


@dataclass(frozen=True)
class JsonDocument:
    """A dataset's document.

    Attributes:
        name: The dataset's.
        username: Whose rows they are.
        exported_at: When the export was taken.
    """

    name: str
    username: str
    exported_at: datetime
    media_type: str = "application/json"

    @property
    def path(self) -> str:
        """Where it is in the archive."""
        return f"data/{self.name}.json"

    def head(self) -> bytes:
        """What stands before the rows."""
        return document.head(self.name, self.username, self.exported_at)

    def rows(self, lines: bytes, written: int) -> bytes:
        """The lines themselves."""
        return (BETWEEN if written else document.BEFORE) + lines

    def tail(self, count: int) -> bytes:
        """What stands after the rows."""
        return document.tail(count)
