"""Which members an archive has, and in which order.

README.txt, then the rows as data, as tables and as activities, then the pages to look at them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from chalicelib.exports.archive import ACTIVITYSTREAMS, Choice
from chalicelib.values.languages import language_for
from worker.export.archive.archive import About, ArchiveWriter
from worker.export.archive.members import RowsOf, Section
from worker.export.archive.readme import readme
from worker.export.formats import activity_streams
from worker.export.formats.activity_streams import Outbox
from worker.export.formats.json_document import JsonDocument
from worker.export.formats.ndjson import Ndjson
from worker.export.formats.spreadsheet import Spreadsheet
from worker.export.pages import Source
from worker.export.viewer import section


@dataclass(frozen=True)
class Plan:
    """All that decides what an archive holds.

    Attributes:
        about: What the manifest says.
        choice: What was asked for.
        sources: The rows, of each dataset that was chosen.
        language: The code of the user's language.
        public_url: Where the application's pages are, without a final slash.
    """

    about: About
    choice: Choice
    sources: Sequence[Source]
    language: str
    public_url: str


def archive(plan: Plan) -> ArchiveWriter:
    """What writes the archive of a plan."""
    language = language_for(plan.language)
    members = [*_data(plan), *_spreadsheets(plan), *_activities(plan), *_viewer(plan)]
    first = readme(plan.about, plan.choice, members, language)
    names = [one.dataset.name for one in plan.sources]
    return ArchiveWriter(plan.about, names, [first, *members], note={"language": plan.language})


def _data(plan: Plan) -> list[Section]:
    found: list[Section] = []
    for one in plan.sources:
        name = one.dataset.name
        if "json" in plan.choice.formats:
            about = plan.about
            found.append(RowsOf(one, JsonDocument(name, about.username, about.exported_at)))
        if "ndjson" in plan.choice.formats:
            found.append(RowsOf(one, Ndjson(name)))
    return found


def _spreadsheets(plan: Plan) -> list[Section]:
    if "csv" not in plan.choice.formats:
        return []
    return [RowsOf(one, Spreadsheet(one.dataset)) for one in plan.sources]


def _activities(plan: Plan) -> list[Section]:
    if ACTIVITYSTREAMS not in plan.choice.formats:
        return []
    actor = f"{plan.public_url}/users/{plan.about.username}"
    found: list[Section] = []
    for one in plan.sources:
        if one.dataset.activity is not None:
            source = replace(one, dataset=activity_streams.noted(one.dataset))
            found.append(RowsOf(source, Outbox(one.dataset.name, actor)))
            found.append(activity_streams.actor_member(actor, plan.about.username))
    return found


def _viewer(plan: Plan) -> list[Section]:
    """The pages to look at everything."""
    if not plan.choice.viewer:
        return []
    return section.sections(plan.about, plan.language, plan.sources)
