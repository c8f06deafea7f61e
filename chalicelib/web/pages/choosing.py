"""The form in which people choose what an archive holds: datasets, formats, a period, pages."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from chalicelib.errors import Invalid
from chalicelib.exports.archive import FORMATS, Archive, archive_kind
from chalicelib.exports.datasets import Dataset
from chalicelib.exports.estimates import Estimate
from chalicelib.exports.kinds import Export, export_kinds
from chalicelib.values.fields import format_time
from chalicelib.values.languages import Language
from chalicelib.web import actions, datasets
from chalicelib.web.request import Call

NAMES = {"json": "JSON", "ndjson": "NDJSON", "csv": "CSV", "activitystreams": "ActivityStreams"}
"""What people call the formats; the same in every language."""


@dataclass(frozen=True)
class Chooser:
    """What can be chosen, and what was.

    Attributes:
        kind: The archive.
        datasets: Each with how much there is of it.
        chosen: The names of those that are ticked.
        formats: By its name in the API, what people call each format.
        chosen_formats: Those that are ticked.
        since: The first day.
        until: The last day.
        viewer: Whether the pages to look at the data are ticked.
        complaint: What is wrong with the choice.
    """

    kind: Archive
    datasets: list[tuple[Dataset, Estimate]]
    chosen: list[str]
    formats: dict[str, str]
    chosen_formats: list[str]
    since: str
    until: str
    viewer: bool
    complaint: str | None

    @property
    def total(self) -> Estimate:
        """All there is."""
        every = [found for _, found in self.datasets]
        return Estimate(sum(one.rows for one in every), sum(one.bytes for one in every))


def chooser(call: Call, complaint: str | None) -> Chooser | None:
    """The form as it stands: as it was sent if that was refused, else with everything ticked."""
    if not any(isinstance(kind, Archive) for kind in export_kinds()):
        return None
    kind = archive_kind()
    sent, form = "choice" in call.form, call.form
    return Chooser(
        kind,
        datasets.estimates(call, kind.datasets),
        call.ticked("datasets") if sent else [one.name for one in kind.datasets],
        {name: NAMES[name] for name in FORMATS},
        call.ticked("formats") if sent else ["json"],
        form.get("from", ""),
        form.get("to", ""),
        viewer="viewer" in form or not sent,
        complaint=complaint,
    )


def params(call: Call, kind: Export) -> dict[str, Any]:
    """The parameters of an export as a form gives them: a choice, or a button for everything.

    Raises:
        Invalid: The choice is none.
    """
    if not isinstance(kind, Archive) or "choice" not in call.form:
        return actions.stored_params(kind, {})
    given: dict[str, Any] = {
        "datasets": call.ticked("datasets"),
        "formats": call.ticked("formats"),
        "viewer": "viewer" in call.form,
    }
    # A day is one in UTC, as all times on the pages are; the last one is part of the period.
    for name, days in (("from", 0), ("to", 1)):
        if text := call.form.get(name, "").strip():
            given[name] = _midnight(text, days)
    return actions.stored_params(kind, given)


def _midnight(text: str, days: int) -> str:
    """The beginning of a day, so many days later; what is no day stays as it is."""
    try:
        first = datetime.combine(date.fromisoformat(text), time(), UTC)
        return format_time(first + timedelta(days=days))
    except (ValueError, OverflowError):
        return text


def complaint(error: Invalid, language: Language) -> str:
    """Say in the user's language what is wrong with a choice."""
    wrong = {fault.pointer for fault in error.faults}
    told = {
        "/datasets": language.gettext("Choose at least one kind of data."),
        "/formats": language.gettext("Choose at least one format."),
        "/from": language.gettext("Enter days such as 2026-01-31."),
        "/to": language.gettext(
            "Enter days such as 2026-01-31, the last one not before the first."
        ),
    }
    unfit = language.gettext("One of these formats isn't available for the data you chose.")
    return " ".join([text for at, text in told.items() if at in wrong]) or unfit
