"""README.txt: what is in the archive, in the language of its user."""

from collections.abc import Sequence
from datetime import datetime

from chalicelib.exports.archive import Choice
from chalicelib.values.languages import Language
from worker.export.archive.archive import MANIFEST, About
from worker.export.archive.members import Member, RowsOf, Section, Whole

README = Member("README.txt", "text/plain")
INDEX = "index.html"


def readme(about: About, choice: Choice, sections: Sequence[Section], language: Language) -> Whole:
    """Write it.

    Args:
        about: What the manifest says.
        choice: What was asked for.
        sections: What else the archive is made of.
        language: In which language.
    """
    gettext = language.gettext
    lines = [
        gettext("All data of %(username)s from Carryout") % {"username": about.username},
        "",
        gettext("Exported: %(time)s") % {"time": language.time(about.exported_at)},
        *_period(choice, language),
        "",
        gettext("What is in this archive:"),
        "",
    ]
    titles = {dataset.name: gettext(dataset.title) for dataset in choice.datasets}
    lines += [f"{path:<32}  {text}" for path, text in _files(sections, titles, language)]
    lines += ["", *_notes(choice, language)]
    return Whole(README, "".join(f"{line}\n" for line in lines).encode())


def _period(choice: Choice, language: Language) -> list[str]:
    def shown(label: str, time: datetime | None) -> list[str]:
        return [label % {"time": language.time(time)}] if time else []

    return [
        *shown(language.gettext("From: %(time)s"), choice.since),
        *shown(language.gettext("Before: %(time)s"), choice.until),
    ]


def _files(
    sections: Sequence[Section], titles: dict[str, str], language: Language
) -> list[tuple[str, str]]:
    """The files that people may look for, and what each holds."""
    gettext = language.gettext
    files = [
        (one.format.path, titles[one.source.dataset.name])
        for one in sections
        if isinstance(one, RowsOf)
    ]
    wholes = {one.member.path for one in sections if isinstance(one, Whole)}
    if INDEX in wholes:
        files.append(
            (INDEX, gettext("Open this in a browser to look at everything, even offline."))
        )
    files.append((MANIFEST.path, gettext("A list of all files with their SHA-256 checksums.")))
    return files


def _notes(choice: Choice, language: Language) -> list[str]:
    """What to know about the formats."""
    gettext, told = language.gettext, []
    if {"json", "ndjson"} & {*choice.formats}:
        told.append(("data/", gettext("JSON, for programs and for importing into Carryout.")))
    if "csv" in choice.formats:
        told.append(
            (
                "spreadsheets/",
                gettext(
                    "Tables for a spreadsheet. A cell that it would take for a formula begins with"
                    " an apostrophe."
                ),
            )
        )
    if "activitystreams" in choice.formats:
        told.append(("activitypub/", gettext("ActivityStreams 2.0, as Mastodon writes it.")))
    return [f"{folder:<32}  {text}" for folder, text in told]
