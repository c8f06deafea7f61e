"""Times as other programs write them."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from chalicelib.imports.reasons import Reason
from worker.importing.reading import Bad

# RFC 3339 (a space may stand for the T), with the seconds left out or of any precision, and an
# offset with or without a colon or a space before it. X's archives of 2012 wrote the latter.
_ISO = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2})(:[0-9]{2})?(?:[.,]([0-9]{1,12}))?"
    r" ?(?:[Zz]|UTC|([+-](?:[01][0-9]|2[0-3])):?([0-5][0-9]))"
)
# `Wed Oct 10 20:19:24 +0000 2018`, which X has written since.
_X = re.compile(
    r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) ([0-9]{1,2}) ([0-9]{2}:[0-9]{2}:[0-9]{2}) ([+-][0-9]{4})"
    r" ([0-9]{4})"
)
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_LONGEST = 64


def parse_any_time(text: object) -> datetime:
    """Read a time that names its zone, in any notation that the formats we import use.

    A fraction of a second beyond microseconds is cut. A leap second is the second after it.

    Returns:
        Aware, in UTC.

    Raises:
        ValueError: The value is no such time.
    """
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise ValueError("expected a time")
    text = text.strip()
    try:
        if found := _ISO.fullmatch(text):
            return _iso(found)
        if found := _X.fullmatch(text):
            return _x(found)
        return _internet(text)
    except (ValueError, OverflowError, IndexError, TypeError):
        raise ValueError("expected a time") from None


def time_of(written: object) -> datetime:
    """The time of an entry.

    Args:
        written: What the entry has in its place; None if it has nothing.

    Raises:
        Bad: It is missing, or no time.
    """
    if written is None:
        raise Bad(Reason.TIME_MISSING)
    try:
        return parse_any_time(written)
    except ValueError:
        raise Bad(Reason.TIME_INVALID) from None


def _iso(found: re.Match[str]) -> datetime:
    date, minute, second, fraction, hours, minutes = found.groups()
    second = second or ":00"
    leap = timedelta(seconds=1) if second == ":60" else timedelta(0)
    moment = datetime.fromisoformat(f"{date}T{minute}{':59' if leap else second}+00:00")
    moment += leap or timedelta(microseconds=int((fraction or "").ljust(6, "0")[:6]))
    if hours is None:
        return moment
    offset = timedelta(hours=int(hours[1:]), minutes=int(minutes))
    return moment - offset if hours[0] == "+" else moment + offset


def _x(found: re.Match[str]) -> datetime:
    month, day, clock, offset, year = found.groups()
    number = _MONTHS.index(month) + 1
    iso = f"{year}-{number:02}-{int(day):02}T{clock}{offset[:3]}:{offset[3:]}"
    return datetime.fromisoformat(iso).astimezone(UTC)


def _internet(text: str) -> datetime:
    """RFC 5322, as feeds have it."""
    moment = parsedate_to_datetime(text)
    if moment.tzinfo is None:
        raise ValueError("without a zone")
    return moment.astimezone(UTC)
