"""An archive of more than 4 GiB, by `publish` itself, into a store that keeps it on the disk."""

import hashlib
import random
import shutil
import subprocess
import zipfile
from base64 import b64encode
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from chalicelib.adapters.object_store import Content, ObjectStore, Part
from chalicelib.db.engine import Database
from chalicelib.exports.datasets import Cursor, Dataset
from chalicelib.microblog.datasets import POSTS
from chalicelib.values.fields import format_time
from tests.harness.archives import moment
from tests.harness.fakes import fake_wiring
from tests.harness.ledgers import lapse, launch, make_user, the_export, the_task
from tests.harness.small_parts import Killed
from tests.unit.test_archive import TOOLS
from worker.attempts import perform
from worker.export import pages
from worker.export.archive import plan as plans
from worker.export.archive.verification import verify
from worker.export.pages import Page, Sizes

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

ROWS = 600_000
PAGE_ROWS = 80
BODY_BYTES = 7500
"""Random bytes of a post: deflate makes 10,000 characters of base 64 about that small."""


@dataclass(frozen=True)
class Incompressible:
    """Posts without end, the same in each attempt."""

    dataset: Dataset = POSTS

    def count(self) -> int:
        return ROWS

    def pages(self, after: Cursor | None, _sizes: Sizes = ()) -> Generator[Page]:
        """Those after a cursor."""
        for start in range(0 if after is None else int(after[1]), ROWS, PAGE_ROWS):
            end = min(ROWS, start + PAGE_ROWS)
            cursor = None if end == ROWS else (moment(end - 1), end)
            yield Page(b",\n".join(map(_line, range(start, end))), end - start, cursor, (1,))


def _line(number: int) -> bytes:
    body = b64encode(random.Random(number).randbytes(BODY_BYTES))
    return b'{"body":"%b","timestamp":"%b"}' % (body, format_time(moment(number)).encode())


class DiskStore(ObjectStore):
    """A bucket on the disk: what is uploaded is appended, and read back when it was resumed.

    Attributes:
        die_at: The part before which the process ends; 0 for none.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__("disk", endpoint_url=None)
        self.folder = folder
        self.die_at = 0

    def path(self, key: str) -> Path:
        return self.folder / key.replace("/", "-")

    def begin(self, key: str, content: Content) -> str:
        del content
        self.path(key).write_bytes(b"")
        return "upload"

    def upload(self, key: str, upload_id: str, number: int, data: bytes | bytearray) -> Part:
        """Keep a part where the ones before it end."""
        del upload_id
        if number == self.die_at:
            raise Killed
        with self.path(key).open("ab") as file:
            file.write(data)
        return Part(number, hashlib.md5(data).hexdigest(), len(data))

    def complete(self, key: str, upload_id: str, parts: list[Part]) -> None:
        del upload_id
        assert self.path(key).stat().st_size == sum(part.size_bytes for part in parts)

    def size(self, key: str) -> int | None:
        return self.path(key).stat().st_size if self.path(key).exists() else None

    def read(self, key: str) -> Iterator[bytes]:
        with self.path(key).open("rb") as file:
            while data := file.read(1 << 20):
                yield data


def test_more_than_4_gib(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed behind 4 GiB and taken up again, every tool accepts it, and so does `verify`."""
    wired, store = fake_wiring(database), DiskStore(tmp_path)
    wired.__dict__["object_store"] = store
    monkeypatch.setattr(pages.Source, "count", lambda _self: ROWS)
    monkeypatch.setattr(pages.Source, "pages", lambda _self, *at: Incompressible().pages(*at))
    monkeypatch.setattr(plans, "_viewer", lambda _plan: [])
    user_id = make_user(database)
    task_id = launch(database, user_id, "export_archive", datasets=["posts"], formats=["json"])
    store.die_at = 440
    with pytest.raises(Killed):
        perform(task_id, wired)
    store.die_at = 0
    lapse(database, task_id)
    assert wired.reconciler.sweep(now=wired.now())["recovered"] == 1
    lapse(database, task_id)
    perform(task_id, wired)
    assert the_task(database, task_id).status == "succeeded"
    export = the_export(database, task_id)
    path = store.path(export.object_key or "")
    assert path.stat().st_size == export.size_bytes
    assert (export.size_bytes or 0) > 1 << 32
    for name, command in TOOLS.items():
        if shutil.which(name):
            done = subprocess.run([*command, path], capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, ""), (name, done.stdout[-2000:])
    with zipfile.ZipFile(path) as found:
        assert found.testzip() is None
        assert found.getinfo("manifest.json").header_offset > 1 << 32
    with path.open("rb") as file:
        verdict = verify(file, [POSTS])
    assert (verdict.faults, verdict.sha256) == ((), export.sha256)
