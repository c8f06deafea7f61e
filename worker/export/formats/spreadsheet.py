"""CSV (RFC 4180) for spreadsheets: to look at, not to import again.

A spreadsheet takes a cell that begins with one of a few characters for a formula, which may send
what stands beside it to a stranger. So such a cell gets an apostrophe in front, as OWASP advises
(CSV injection).
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import StringIO
from typing import Any

import msgspec

from chalicelib.exports.datasets import Dataset, Kind

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a formula may begin with."""


@dataclass(frozen=True)
class Spreadsheet:
    """A dataset's rows as a table with a header.

    Attributes:
        dataset: The dataset.
    """

    dataset: Dataset
    media_type: str = "text/csv"

    @property
    def path(self) -> str:
        """Where it is in the archive."""
        return f"spreadsheets/{self.dataset.name}.csv"

    def head(self) -> bytes:
        """The names of the columns."""
        return _table([[column.name for column in self.dataset.columns]])

    def rows(self, lines: bytes, _written: int) -> bytes:
        """The rows of a page, one a record."""
        read = _decoder_of(self.dataset).decode(b"[" + lines + b"]")
        return _table([[cell(value) for value in msgspec.structs.astuple(row)] for row in read])

    def tail(self, _count: int) -> bytes:
        """Nothing."""
        return b""


def cell(value: Any) -> str:
    """What a cell shows: nothing for null, JSON as its text, and never a formula."""
    if value is None or (isinstance(value, msgspec.Raw) and bytes(value) == b"null"):
        return ""
    if isinstance(value, msgspec.Raw):
        value = bytes(value).decode()
    # true, false, and whole numbers; a negative one begins as a formula may, too.
    text = value if isinstance(value, str) else str(value).lower()
    return f"'{text}" if text.startswith(FORMULA) else text


def _table(rows: Sequence[Sequence[str]]) -> bytes:
    text = StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


@cache
def _decoder_of(dataset: Dataset) -> msgspec.json.Decoder[list[Any]]:
    """Reads lines without a look at what is in them; JSON stays as it is written."""
    kinds: dict[Kind, Any] = {
        Kind.JSON: msgspec.Raw,
        Kind.INTEGER: int | None,
        Kind.BOOLEAN: bool | None,
    }
    names = {f"column_{number}": one.name for number, one in enumerate(dataset.columns)}
    found = zip(names, dataset.columns, strict=True)
    fields = [(name, kinds.get(one.kind, str | None)) for name, one in found]
    row = msgspec.defstruct("Row", fields, rename=names, gc=False)
    return msgspec.json.Decoder(list[row])  # type: ignore[valid-type]
