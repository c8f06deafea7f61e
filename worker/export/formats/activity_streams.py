"""ActivityStreams 2.0: an outbox and its actor, in the form of Mastodon's archive.

Each row is a `Note` that its `Create` activity carries. Its `content` is HTML, as servers expect
it: the text escaped, its blank lines as paragraphs, its other line breaks as `<br>`. What the user
typed stands in `source` (ActivityPub, section 3.3), so that nothing is lost on the way back.
"""

from dataclasses import dataclass, replace
from functools import cache
from html import escape
from typing import Any

import orjson

from chalicelib.exports.datasets import Activity, Dataset
from worker.export.archive.members import Member, Whole
from worker.export.document import BEFORE
from worker.export.statements import BETWEEN

CONTEXT = "https://www.w3.org/ns/activitystreams"
PUBLIC = f"{CONTEXT}#Public"
MEDIA_TYPE = "application/activity+json"
OUTBOX = "outbox.json"


@dataclass(frozen=True)
class Outbox:
    """A dataset's rows as activities; its source is one of `noted(dataset)`.

    Attributes:
        name: The dataset's.
        actor: The address of the user's page.
    """

    name: str
    actor: str
    media_type: str = MEDIA_TYPE

    @property
    def path(self) -> str:
        """Where it is in the archive."""
        return f"activitypub/{OUTBOX}"

    def head(self) -> bytes:
        """The collection, up to its items."""
        facts = {"@context": CONTEXT, "id": OUTBOX, "type": "OrderedCollection"}
        return orjson.dumps(facts)[:-1] + b',"orderedItems":['

    def rows(self, lines: bytes, written: int) -> bytes:
        """The activities of a page."""
        read = orjson.loads(b"[" + lines + b"]")
        items = BETWEEN.join(orjson.dumps(self._created(row)) for row in read)
        return (BETWEEN if written else BEFORE) + items

    def tail(self, count: int) -> bytes:
        """The rest of the collection."""
        return b'\n],"totalItems":%d}\n' % count

    def _created(self, row: dict[str, Any]) -> dict[str, Any]:
        address = f"{self.actor}#{self.name}/{row['number']}"
        shared = {"published": row["published"], "to": [PUBLIC]}
        note = {
            "id": address,
            "type": "Note",
            "attributedTo": self.actor,
            **shared,
            "content": html(row["content"]),
            "source": {"content": row["content"], "mediaType": "text/plain"},
        }
        created = {"id": f"{address}/create", "type": "Create", "actor": self.actor}
        return {**created, **shared, "object": note}


def actor_member(actor: str, username: str) -> Whole:
    """Who the activities are of."""
    facts = {
        "@context": CONTEXT,
        "id": actor,
        "type": "Person",
        "preferredUsername": username,
        "name": username,
        "url": actor,
        "outbox": OUTBOX,
    }
    data = orjson.dumps(facts, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return Whole(Member("activitypub/actor.json", MEDIA_TYPE), data)


@cache
def noted(dataset: Dataset) -> Dataset:
    """A dataset of the same rows with what an activity tells of each.

    Raises:
        ValueError: Its rows are not told as activities.
    """
    activity: Activity | None = dataset.activity
    if activity is None:
        raise ValueError(f"{dataset.name} declares no activity")
    fields = {
        "number": activity.number,
        "content": dataset.fields[activity.content],
        "published": dataset.fields[activity.published],
    }
    return replace(dataset, fields=fields, accepts={}, activity=None)


def html(text: str) -> str:
    """Plain text as HTML that gives the same text back."""
    # A browser takes a raw carriage return for a line break.
    escaped = escape(text, quote=False).replace("\r", "&#13;")
    paragraphs = (one.replace("\n", "<br>") for one in escaped.split("\n\n"))
    return "".join(f"<p>{one}</p>" for one in paragraphs)
