"""Packed bytes as a text, with a bound on how much they may become."""

import zlib
from dataclasses import dataclass

from worker.importing.reading import Content, Limits, Progress, refused

CHUNK_BYTES = 64 * 1024

SMALL_BYTES = 1024 * 1024
"""Less than this is no danger, however well it is packed."""


@dataclass(frozen=True)
class Budget:
    """How much an upload may become.

    Attributes:
        limits: The bounds.
        size: Of the uploaded file in bytes.
    """

    limits: Limits
    size: int

    def check(self, unpacked: int, packed: int) -> None:
        """Make sure that so many bytes may come of so many.

        Raises:
            ImportRefused: They may not.
        """
        if unpacked > self.limits.unpacked_bytes:
            raise refused("too_large")
        if unpacked > SMALL_BYTES and unpacked > self.limits.ratio * min(packed, self.size):
            raise refused("ratio")


class Gzip(Content):
    """What a gzip file holds, of one member or of several in a row (RFC 1952).

    Args:
        packed: The file.
        budget: How much it may become.
    """

    def __init__(self, packed: Content, budget: Budget) -> None:
        self._packed = packed
        self._budget = budget
        self._offset = -1

    def open(self, offset: int = 0) -> None:
        """Go to a place; one that is behind is reached from the beginning."""
        if not 0 <= self._offset <= offset:
            self._packed.open()
            self._inflater = zlib.decompressobj(wbits=31)
            self._rest = self._ahead = b""
            self._taken = self._made = self._offset = 0
        while self._offset < offset:
            if not self.read(min(offset - self._offset, 16 * CHUNK_BYTES)):
                raise refused("malformed")

    def read(self, size: int) -> bytes:  # noqa: D102 - see Content
        if not self._ahead:
            # What is left of the input is copied at each call, so that little ones are dear.
            self._ahead = self._inflate(max(size, CHUNK_BYTES))
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        self._offset += len(data)
        return data

    def drain(self, size: int) -> None:
        """Read on for so many bytes, to see whether this is a bomb."""
        while size > 0 and (data := self.read(16 * CHUNK_BYTES)):
            size -= len(data)

    def _inflate(self, size: int) -> bytes:
        while True:
            if self._inflater.eof:
                self._rest = self._inflater.unused_data
                # Some programs fill up the last block with zeros.
                if not (self._rest or self._more()) or not self._rest.strip(b"\0"):
                    return b""
                self._inflater = zlib.decompressobj(wbits=31)
            elif not self._rest and not self._more():
                raise refused("malformed")  # it ends too early
            try:
                data = self._inflater.decompress(self._rest, size)
            except zlib.error:
                raise refused("malformed") from None
            self._rest = self._inflater.unconsumed_tail
            self._made += len(data)
            self._budget.check(self._made, self._taken)
            if data:
                return data

    def _more(self) -> bool:
        self._rest = self._packed.read(CHUNK_BYTES)
        self._taken += len(self._rest)
        return bool(self._rest)

    @property
    def progress(self) -> Progress:  # noqa: D102
        return self._packed.progress
