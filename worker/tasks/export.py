"""The task of every export: a user's rows of a dataset as one file."""

from typing import cast

from chalicelib.errors import ClaimLost
from chalicelib.exports.kinds import Export, export_kinds
from chalicelib.exports.publication import File
from worker.attempts import Attempt
from worker.export import statements
from worker.export.document import Document
from worker.export.pages import Source
from worker.export.publication import publish

# A worker imports this before it forks: no work horse has to build the statements again.
for _kind in export_kinds():
    for _dataset in _kind.datasets:
        statements.prepare(_dataset)


def export(attempt: Attempt) -> File:
    """Export the rows there were when the first attempt began."""
    (dataset,) = cast("Export", attempt.kind).datasets
    snapshot = dataset.snapshot_from_json(attempt.facts.snapshot[dataset.name])
    source = Source(attempt.wiring.database, dataset, attempt.task.user_id, snapshot)
    if attempt.task.started_at is None:
        raise ClaimLost
    document = Document(source, attempt.facts.username, attempt.task.started_at)
    return publish(attempt, document)
