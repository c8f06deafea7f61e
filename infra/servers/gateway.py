"""A Chalice app as a WSGI application, called the way API Gateway and Lambda call it.

`chalice local` differs from API Gateway where it hurts: it does not decode path parameters, has no
size limit and answers unknown paths outside the app. Here a request becomes a complete REST (v1)
proxy event, and the response goes back as a gateway would send it:
https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
"""

import base64
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, quote, unquote_to_bytes, urlsplit

from chalice.local import LambdaContext

from chalicelib.errors import BodyTooLarge, MethodNotAllowed, NotFound, RequestError
from chalicelib.web import problems
from chalicelib.web.holding import Hold

MAX_BODY_BYTES = 10 * 1024 * 1024
"""The payload quota of API Gateway."""

TIME_LIMIT_MS = 29_000
"""The integration time limit of API Gateway, which the context counts down from."""

HOLD = "carryout.hold"
"""Where a server that can answer later puts a request's `Hold`."""

BODILESS = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
"""RFC 9110, sections 15.3.5 and 15.4.5: these never carry a body."""

Environ = Mapping[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]


@dataclass(frozen=True)
class _Match:
    """A path that the app routes: the route's pattern and the values of its parameters."""

    resource: str
    path: str
    parameters: dict[str, str]


@dataclass(frozen=True)
class _Response:
    """A response on its way out; headers may repeat."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Held(BaseException):
    """The request is answered later; it is no error, and nothing between may take it for one."""


class Gateway:
    """WSGI application that serves a Chalice app.

    Args:
        app: The Chalice app with all its routes; called as `app(event, context)` from as many
            threads as the server has.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        # Sorted, a literal segment comes before a `{name}` at the same position.
        self._routes = [(route.split("/"), route) for route in sorted(app.routes)]

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request (PEP 3333).

        Raises:
            Held: The answer is held back; where the server offers a `Hold`, as `HOLD` in `environ`.
        """
        hold: Hold | None = environ.get(HOLD)
        if hold is not None and hold.is_over:
            response, request_id = hold.answer, hold.request_id
            hold.note(hold.duration_s)
        else:
            request_id = str(uuid.uuid4()) if hold is None else hold.request_id
            response = self._respond(environ, request_id)
        if hold is not None and hold.is_asked:
            hold.answer = response
            raise Held
        bodiless = response.status in BODILESS
        headers = _headers_out(response, bodiless=bodiless)
        if not any(name.lower() == "x-request-id" for name, _ in headers):
            headers.append(("X-Request-Id", request_id))
        start_response(_status_line(response.status), headers)
        return [] if bodiless or environ["REQUEST_METHOD"] == "HEAD" else [response.body]

    def _respond(self, environ: Environ, request_id: str) -> _Response:
        try:
            return self._invoke(environ, request_id)
        except RequestError as error:
            return _refusal(error)

    def _invoke(self, environ: Environ, request_id: str) -> _Response:
        if environ["REQUEST_METHOD"] == "HEAD":
            # As GET, for the length of the body that HEAD leaves out (RFC 9110, section 9.3.2).
            environ = {**environ, "REQUEST_METHOD": "GET"}
        try:
            match = self._match(_raw_path(environ))
        except NotFound as error:
            if not hasattr(self._app, "refuse"):  # a Chalice app that is not this project's
                raise
            nowhere = _Match("/", _raw_path(environ), {})
            event = make_event(environ, match=nowhere, body=b"", request_id=request_id)
            return _from_lambda(self._app.refuse(event, error))
        methods = self._app.routes[match.resource]
        if environ["REQUEST_METHOD"] not in methods:
            # OPTIONS is for preflights of allowed origins alone, and lists itself to those.
            raise MethodNotAllowed([method for method in methods if method != "OPTIONS"])
        event = make_event(environ, match=match, body=_read_body(environ), request_id=request_id)
        context = LambdaContext(self._app.app_name, memory_size=1024, max_runtime_ms=TIME_LIMIT_MS)
        return _from_lambda(self._app(event, context))

    def _match(self, raw_path: str) -> _Match:
        segments = [_decode(segment) for segment in raw_path.split("/")]
        if len(segments) > 2 and not segments[-1]:  # noqa: PLR2004 - "/" itself is two
            segments.pop()  # API Gateway ignores one slash at the end
        for pattern, route in self._routes:
            parameters = _capture(pattern, segments)
            if parameters is not None:
                return _Match(route, "/".join(segments), parameters)
        raise NotFound


def make_event(environ: Environ, *, match: _Match, body: bytes, request_id: str) -> dict[str, Any]:
    """Make the REST (v1) proxy event of a request.

    A WSGI server has joined repeated headers with commas, which means the same (RFC 9110, section
    5.3); `multiValueHeaders` has them so, too.
    """
    headers = _headers_in(environ)
    query = parse_qs(
        environ.get("QUERY_STRING", "").encode("latin-1").decode("utf-8", "replace"),
        keep_blank_values=True,
    )
    return {
        "resource": match.resource,
        "path": match.path,
        "httpMethod": environ["REQUEST_METHOD"],
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": match.parameters or None,
        "stageVariables": None,
        "requestContext": _request_context(environ, match=match, request_id=request_id),
        **_body_in(body),
    }


def _request_context(environ: Environ, *, match: _Match, request_id: str) -> dict[str, Any]:
    return {
        "resourcePath": match.resource,
        "httpMethod": environ["REQUEST_METHOD"],
        "path": match.path,
        "stage": "local",
        "requestId": request_id,
        "requestTimeEpoch": time.time_ns() // 1_000_000,
        "protocol": environ.get("SERVER_PROTOCOL", "HTTP/1.1"),
        "domainName": environ.get("HTTP_HOST", ""),
        "identity": {
            "sourceIp": environ.get("REMOTE_ADDR", ""),
            "userAgent": environ.get("HTTP_USER_AGENT"),
        },
        "hold": environ.get(HOLD),
    }


def _raw_path(environ: Environ) -> str:
    """The path as it was sent: decoded, `%2F` could not be told from a separator."""
    uri: str = environ.get("REQUEST_URI") or quote(environ["PATH_INFO"], encoding="latin-1")
    if not uri.startswith("/"):  # the absolute form, RFC 9112, section 3.2.2
        uri = urlsplit(uri).path
    return "/" + uri.partition("?")[0].partition("#")[0].lstrip("/")


def _decode(segment: str) -> str:
    try:
        return unquote_to_bytes(segment.encode("latin-1")).decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotFound from error


def _capture(pattern: list[str], segments: list[str]) -> dict[str, str] | None:
    """The values of a route's parameters in a path, or None when the path is not of that route."""
    if len(pattern) != len(segments):
        return None
    captured = {}
    for expected, segment in zip(pattern, segments, strict=True):
        if expected.startswith("{") and segment:
            captured[expected.strip("{}")] = segment
        elif expected != segment:
            return None
    return captured


