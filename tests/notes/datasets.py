"""What of this application is exported."""

from chalicelib.exports.datasets import Dataset
from chalicelib.values.languages import N_
from tests.notes.models import Note

NOTES = Dataset(
    "notes",
    title=N_("Notes"),
    owner=Note.user_id,
    key=(Note.id,),
    snapshot=Note.created_at,
    fields={
        "id": Note.id,
        "text": Note.text,
        "price": Note.price,
        "is_done": Note.is_done,
        "tags": Note.tags,
        "day": Note.day,
        "created_at": Note.created_at,
    },
)
