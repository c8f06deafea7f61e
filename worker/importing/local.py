"""An import straight from a file on the disk: the same stages, without a task and a bucket."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, BinaryIO

import sqlalchemy as sa

from chalicelib.db.engine import Database
from chalicelib.db.models import ImportUpload
from chalicelib.imports import kinds, staging, uploads
from chalicelib.imports.kinds import import_kinds
from chalicelib.imports.publication import Outcome
from chalicelib.wiring import Wiring
from worker.importing import report
from worker.importing.opening import open_import
from worker.importing.reading import Limits, Progress
from worker.importing.stager import Staged, Stager, Write


@dataclass(frozen=True)
class Imported:
    """What became of a file.

    Attributes:
        database: The ledger.
        number: The import's.
        result: As the API shows it.
        now: The time.
    """

    database: Database
    number: int
    result: dict[str, Any]
    now: datetime

    def report(self) -> Iterator[bytes]:
        """What was left out, as NDJSON."""
        return report.lines(self.database, self.number)

    def forget(self) -> None:
        """The import is over: delete the staged rows, and with them the report.

        Nothing was uploaded, so nothing is to be removed from the bucket.
        """
        with self.database.write() as session:
            session.get_one(ImportUpload, self.number).upload_gone_at = self.now
        staging.delete_rows(self.database, self.number)


def import_posts(
    wiring: Wiring, file: BinaryIO, *, user_id: int, progress: Callable[[int], None]
) -> Imported:
    """Import a file.

    Args:
        wiring: Clients and settings.
        file: Seekable, in binary mode.
        user_id: Whose the posts become.
        progress: Gets how many bytes were read, now and then.

    Raises:
        TaskError: The file cannot be imported; nothing of it was.
    """
    database = wiring.database
    with database.write() as session:
        # A process that dies leaves this to the reconciler, when the day is over.
        upload = uploads.create(session, user_id, filename=None, now=wiring.now())
    try:
        return _import(wiring, upload, file, progress)
    except BaseException:
        _give_up(database, upload.number)
        raise


def _import(
    wiring: Wiring, upload: ImportUpload, file: BinaryIO, progress: Callable[[int], None]
) -> Imported:
    database, settings = wiring.database, wiring.settings

    def commit(_progress: Progress, _staged: Staged, write: Write) -> None:
        with database.write() as session:
            write(session)

    stager = Stager(upload.number, Staged(), commit)
    reader = open_import(file, Limits(packed_bytes=settings.import_max_bytes))
    staged = stager.stage(reader, check=lambda one: progress(one.bytes))
    now = wiring.now()
    outcome = Outcome(
        number=upload.number,
        import_id=upload.id,
        format=reader.format,
        read=staged.read,
        rejected=staged.rejected,
        report_key=None,
        expires_at=now + timedelta(seconds=settings.export_ttl_s),
        quota_bytes=settings.post_quota_bytes,
    )
    (kind,) = import_kinds()
    with database.write() as session:
        result = kinds.publish(session, kind.target, outcome, user_id=upload.user_id)
    return Imported(database, upload.number, result, now)


def _give_up(database: Database, number: int) -> None:
    """Keep nothing: neither the import nor, by a trigger, its staged rows."""
    with database.write() as session:
        session.execute(sa.delete(ImportUpload).where(ImportUpload.number == number))
