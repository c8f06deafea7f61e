"""The task of every import: the rows of an uploaded file, staged for publication."""

from datetime import timedelta

from chalicelib.adapters.object_store import ObjectChangedError
from chalicelib.errors import TaskError
from chalicelib.imports.publication import Outcome
from chalicelib.values.languages import N_
from worker.attempts import Attempt
from worker.importing import report
from worker.importing.opening import open_import
from worker.importing.reading import Limits, Progress
from worker.importing.stager import Staged, Stager, Write
from worker.importing.uploaded_file import open_uploaded

UPLOAD_GONE = N_("The uploaded file is gone, or another one was uploaded in its place.")


def import_file(attempt: Attempt, import_id: str) -> Outcome:
    """Stage all posts of the file, from its beginning or from an earlier attempt's checkpoint."""
    facts, settings = attempt.facts, attempt.wiring.settings
    staged = Staged.from_json(attempt.task.checkpoint)
    stager = Stager(facts.number, staged, lambda *what: _commit(attempt, *what))
    content = {"size_bytes": facts.size_bytes, "etag": facts.etag}
    try:
        with open_uploaded(attempt.wiring.object_store, facts.key, **content) as file:
            limits = Limits(packed_bytes=settings.import_max_bytes)
            reader = open_import(file, limits, staged.cursor)
            stager.stage(reader, check=lambda progress: attempt.progress(*progress))
    except ObjectChangedError as error:
        raise TaskError(UPLOAD_GONE, code="upload_gone") from error
    attempt.total = facts.size_bytes
    return Outcome(
        number=facts.number,
        import_id=import_id,
        format=reader.format,
        read=staged.read,
        rejected=staged.rejected,
        report_key=report.write(attempt, facts.number, check=attempt.check),
        expires_at=attempt.wiring.now() + timedelta(seconds=settings.export_ttl_s),
        quota_bytes=settings.post_quota_bytes,
    )


def _commit(attempt: Attempt, progress: Progress, staged: Staged, write: Write) -> None:
    attempt.check()
    attempt.checkpoint(*progress, staged.to_json(), write=write)
