"""The uploaded file itself as what is read."""

import io
from typing import BinaryIO

from worker.importing.reading import Content, Progress


def size_of(file: BinaryIO) -> int:
    """How long a file is."""
    return file.seek(0, io.SEEK_END)


class PlainFile(Content):
    """A file that is not packed.

    Args:
        file: Seekable, in binary mode.
        size: How many bytes of it count; it may be growing.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._offset = 0

    def open(self, offset: int = 0) -> None:  # noqa: D102 - see Content
        self._file.seek(offset)
        self._offset = offset

    def read(self, size: int) -> bytes:  # noqa: D102
        data = self._file.read(min(size, self._size - self._offset))
        self._offset += len(data)
        return data

    @property
    def progress(self) -> Progress:  # noqa: D102
        return Progress(self._offset, self._size)
