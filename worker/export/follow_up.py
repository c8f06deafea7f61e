"""What a worker does right after an export's outcome is committed.

All of it would happen without this, a few seconds later: the reconciler executes the removal that
the outcome requested, and the sender finds the email in the outbox.
"""

import logging

from chalicelib.exports import removals
from chalicelib.exports.publication import File
from chalicelib.logs import metrics
from worker.attempts import ENDED_BADLY, Attempt
from worker.outbox import sender

log = logging.getLogger(__name__)


def follow_up(attempt: Attempt, outcome: str) -> None:
    """Remove what is left behind, and send the email, with the file where it is at hand."""
    if outcome == "succeeded":
        _count(attempt)
    if outcome in ENDED_BADLY:
        _remove(attempt)
    if outcome != "claim_lost":
        sender.send_of_task(attempt.task.id, attempt.wiring, content=attempt.content)


def _count(attempt: Attempt) -> None:
    file: File = attempt.result
    size = {"Rows": (sum(file.rows.values()), "Count"), "Bytes": (file.size_bytes, "Bytes")}
    counted = metrics(size, task_name=attempt.task.name)
    log.info("published", extra={**attempt.log_facts, "action": "publish", **counted})


def _remove(attempt: Attempt) -> None:
    """Remove what the attempts wrote.

    Whoever lost the claim may have been stopped for so long that all passes of the reconciler are
    over.
    """
    task, wiring = attempt.task, attempt.wiring
    try:
        removals.execute(wiring.database, wiring.object_store, task.user_id, task.id)
    except Exception:
        facts = {**attempt.log_facts, "action": "remove"}
        log.warning("left to the reconciler", extra=facts, exc_info=True)
