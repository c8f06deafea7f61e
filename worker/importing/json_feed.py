"""Items of a JSON Feed (https://www.jsonfeed.org/version/1.1/)."""

from typing import Any

from chalicelib.imports.reasons import Reason
from worker.importing.html_text import text_of
from worker.importing.json_values import json_object
from worker.importing.reading import Bad, Post, check_body
from worker.importing.times import time_of


def post(text: bytes) -> Post:
    """The post of an item: its title, if any, and its text.

    Raises:
        Bad: It cannot be taken in.
    """
    item = json_object(text)
    return check_body(_body(item)), time_of(item.get("date_published") or item.get("date_modified"))


def _body(item: dict[str, Any]) -> str:
    plain, marked_up, title = (item.get(n) for n in ("content_text", "content_html", "title"))
    if plain is None and marked_up is None:
        raise Bad(Reason.BODY_MISSING)
    if not isinstance(plain, str | None) or not isinstance(marked_up, str | None):
        raise Bad(Reason.BODY_NOT_TEXT)
    content = plain if plain is not None else text_of(marked_up or "")
    parts = [title if isinstance(title, str) else "", content]
    return "\n\n".join(part for part in parts if part)
