"""An export straight to a file, without a task."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import sqlalchemy as sa

from chalicelib.db.engine import Database
from chalicelib.db.models import User
from chalicelib.exports.archive import Choice
from chalicelib.exports.datasets import Dataset
from worker.export.archive.archive import About, ArchiveWriter
from worker.export.archive.plan import Plan
from worker.export.archive.plan import archive as planned
from worker.export.document import Document
from worker.export.pages import Source
from worker.export.publication import Rows, Writer, add


class NotAFileError(Exception):
    """What stands under the name is no file, but a pipe, a device, a folder or a link."""


def document(database: Database, dataset: Dataset, *, user_id: int, now: datetime) -> Document:
    """What writes the rows that a user has now."""
    (source,), user = _taken(database, [dataset], user_id)
    return Document(source, user.username, now)


def archive(
    database: Database, choice: Choice, *, user_id: int, now: datetime, public_url: str
) -> ArchiveWriter:
    """What writes an archive of what a user has now."""
    sources, user = _taken(database, choice.datasets, user_id)
    bounded = [replace(one, since=choice.since, until=choice.until) for one in sources]
    about = About(user.username, now, since=choice.since, until=choice.until)
    return planned(Plan(about, choice, bounded, user.language, public_url))


def _taken(
    database: Database, datasets: Sequence[Dataset], user_id: int
) -> tuple[list[Source], User]:
    """The rows there are now, and whose they are."""
    with database.read() as session:
        queries = sa.select(*(one.snapshot_query() for one in datasets))
        newest = session.execute(queries, {"of": user_id}).one()
        user = session.get_one(User, user_id)
    taken = zip(datasets, newest, strict=True)
    return [Source(database, one, user_id, snapshot) for one, snapshot in taken], user


def write_file(writer: Writer, out: Path, *, progress: Callable[[int], object]) -> Rows:
    """Write to a file, which appears under its name only when it is whole.

    Args:
        writer: What it holds.
        out: The file; an old one is replaced, and the new one has its mode.
        progress: Called with a percentage after each piece.

    Returns:
        How many rows it holds, by dataset.

    Raises:
        NotAFileError: Something else stands there, which a rename would destroy.
    """
    with _replacing(out) as file:
        return write(writer, file, progress=progress)


def write(writer: Writer, file: BinaryIO, *, progress: Callable[[int], object]) -> Rows:
    """Write to an open file, such as standard output; as `write_file`."""
    total, rows = writer.count(), dict.fromkeys(writer.datasets, 0)
    file.write(writer.head())
    with closing(writer.pieces(None, rows)) as pieces:
        for piece in pieces:
            file.writelines(piece.data)
            add(rows, piece.rows)
            done = writer.done(rows)
            progress(100 * done // max(total, done, 1))
    file.write(writer.tail(rows))
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
