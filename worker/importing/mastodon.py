"""Activities of an outbox: those of Mastodon and of servers that write like it.

An item is an ActivityStreams 2.0 activity. `Create` of something that its author has written is a
post; `Announce` is a boost, somebody else's words. Mastodon's archive also holds what was written
for followers or for single people; we take in only what everybody could read: what is addressed to
`Public`, either in `to` (public) or in `cc` (unlisted, which is public and only left out of lists).
"""

from typing import Any

from chalicelib.imports.reasons import Reason
from worker.importing.html_text import text_of
from worker.importing.json_values import json_object
from worker.importing.reading import Bad, Other, Post, check_body
from worker.importing.times import time_of

_PUBLIC = frozenset({"https://www.w3.org/ns/activitystreams#Public", "as:Public", "Public"})
"""ActivityPub, section 5.6: three spellings of one name."""

_WRITTEN = frozenset({"Note", "Article", "Question", "Page"})
"""What people write; a video or an event is more than its text."""

_PLAIN = frozenset({"text/plain"})


def post(text: bytes) -> Post | Other:
    """The post of an activity.

    Raises:
        Bad: It is one's own and public, and cannot be taken in.
    """
    activity = json_object(text)
    written = activity.get("object")
    if activity.get("type") != "Create" or not isinstance(written, dict):
        return Other.SKIPPED
    if written.get("type") not in _WRITTEN or not _is_own(activity, written):
        return Other.SKIPPED
    if not _is_public(activity, written):
        return Other.SKIPPED
    return check_body(_body(written)), time_of(
        written.get("published") or activity.get("published")
    )


def _is_own(activity: dict[str, Any], written: dict[str, Any]) -> bool:
    actor, author = _author(activity.get("actor")), _author(written.get("attributedTo"))
    return actor is None or author is None or actor == author


def _author(value: Any) -> str | None:
    return _id(value[0]) if isinstance(value, list) and value else _id(value)


def _id(value: Any) -> str | None:
    found = value.get("id") if isinstance(value, dict) else value
    return found if isinstance(found, str) else None


def _is_public(activity: dict[str, Any], written: dict[str, Any]) -> bool:
    """By what was written, or by the activity when that is addressed to nobody."""
    audience = _audience(written) or _audience(activity)
    return not _PUBLIC.isdisjoint(audience)


def _audience(value: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for name in ("to", "cc"):
        addressed = value.get(name)
        listed = addressed if isinstance(addressed, list) else [addressed]
        found += [one for one in map(_id, listed) if one is not None]
    return found


def _body(written: dict[str, Any]) -> object:
    """The text: a title or a content warning, what was written, and the choices of a poll."""
    source = written.get("source")
    if isinstance(source, dict) and source.get("mediaType") in _PLAIN:
        return source.get("content")
    content = written.get("content")
    if content is None:
        content = next(iter(_languages(written)), None)
    if content is None:
        raise Bad(Reason.BODY_MISSING)
    if not isinstance(content, str):
        raise Bad(Reason.BODY_NOT_TEXT)
    before = [written.get("name"), written.get("summary")]
    parts = [_text(one) for one in before] + [text_of(content), _choices(written)]
    return "\n\n".join(part for part in parts if part)


def _languages(written: dict[str, Any]) -> list[Any]:
    found = written.get("contentMap")
    return [*found.values()] if isinstance(found, dict) else []


def _text(value: Any) -> str:
    return text_of(value) if isinstance(value, str) else ""


def _choices(written: dict[str, Any]) -> str:
    found = written.get("oneOf") or written.get("anyOf")
    choices = found if isinstance(found, list) else []
    names = [one.get("name") for one in choices if isinstance(one, dict)]
    return "\n".join(f"- {name}" for name in names if isinstance(name, str))
