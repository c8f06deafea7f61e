"""An uploaded file in the bucket, read like one on the disk."""

import io
import logging
from typing import Any

from botocore.exceptions import BotoCoreError
from urllib3.exceptions import HTTPError

from chalicelib.adapters.object_store import ObjectStore

log = logging.getLogger(__name__)

BUFFER_BYTES = 256 * 1024

TRIES = 4
"""How often in a row one asks for the same bytes."""


class UploadedFile(io.RawIOBase):
    """An object as a file that can be read from any place, in flat memory.

    It is read as one stream for as long as nobody seeks; a new place is a new request. A stream
    that breaks is taken up again where it broke.

    Args:
        store: The bucket.
        key: The object.
        size_bytes: Its size.
        etag: What it must hold.

    Raises:
        ObjectChangedError: While reading: it is gone, or something else was uploaded meanwhile.
    """

    def __init__(self, store: ObjectStore, key: str, *, size_bytes: int, etag: str) -> None:
        super().__init__()
        self._store, self._key, self._etag = store, key, etag
        self._size = size_bytes
        self._offset = 0
        self._stream: Any = None
        self._stream_offset = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; nothing is asked for before one reads there."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("a file has nothing before its beginning")
        self._offset = start + offset
        return self._offset

    def tell(self) -> int:
        """Where one is."""
        return self._offset

    def readinto(self, buffer: Any) -> int:
        """Read some bytes, at most as many as the buffer holds; none at the end."""
        wanted = min(len(buffer), self._size - self._offset)
        if wanted <= 0:
            return 0
        data = self._read(wanted)
        buffer[: len(data)] = data
        self._offset += len(data)
        self._stream_offset = self._offset
        return len(data)

    def _read(self, wanted: int) -> bytes:
        for tried in range(1, TRIES + 1):
            try:
                data: bytes = self._stream_here().read(wanted)
            except (BotoCoreError, HTTPError, OSError):
                self._drop()
                if tried == TRIES:
                    raise
                log.warning("upload interrupted", extra={"action": "import"}, exc_info=True)
                continue
            if data:
                return data
            self._drop()  # ended too early
        raise ConnectionError("the upload ended before its size")

    def _stream_here(self) -> Any:
        if self._stream is None or self._stream_offset != self._offset:
            self._drop()
            self._stream = self._store.open_at(self._key, self._offset, etag=self._etag)
            self._stream_offset = self._offset
        return self._stream

    def _drop(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def close(self) -> None:
        """Let the stream go."""
        if not self.closed:
            self._drop()
        super().close()


def open_uploaded(store: ObjectStore, key: str, *, size_bytes: int, etag: str) -> io.BufferedReader:
    """An uploaded file, buffered."""
    raw = UploadedFile(store, key, size_bytes=size_bytes, etag=etag)
    return io.BufferedReader(raw, BUFFER_BYTES)
