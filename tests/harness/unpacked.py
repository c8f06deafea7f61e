"""Archives on a disk, written as `python -m worker export --archive` writes them, and unpacked."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from zipfile import ZipFile

from chalicelib.db.engine import Database
from chalicelib.exports.archive import Choice
from chalicelib.exports.datasets import Dataset
from worker.export import local


def unpacked(
    folder: Path,
    database: Database,
    user_id: int,
    datasets: Sequence[Dataset],
    *,
    now: datetime,
    since: datetime | None = None,
) -> Path:
    """Write somebody's archive and unpack it; return the page that opens it."""
    choice = Choice(tuple(datasets), since=since)
    url = "https://carryout.example.com"
    writer = local.archive(database, choice, user_id=user_id, now=now, public_url=url)
    folder.mkdir(parents=True, exist_ok=True)
    packed = folder / "archive.zip"
    local.write_file(writer, packed, progress=lambda _percent: None)
    with ZipFile(packed) as archive:
        archive.extractall(folder)
    return folder / "index.html"
