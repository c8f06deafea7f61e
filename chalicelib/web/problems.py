"""Errors as `application/problem+json` (RFC 9457)."""

import json
from dataclasses import dataclass
from http import HTTPStatus

from chalicelib import errors

STATUS: dict[type[errors.CarryoutError], tuple[int, str]] = {
    errors.CarryoutError: (500, "Internal Server Error"),
    errors.RequestError: (400, "Bad Request"),
    errors.Unauthenticated: (401, "Unauthorized"),
    errors.Forbidden: (403, "Forbidden"),
    errors.NotFound: (404, "Not Found"),
    errors.MethodNotAllowed: (405, "Method Not Allowed"),
    errors.Conflict: (409, "Conflict"),
    errors.ExportGone: (410, "Gone"),
    errors.ImportGone: (410, "Gone"),
    errors.ReportGone: (410, "Gone"),
    errors.BodyTooLarge: (413, "Content Too Large"),
    errors.UploadTooLarge: (413, "Content Too Large"),
    errors.UnsupportedMediaType: (415, "Unsupported Media Type"),
    errors.Invalid: (422, "Unprocessable Content"),
    errors.TooMany: (429, "Too Many Requests"),
    errors.Unavailable: (503, "Service Unavailable"),
}
"""The one table from errors to statuses; an error that is not in it has its base's.

The titles are those of RFC 9110, section 15, and RFC 6585: `http.HTTPStatus` names 413 and 422
otherwise before Python 3.13.
"""

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class ProblemResponse:
    """An HTTP response, for whatever server or framework sends it."""

    status: int
    headers: dict[str, str]
    body: str


def status_of(error: errors.CarryoutError | type[errors.CarryoutError]) -> int:
    """The status of an error: its own, else its nearest base's."""
    kinds = (error if isinstance(error, type) else type(error)).__mro__
    return next(STATUS[kind][0] for kind in kinds if kind in STATUS)


def title_of(status: int) -> str:
    """What a status is called, in a problem document and behind it in HTTP's first line."""
    ours = dict(STATUS.values())
    return ours[status] if status in ours else HTTPStatus(status).phrase


def describe(kind: type[errors.CarryoutError]) -> dict[str, object]:
    """The problem document of a kind of error, with the general sentence.

    Other errors than `RequestError` are our fault, and their reasons stay in the log.
    """
    known = issubclass(kind, errors.RequestError)
    status = status_of(kind)
    code = kind.code if known else errors.CarryoutError.code
    detail = (kind.__doc__ or "").strip().splitlines()[0]
    return {
        "type": f"urn:carryout:problem:{code}",
        "title": title_of(status),
        "status": status,
        "detail": detail if known else "Something went wrong on our side.",
        "code": code,
    }


def render(error: errors.CarryoutError, *, prefix: str = "") -> ProblemResponse:
    """Make the problem document of an error.

    Args:
        error: Any error of ours; all but `RequestError` become a 500 without details.
        prefix: The API's path prefix, such as `/api` on an API Gateway stage.

    Returns:
        A response whose `Location`, if it has one, starts with the prefix.
    """
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
    return ProblemResponse(status_of(error), headers, json.dumps(document, ensure_ascii=False))
