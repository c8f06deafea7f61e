"""Cross-origin calls (CORS, the Fetch standard): scripts of allowed origins, with bearer tokens.

No response ever allows credentials, so a browser sends no cookies for a script of another origin,
and shows it nothing that it got with one.
"""

from collections.abc import Sequence

from chalice.app import Request, Response

from chalicelib.errors import MethodNotAllowed

REQUEST_HEADERS = "Authorization, Content-Type, Idempotency-Key, If-None-Match"
RESPONSE_HEADERS = "ETag, Link, Location, Retry-After, X-Request-Id"
MAX_AGE_S = 600
"""How long a browser may remember a preflight."""


def preflight(methods: Sequence[str], *, allowed: Sequence[str]) -> Response:
    """Answer a browser that asks what scripts may send here; `allow` names the origin.

    Raises:
        MethodNotAllowed: No origin is allowed at all.
    """
    if not allowed:
        raise MethodNotAllowed(methods)
    headers = {
        "Access-Control-Allow-Methods": ", ".join(sorted(methods)),
        "Access-Control-Allow-Headers": REQUEST_HEADERS,
        "Access-Control-Max-Age": str(MAX_AGE_S),
        "Cache-Control": "no-store",
    }
    return Response("", headers, 204)


def allow(response: Response, request: Request, *, allowed: Sequence[str]) -> None:
    """Let the script that sent the request read the response, if its origin is allowed."""
    if not allowed:
        return
    response.headers["Vary"] = "Origin"
    if (origin := request.headers.get("origin")) in allowed:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = RESPONSE_HEADERS
