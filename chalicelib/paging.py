"""Pages of a list, and the cursors between them."""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chalicelib.errors import Fault, Invalid
from chalicelib.fields import format_time, parse_time

DEFAULT_LIMIT = 20
MAX_LIMIT = 100


@dataclass(frozen=True)
class Page:
    """Where a page of a list begins and how long it is.

    Attributes:
        limit: How many items at most.
        before: Time and id of the last item of the page before; None on the first page.
    """

    limit: int = DEFAULT_LIMIT
    before: tuple[datetime, Any] | None = None


def cursor(timestamp: datetime, item_id: object) -> str:
    """Name the place after an item, for the client to hand back."""
    raw = f"{format_time(timestamp)} {item_id}"
    return base64.urlsafe_b64encode(raw.encode()).decode().rstrip("=")


def parse_cursor(text: str) -> tuple[datetime, str]:
    """Take a cursor apart.

    Raises:
        Invalid: It is none of ours.
    """
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        timestamp, _, item_id = raw.decode().partition(" ")
        return parse_time(timestamp), item_id
    except (ValueError, binascii.Error) as error:
        fault = Fault("?cursor", "is not a cursor from an earlier answer's `next`")
        raise Invalid(fault) from error
