"""Packed bytes as a text, with a bound on how much they may become."""

import zlib
from collections.abc import Callable
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


FLUSHED = b"\0\0\xff\xff"
"""With what a flush of the packer ends (RFC 1951, section 3.2.4: a stored block of no bytes)."""

WINDOW_BYTES = 32 * 1024
"""Nothing that is packed refers further back."""


class Inflater:
    """Unpacks raw deflate, and notes where one could begin in the middle.

    After a full flush (`Z_FULL_FLUSH`), as our own archives have one at least for each MiB, nothing
    refers to what went before. To be sure of it, a second inflater that knows nothing of that
    unpacks the next 32 KiB, too, and must get the same.

    Args:
        read: Gives the next so many packed bytes or fewer; none at the end.

    Attributes:
        eof: Whether the end was reached.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        self._witness: _Witness | None = None
        self._rest = b""

    @property
    def eof(self) -> bool:
        """Whether the end was reached."""
        return self._inflater.eof

    @property
    def ahead(self) -> int:
        """How many packed bytes were read and are not unpacked."""
        return len(self._rest)

    def inflate(self, size: int) -> tuple[bytes, bool]:
        """The next bytes, and whether a flush may be right behind them.

        Raises:
            ImportRefused: It is damaged.
        """
        while not self.eof:
            self._rest = self._rest or self._read(CHUNK_BYTES)
            at = self._rest.find(FLUSHED) + len(FLUSHED)
            is_flush = at >= len(FLUSHED)
            piece = self._rest[:at] if is_flush else self._rest
            data = self._decompress(piece, size)
            left = self._inflater.unconsumed_tail
            self._rest = left + self._rest[len(piece) :]
            if self._witness is not None and not self._witness.agrees(piece, size, data, left):
                self._witness = None
            if data:
                return data, is_flush and not left and len(data) < size
            if not piece and not self.eof:
                raise refused("malformed")
        return b"", False

    def _decompress(self, piece: bytes, size: int) -> bytes:
        try:
            return self._inflater.decompress(piece, size)
        except zlib.error:
            raise refused("malformed") from None

    @property
    def is_watching(self) -> bool:
        """Whether nothing was found yet against beginning where `watch` was called last."""
        return self._witness is not None

    def watch(self) -> None:
        """Begin to find out whether one could begin here."""
        self._witness = _Witness()

    @property
    def is_proven(self) -> bool:
        """Whether one could begin where `watch` was called last."""
        return self._witness is not None and self._witness.seen >= WINDOW_BYTES


class _Witness:
    """An inflater that knows only what came after a place."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        self.seen = 0

    def agrees(self, piece: bytes, size: int, data: bytes, left: bytes) -> bool:
        """Whether it unpacks a piece to the same bytes; of no interest once it has seen enough."""
        if self.seen >= WINDOW_BYTES:
            return True
        try:
            own = self._inflater.decompress(piece, size)
        except zlib.error:
            return False
        self.seen += len(own)
        return own == data and self._inflater.unconsumed_tail == left


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
            is_at_end = not self._rest and not self._more()
            try:
                data = self._inflater.decompress(self._rest, size)
            except zlib.error:
                raise refused("malformed") from None
            self._rest = self._inflater.unconsumed_tail
            self._made += len(data)
            self._budget.check(self._made, self._taken)
            if data:
                return data
            if is_at_end and not self._inflater.eof:
                raise refused("malformed")  # it ends too early

    def _more(self) -> bool:
        self._rest = self._packed.read(CHUNK_BYTES)
        self._taken += len(self._rest)
        return bool(self._rest)

    @property
    def progress(self) -> Progress:  # noqa: D102
        return self._packed.progress
