"""The frame that routes are hung into: authentication, parsing, answers, problems.

A view gets a `Call` and returns what is to be shown; everything that all views share is here.
"""

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from http.cookies import CookieError, SimpleCookie
from typing import Any, Literal, TypeVar, cast
from urllib.parse import urlsplit

import msgspec
import sqlalchemy as sa
from chalice.app import Chalice, Request, Response

from chalicelib import accounts
from chalicelib.errors import (
    CarryoutError,
    Fault,
    Forbidden,
    Invalid,
    MalformedJson,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
)
from chalicelib.fields import check
from chalicelib.models import User
from chalicelib.web import problems
from chalicelib.web.bodies import Nothing
from chalicelib.wiring import Wiring

log = logging.getLogger(__name__)

COOKIE = "carryout_session"
LOOK_INTERVAL_S = 0.5
"""How often a held answer looks for news."""

Who = Literal["anybody", "user", "administrator"]
T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)


@dataclass(frozen=True)
class Endpoint:
    """A route of the API, for Chalice, for the OpenAPI document and for tests.

    Attributes:
        method: The HTTP method.
        path: The path, parameters in braces.
        who: Who may call it.
        body: The model of the JSON body, or None when it takes none.
        query: The model of the query parameters.
        status: What a success answers.
        summary: What it does, in a line.
    """

    method: str
    path: str
    who: Who
    body: type[msgspec.Struct] | None
    query: type[msgspec.Struct]
    status: int
    summary: str


class Call:
    """One request, as a view sees it.

    Attributes:
        wiring: The clients and settings.
        now: The time, the same throughout the request.
        prefix: The path under which the API stands: `/api` on a stage, empty locally.
    """

    def __init__(self, request: Request, wiring: Wiring) -> None:
        self.request = request
        self.wiring = wiring
        self.now = wiring.now()
        self.prefix = _prefix(request)

    @cached_property
    def user(self) -> User:
        """Who calls.

        Raises:
            Unauthenticated: Nobody whom we know.
        """
        if self.token is None:
            raise Unauthenticated
        with self.wiring.database.read() as session:
            return accounts.authenticate(session, self.token, now=self.now)

    @cached_property
    def token(self) -> str | None:
        """The bearer token, else the page's session cookie, else None."""
        header = self.request.headers.get("authorization")
        if header is not None:
            scheme, _, token = header.partition(" ")
            return token.strip() if scheme.lower() == "bearer" else None
        return self.cookie

    @cached_property
    def cookie(self) -> str | None:
        """The page's session, unless another site's page sent it along."""
        try:
            cookies = SimpleCookie(self.request.headers.get("cookie", ""))
        except CookieError:
            return None
        if COOKIE not in cookies:
            return None
        if self.request.method != "GET":
            _refuse_cross_site(self.request)
        return cookies[COOKIE].value

    def body(self, model: type[S]) -> S:
        """The JSON body as a model.

        Raises:
            UnsupportedMediaType: It is something else than JSON.
            MalformedJson: It is no JSON object in UTF-8.
            Invalid: A field is missing, unknown or bad.
        """
        raw = self.request.raw_body or b""
        media_type = self.request.headers.get("content-type", "application/json")
        if raw and media_type.partition(";")[0].strip().lower() != "application/json":
            raise UnsupportedMediaType
        return check(_json_object(bytes(raw)), model)

    def query(self, model: type[S]) -> S:
        """The query parameters as a model; unknown ones are ignored, the last of a kind counts."""
        given = self.request.query_params or {}
        fields = msgspec.structs.fields(model)
        values = {one.name: given[one.name] for one in fields if one.name in given}
        faults = []
        for one in fields:
            if one.name in values:
                try:
                    values[one.name] = msgspec.convert(values[one.name], one.type, strict=False)
                except msgspec.ValidationError as error:
                    faults.append(Fault(f"?{one.name}", str(error)))
        if faults:
            raise Invalid(*faults)
        return model(**values)

    def see_other(self, path: str, **headers: str) -> Response:
        """An answer that sends a page's user on."""
        return Response("", {"Location": self.prefix + path, **headers}, 303)

    def hold(self, look: Callable[[], T | None], *, wait_s: float) -> T | None:
        """Wait for news.

        Args:
            look: Looks once, in a transaction of its own, and returns None when nothing is new.
            wait_s: How long to wait, in seconds.

        Returns:
            What was found, or None when there was nothing in time.
        """
        deadline = time.monotonic() + wait_s
        while True:
            found = look()
            left_s = deadline - time.monotonic()
            if found is not None or left_s <= 0:
                return found
            time.sleep(min(LOOK_INTERVAL_S, left_s))


View = Callable[..., Any]


