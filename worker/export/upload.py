"""An object that grows part by part and can be taken up again after a crash."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from chalicelib.adapters import tracing
from chalicelib.adapters.object_store import Content, ObjectStore, Part, UploadGoneError

PART_BYTES = 6 * 1024 * 1024
"""The size of the first parts: S3 wants 5 MiB or more."""

PARTS_PER_SIZE = 2000
"""After this many parts their size doubles, so that 10,000 parts hold 363 GiB."""


@dataclass
class Upload:
    """The parts of an object that are in S3 so far.

    Attributes:
        storage: The bucket.
        key: Where the object will be.
        upload_id: S3's name for the unfinished upload; None while everything fits one part.
        parts: What was uploaded.
    """

    storage: ObjectStore
    key: str
    content: Content
    upload_id: str | None = None
    parts: list[Part] = field(default_factory=list)

    @property
    def part_bytes(self) -> int:
        """How large the next part should be."""
        return PART_BYTES << (len(self.parts) // PARTS_PER_SIZE)

    def add(self, data: bytes | bytearray) -> None:
        """Upload a part.

        Raises:
            UploadGoneError: S3 does not know the upload any more.
        """
        if self.upload_id is None:
            self.upload_id = self.storage.begin(self.key, self.content)
        number = len(self.parts) + 1
        facts = {"carryout__part": number, "carryout__size": len(data)}
        with tracing.span("upload part", kind=tracing.Kind.CLIENT, **facts):
            self.parts.append(self.storage.upload(self.key, self.upload_id, number, data))

    @property
    def size_bytes(self) -> int:
        """How much is in S3."""
        return sum(part.size_bytes for part in self.parts)

    def finish(self, data: bytes | bytearray) -> bool:
        """Add the last bytes and make the object.

        An attempt that died right after this step left a finished object and an unknown upload;
        then there is nothing more to do, unless posts were deleted since: they make it longer.

        Returns:
            Whether this attempt has made the object; else another one had done so.

        Raises:
            UploadGoneError: S3 does not know the upload, and what it made of it is not this.
        """
        if self.upload_id is None:
            with tracing.span("upload", kind=tracing.Kind.CLIENT, carryout__size=len(data)):
                self.storage.put(self.key, data, self.content)
            return True
        size_bytes = self.size_bytes + len(data)
        try:
            self.add(data)
            self.storage.complete(self.key, self.upload_id, self.parts)
        except UploadGoneError:
            if self.storage.size(self.key) != size_bytes:
                raise
            return False
        return True

    def to_json(self) -> dict[str, Any]:
        """As a checkpoint holds it."""
        parts = [[part.number, part.etag, part.size_bytes] for part in self.parts]
        return {"key": self.key, "upload_id": self.upload_id, "parts": parts}

    @classmethod
    def from_json(cls, storage: ObjectStore, value: dict[str, Any], content: Content) -> "Upload":
        """From a checkpoint."""
        parts = [Part(*part) for part in value["parts"]]
        return cls(storage, value["key"], content, value["upload_id"], parts)


def digest_of(storage: ObjectStore, key: str, *, check: Callable[[], None]) -> tuple[str, int]:
    """Read a finished object back.

    Args:
        storage: The bucket.
        key: The object.
        check: Called between two pieces; raises when the attempt is over.

    Returns:
        Its SHA-256 and its size in bytes.
    """
    digest, size = hashlib.sha256(), 0
    for piece in storage.read(key):
        check()
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size
