"""An export straight to a file, without a task."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import sqlalchemy as sa

from chalicelib.db.engine import Database
from chalicelib.db.models import User
from chalicelib.exports.datasets import Dataset
from worker.export.document import Document
from worker.export.pages import Source


class NotAFileError(Exception):
    """What stands under the name is no file, but a pipe, a device, a folder or a link."""


def write_file(
    database: Database,
    out: Path,
    *,
    dataset: Dataset,
    user_id: int,
    now: datetime,
    progress: Callable[[int], object],
) -> int:
    """Write a user's rows to a file; it appears under its name only when it is whole.

    Args:
        database: The ledger.
        out: The file; an old one is replaced, and the new one has its mode.
        dataset: Which rows.
        user_id: Whose.
        now: When the export is taken.
        progress: Called with a percentage after each page.

    Returns:
        How many rows it holds.

    Raises:
        NotAFileError: Something else stands there, which a rename would destroy.
    """
    with _replacing(out) as file:
        return write(database, file, dataset=dataset, user_id=user_id, now=now, progress=progress)


def write(
    database: Database,
    file: BinaryIO,
    *,
    dataset: Dataset,
    user_id: int,
    now: datetime,
    progress: Callable[[int], object],
) -> int:
    """Write a user's rows to an open file, such as standard output; as `write_file`."""
    with database.read() as session:
        snapshot = session.scalar(sa.select(dataset.snapshot_query()), {"of": user_id})
        username = session.get_one(User, user_id).username
    document = Document(Source(database, dataset, user_id, snapshot), username, now)
    total, rows = document.count(), 0
    file.write(document.head())
    with closing(document.pieces(None, {dataset.name: 0})) as pieces:
        for piece in pieces:
            file.writelines(piece.data)
            rows += piece.rows
            progress(100 * rows // max(total, rows))
    file.write(document.tail({dataset.name: rows}))
    return rows


@contextmanager
def _replacing(out: Path) -> Iterator[BinaryIO]:
    """A new file beside the old one, which takes its place at the end, and its mode."""
    mode = _mode_of(out)
    partial = out.with_name(f".{out.name}.partial")
    partial.unlink(missing_ok=True)  # of one that was killed
    try:
        with partial.open("xb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            yield file
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def _mode_of(out: Path) -> int | None:
    """The mode of the file that is to be replaced; None when there is none."""
    try:
        found = out.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise NotAFileError(f"{out} is no regular file, so it is not replaced")
    return stat.S_IMODE(found.st_mode)
