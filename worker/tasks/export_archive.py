"""The task of every archive: the datasets and formats that a user chose, in one ZIP."""

from typing import Any, cast

from chalicelib.errors import ClaimLost
from chalicelib.exports.archive import Archive
from chalicelib.exports.kinds import export_kinds
from chalicelib.exports.publication import File
from worker.attempts import Attempt
from worker.export import statements
from worker.export.archive.archive import About, noted
from worker.export.archive.plan import Plan, archive
from worker.export.formats import activity_streams
from worker.export.pages import Source
from worker.export.publication import publish

# A worker imports this before it forks; `export` prepares the datasets themselves.
for _kind in export_kinds():
    for _dataset in _kind.datasets:
        if _dataset.activity is not None:
            statements.prepare(activity_streams.noted(_dataset))


def export_archive(attempt: Attempt, **params: Any) -> File:
    """Export the rows there were when the first attempt began."""
    if attempt.task.started_at is None:
        raise ClaimLost
    choice = cast("Archive", attempt.kind).choice(params)
    wiring, task, facts = attempt.wiring, attempt.task, attempt.facts
    sources = [
        Source(
            wiring.database,
            one,
            task.user_id,
            one.snapshot_from_json(facts.snapshot[one.name]),
            since=choice.since,
            until=choice.until,
        )
        for one in choice.datasets
    ]
    about = About(facts.username, attempt.task.started_at, task.id, choice.since, choice.until)
    # What is written already is in the language of then.
    earlier = task.checkpoint and noted(task.checkpoint["cursor"])
    language = earlier["language"] if earlier else facts.language
    plan = Plan(about, choice, sources, language, wiring.settings.public_url)
    return publish(attempt, archive(plan))