class Api(Chalice):
    """A Chalice application whose routes are declared with `endpoint` and `page`."""

    def __init__(self, app_name: str) -> None:
        self._local = threading.local()
        super().__init__(app_name, configure_logs=False)
        self.endpoints: list[Endpoint] = []

    @property
    def current_request(self) -> Request:
        """The request of this thread: a server with threads serves many at once."""
        return self._local.request

    @current_request.setter
    def current_request(self, request: Request) -> None:
        self._local.request = request

    @cached_property
    def wiring(self) -> Wiring:
        """The clients and settings, read at the first request or by the server at its start."""
        return Wiring.from_environment()

    def endpoint(
        self,
        method: str,
        path: str,
        *,
        who: Who = "user",
        body: type[msgspec.Struct] | None = None,
        query: type[msgspec.Struct] = Nothing,
        status: int = 200,
    ) -> Callable[[View], View]:
        """Declare a route of the API; the view gets a `Call` and the path's parameters."""

        def register(view: View) -> View:
            summary = (view.__doc__ or "").strip().splitlines()[0]
            self.endpoints.append(Endpoint(method, path, who, body, query, status, summary))
            self._add(method, path, view, lambda call: _admit(call, who), status)
            return view

        return register

    def page(self, method: str, path: str) -> Callable[[View], View]:
        """Declare a page; its view looks after who may see it."""

        def register(view: View) -> View:
            self._add(method, path, view, lambda _: None, 200)
            return view

        return register

    def _add(
        self, method: str, path: str, view: View, admit: Callable[[Call], None], status: int
    ) -> None:
        def handle(**parameters: str) -> Response:
            started = time.perf_counter()
            response = self._answer(view, admit, status, parameters)
            _log_access(self.current_request, response, time.perf_counter() - started)
            return response

        # No content types: Chalice's own check answers in another form than ours.
        self.route(path, methods=[method], name=view.__name__, content_types=[])(handle)

    def _answer(
        self, view: View, admit: Callable[[Call], None], status: int, parameters: dict[str, str]
    ) -> Response:
        prefix = _prefix(self.current_request)
        try:
            call = Call(self.current_request, self.wiring)
            admit(call)
            shown = view(call, **parameters)
        except CarryoutError as error:
            return _problem(error, prefix)
        except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError):
            log.warning("the database does not answer", extra={"action": "request"}, exc_info=True)
            return _problem(Unavailable(), prefix)
        except Exception:
            log.exception("a view failed", extra={"action": "request"})
            return _problem(CarryoutError(), prefix)
        return shown if isinstance(shown, Response) else json_response(shown, status=status)


def json_response(
    shown: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer that nobody may keep."""
    body = msgspec.json.encode(shown).decode()
    common = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return Response(body, {**common, **(headers or {})}, status)


def no_content() -> Response:
    """204. The body is an empty string: `chalice local` would send `null` for None."""
    return Response("", {"Cache-Control": "no-store"}, 204)


def _admit(call: Call, who: Who) -> None:
    if who != "anybody":
        _ = call.user
    if who == "administrator" and not call.user.is_admin:
        raise Forbidden


def _problem(error: CarryoutError, prefix: str) -> Response:
    answer = problems.render(error, prefix=prefix)
    return Response(answer.body, answer.headers, answer.status)


def _prefix(request: Request) -> str:
    """What API Gateway put before the path: the stage, or a domain's base path."""
    event = request.to_original_event()
    path, whole = event.get("path"), event["requestContext"].get("path")
    if path and whole and path != "/" and whole.endswith(path):
        return cast("str", whole)[: -len(path)]
    return cast("str", whole).rstrip("/") if path == "/" and whole else ""


def _refuse_cross_site(request: Request) -> None:
    """Refuse a cookie that another site's page made the browser send.

    Browsers name the page's origin with every request that changes something (Fetch standard,
    section 3.2); the cookie is SameSite=Strict besides.
    """
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "same-origin")
    if site not in {"same-origin", "none"}:
        raise Forbidden("Another site's page may not act for you.")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise Forbidden("Another site's page may not act for you.")


def _json_object(raw: bytes) -> dict[str, Any]:
    if not raw.strip():
        return {}
    try:
        data = json.loads(raw.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedJson from error
    if not isinstance(data, dict):
        raise MalformedJson
    return data


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def matches(etag: str, header: str | None) -> bool:
    """Whether an `If-None-Match` header names an ETag (RFC 9110, section 13.1.2)."""
    if header is None:
        return False
    names: Sequence[str] = re.findall(r'(?:W/)?("[^"]*")', header)
    return header.strip() == "*" or etag in names


def _log_access(request: Request, response: Response, duration_s: float) -> None:
    # The route, not the path: a path may hold a name, a query may hold anything.
    log.info(
        "answered",
        extra={
            "action": "request",
            "method": request.method,
            "route": request.path,
            "status": response.status_code,
            "duration_ms": round(duration_s * 1000, 1),
            "request_id": request.context.get("requestId"),
        },
    )
