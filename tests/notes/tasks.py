"""The kinds of task of this application."""

from chalicelib.exports.kinds import Export
from chalicelib.values.languages import N_
from tests.notes.datasets import NOTES

EXPORT_NOTES = Export(
    name="export_notes",
    title=N_("Exporting your notes"),
    filename="notes.json",
    datasets=(NOTES,),
)
