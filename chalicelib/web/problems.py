"""Errors as `application/problem+json` (RFC 9457)."""

import json
from dataclasses import dataclass
from http import HTTPStatus

from chalicelib import errors

STATUS: dict[type[errors.RequestError], HTTPStatus] = {
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.MethodNotAllowed: HTTPStatus.METHOD_NOT_ALLOWED,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.ExportGone: HTTPStatus.GONE,
    errors.BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnsupportedMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TooMany: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The one table from errors to statuses; an error that is not in it answers as its base does."""

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer before anybody's framework."""

    status: int
    headers: dict[str, str]
    body: str


def status_of(error: errors.CarryoutError | type[errors.CarryoutError]) -> HTTPStatus:
    """The status of an error: its own, else its nearest base's, else 500."""
    for kind in (error if isinstance(error, type) else type(error)).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return HTTPStatus.INTERNAL_SERVER_ERROR


def describe(kind: type[errors.CarryoutError]) -> dict[str, object]:
    """The problem document of an error that says nothing about its own case.

    What is no `RequestError` is our fault, and nobody else's business.
    """
    known = issubclass(kind, errors.RequestError)
    status = status_of(kind)
    code = kind.code if known else errors.CarryoutError.code
    detail = (kind.__doc__ or "").strip().splitlines()[0]
    return {
        "type": f"urn:carryout:problem:{code}",
        "title": status.phrase,
        "status": int(status),
        "detail": detail if known else "Something went wrong on our side.",
        "code": code,
    }


def render(error: errors.CarryoutError, *, prefix: str = "") -> Answer:
    """Make the problem document of an error.

    Args:
        error: Any error of ours; what is no `RequestError` answers 500 and says nothing more.
        prefix: The path under which the API stands, such as `/api` on an API Gateway stage.

    Returns:
        An answer whose `Location`, where it has one, carries the prefix.
    """
    status = status_of(error)
    document = describe(type(error))
    if isinstance(error, errors.RequestError):
        document["detail"] = error.detail
    if isinstance(error, errors.Invalid) and error.faults:
        document["errors"] = [
            {"pointer": fault.pointer, "detail": fault.detail} for fault in error.faults
        ]
    headers = {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store"}
    headers |= error.headers if isinstance(error, errors.RequestError) else {}
    if "Location" in headers:
        headers["Location"] = prefix + headers["Location"]
    return Answer(int(status), headers, json.dumps(document, ensure_ascii=False))
