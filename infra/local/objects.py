"""The emulator's S3 objects on disk.

moto keeps objects in memory. Here each one is also a file, complete before its client hears that
it was stored, so that the stack may be killed at any moment: a line of JSON (key, metadata, ETag,
time), then the bytes. A file's name is the hash of the key, for keys may be longer than names.
"""

import hashlib
import json
import shutil
import threading
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID

COPY_BYTES = 1024 * 1024


def backend() -> Any:
    """The emulator's S3, which is the same for all regions."""
    return get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"]


class Objects:
    """The files, one folder a bucket.

    Args:
        folder: Holds everything; made when it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._saved: dict[Path, object] = {}
        self._lock = threading.Lock()

    def restore(self, *, region: str) -> None:
        """Put every stored object into the emulator, which must be fresh."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for leftover in self._folder.glob("*/*.part"):
            leftover.unlink()  # was never complete
        for bucket in sorted(path for path in self._folder.iterdir() if path.is_dir()):
            backend().create_bucket(bucket.name, region)
            for path in bucket.iterdir():
                self._saved[path] = _load(path)

    def keep_up(self, method: str, path: str) -> None:
        """Make the files match what a request has changed.

        Args:
            method: PUT, POST or DELETE.
            path: `/bucket/key`, decoded.
        """
        name, _, key_name = path[1:].partition("/")
        bucket = backend().buckets.get(name)
        if bucket is None:
            return
        folder = self._folder / name
        with self._lock:
            # A form sends the key inside its body, to the bucket itself.
            names = list(bucket.keys) if method == "POST" and not key_name else [key_name]
            for name in names:
                key = bucket.keys.get(name)
                if key is not None and method != "DELETE":
                    self._save(folder / _file_name(name), key)
            if method != "PUT":  # a POST may delete many
                kept = {folder / _file_name(kept_name) for kept_name in list(bucket.keys)}
                for gone in [path for path in self._saved if path.parent == folder]:
                    if gone not in kept:
                        gone.unlink(missing_ok=True)
                        del self._saved[gone]

    def _save(self, path: Path, key: Any) -> None:
        if self._saved.get(path) is key:  # such as when a part was uploaded for a new version
            return
        path.parent.mkdir(exist_ok=True)
        unfinished = path.with_suffix(".part")
        with unfinished.open("wb") as file, key.lock:
            file.write(json.dumps(_facts(key)).encode("ascii") + b"\n")
            _content(key).seek(0)
            shutil.copyfileobj(_content(key), file, COPY_BYTES)
        unfinished.replace(path)
        if key.multipart:
            key.multipart.dispose()  # the parts, which moto would keep beside the whole
        self._saved[path] = key


def _file_name(key_name: str) -> str:
    return hashlib.sha256(key_name.encode()).hexdigest()


def _content(key: Any) -> IO[bytes]:
    """What moto spools to the disk; its public `value` would be all of it in memory."""
    buffer: IO[bytes] = key._value_buffer  # noqa: SLF001 - see above
    return buffer


def _facts(key: Any) -> dict[str, Any]:
    return {
        "bucket": key.bucket_name,
        "key": key.name,
        "metadata": dict(key.metadata),
        "etag": key.etag.strip('"'),
        "last_modified": key.last_modified.isoformat(),
    }


def _load(path: Path) -> object:
    with path.open("rb") as file:
        facts = json.loads(file.readline())
        key = backend().put_object(
            facts["bucket"], facts["key"], b"", etag=facts["etag"], disable_notification=True
        )
        key.set_metadata(facts["metadata"])
        key.last_modified = datetime.fromisoformat(facts["last_modified"])
        key.contentsize = path.stat().st_size - file.tell()
        shutil.copyfileobj(file, _content(key), COPY_BYTES)
    return key
