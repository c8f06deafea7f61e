"""What a format is."""

from typing import Protocol


class Format(Protocol):
    """How a member with the rows of a dataset is written."""

    @property
    def path(self) -> str:
        """The member's name in the archive."""

    @property
    def media_type(self) -> str:
        """What it is."""

    def head(self) -> bytes:
        """What stands before the rows."""

    def rows(self, lines: bytes, written: int) -> bytes:
        """The rows of a page, in their order.

        Args:
            lines: Their lines of the document: an object each, with `statements.BETWEEN` between
                them. A line break never stands within one.
            written: How many rows stand before them.
        """

    def tail(self, count: int) -> bytes:
        """What stands after so many rows."""
