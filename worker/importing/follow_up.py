"""What a worker does right after an import's outcome is committed.

All of it would happen without this, a few seconds later, by the reconciler.
"""

import logging

from chalicelib.exports import removals
from chalicelib.imports import staging, uploads
from chalicelib.logs import metrics
from worker.attempts import ENDED_BADLY, Attempt

log = logging.getLogger(__name__)


def follow_up(attempt: Attempt, outcome: str) -> None:
    """Remove the upload, delete the staged rows, and what a failed attempt has left of a report."""
    if outcome not in {"succeeded", *ENDED_BADLY}:
        return  # it goes on
    if outcome == "succeeded":
        _count(attempt)
    task, wiring = attempt.task, attempt.wiring
    try:
        if outcome in ENDED_BADLY:
            removals.execute(wiring.database, wiring.object_store, task.user_id, task.id)
        import_id = task.params["import_id"]
        removals.execute_import(wiring.database, wiring.object_store, task.user_id, import_id)
        with wiring.database.read() as session:
            upload = uploads.of_task(session, task.id)
        if upload is not None and upload.staged and upload.upload_gone_at is not None:
            staging.delete_rows(wiring.database, upload.number)
    except Exception:
        facts = {**attempt.log_facts, "action": "remove"}
        log.warning("left to the reconciler", extra=facts, exc_info=True)


def _count(attempt: Attempt) -> None:
    counted = metrics({"Rows": (attempt.result.read, "Count")}, task_name=attempt.task.name)
    log.info("imported", extra={**attempt.log_facts, "action": "publish", **counted})