def _read_body(environ: Environ) -> bytes:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > MAX_BODY_BYTES:
        raise BodyTooLarge
    body: bytes = environ["wsgi.input"].read(length)
    return body


def _body_in(body: bytes) -> dict[str, Any]:
    try:
        return {"body": body.decode("utf-8") or None, "isBase64Encoded": False}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(body).decode("ascii"), "isBase64Encoded": True}


def _headers_in(environ: Environ) -> dict[str, str]:
    names = {key: key[5:] for key in environ if key.startswith("HTTP_")}
    names |= {key: key for key in ("CONTENT_TYPE", "CONTENT_LENGTH") if environ.get(key)}
    return {name.replace("_", "-").title(): environ[key] for key, name in names.items()}


def _from_lambda(result: Mapping[str, Any]) -> _Response:
    headers = [(name, str(value)) for name, value in (result.get("headers") or {}).items()]
    for name, values in (result.get("multiValueHeaders") or {}).items():
        headers += [(name, str(value)) for value in values]
    body: str | bytes = result.get("body") or ""
    if isinstance(body, str):
        body = base64.b64decode(body) if result.get("isBase64Encoded") else body.encode("utf-8")
    return _Response(int(result["statusCode"]), headers, body)


def _refusal(error: RequestError) -> _Response:
    response = problems.render(error)
    return _Response(response.status, list(response.headers.items()), response.body.encode("utf-8"))


def _headers_out(response: _Response, *, bodiless: bool) -> list[tuple[str, str]]:
    about_body = {"content-length", "content-type"} if bodiless else {"content-length"}
    headers = [(name, value) for name, value in response.headers if name.lower() not in about_body]
    if not bodiless:
        headers.append(("Content-Length", str(len(response.body))))
        if not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("Content-Type", "application/json"))  # API Gateway's own default
    return headers


def _status_line(status: int) -> str:
    try:
        return f"{status} {problems.title_of(status)}"
    except ValueError:
        return f"{status} Unknown"
