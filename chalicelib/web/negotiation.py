"""Whether a client wants a page or JSON: the `Accept` header (RFC 9110, section 12.5.1)."""

import re

_WEIGHT = re.compile(r";\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*(?:;|$)", re.IGNORECASE)

JSON = ("application/problem+json", "application/json")


def prefers_html(accept: str | None, *, otherwise: bool) -> bool:
    """Whether a client wants a page more than JSON.

    Args:
        accept: The header; a client without one accepts everything equally.
        otherwise: What to return for clients that accept both equally, as `*/*` does.
    """
    html = _quality(accept or "*/*", "text/html")
    json = max(_quality(accept or "*/*", one) for one in JSON)
    if html[0] == 0:
        return False
    return otherwise if html == json else html > json


def _quality(accept: str, media_type: str) -> tuple[float, int]:
    """How much a client wants a media type, and how precisely it names it; 0 is not at all."""
    ranges = ["*/*", f"{media_type.partition('/')[0]}/*", media_type]
    precision, weight = -1, 0.0
    for part in accept.split(","):
        name = part.partition(";")[0].strip().lower()
        if name in ranges:
            given = _WEIGHT.search(part)
            found = (ranges.index(name), float(given[1]) if given else 1.0)
            precision, weight = max((precision, weight), found)
    return weight, precision
