"""The report of what an import has left out: NDJSON, one `{"position", "reason"}` a line."""

from collections.abc import Callable, Iterator

import orjson

from chalicelib.adapters.object_store import Content
from chalicelib.db.engine import Database
from chalicelib.exports.removals import attempt_prefix
from chalicelib.imports import staging
from worker.attempts import Attempt
from worker.export.upload import Upload

REPORT = Content("import-report.ndjson", "application/x-ndjson")

LINES_AT_ONCE = 10_000


def lines(database: Database, number: int) -> Iterator[bytes]:
    """The report, some thousand lines at a time."""
    after = 0
    while True:
        with database.read() as session:
            found = staging.rejections(session, number, after=after, most=LINES_AT_ONCE)
        if not found:
            return
        after = found[-1][0]
        yield b"".join(
            orjson.dumps({"position": position, "reason": reason}) + b"\n"
            for position, reason in found
        )


def write(attempt: Attempt, number: int, *, check: Callable[[], None]) -> str:
    """Put the report of an import into the bucket; return its key.

    It stands where files that an attempt has written do, so what became worthless is removed as
    theirs is.
    """
    folder = attempt_prefix(attempt.task.user_id, attempt.task.id, attempt.lease.claim)
    upload = Upload(attempt.wiring.object_store, folder + REPORT.filename, REPORT)
    pending = bytearray()
    for some in lines(attempt.wiring.database, number):
        check()
        pending += some
        if len(pending) >= upload.part_bytes:
            upload.add(pending)
            pending.clear()
    upload.finish(pending)
    return upload.key
