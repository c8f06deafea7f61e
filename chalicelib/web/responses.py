"""Parts of responses: JSON that must not be cached, empty bodies, ETags."""

import re
from collections.abc import Mapping, Sequence

import msgspec
from chalice.app import Response


def json_response(
    shown: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON response that must not be cached."""
    body = msgspec.json.encode(shown).decode()
    common = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return Response(body, {**common, **(headers or {})}, status)


def accepted() -> Response:
    """202 without a body."""
    return Response("", {"Cache-Control": "no-store"}, 202)


def no_content() -> Response:
    """204; the body is an empty string, since `chalice local` would send `null` for None."""
    return Response("", {"Cache-Control": "no-store"}, 204)


def matches(etag: str, header: str | None) -> bool:
    """Whether an `If-None-Match` header names an ETag (RFC 9110, section 13.1.2)."""
    if header is None:
        return False
    names: Sequence[str] = re.findall(r'(?:W/)?("[^"]*")', header)
    return header.strip() == "*" or etag in names
