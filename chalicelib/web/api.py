"""The frame that routes are hung into: authentication, parsing, answers, problems.

A view gets a `Call` and returns what is to be shown; everything that all views share is here.
"""

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from http.cookies import CookieError, SimpleCookie
from types import MappingProxyType
from typing import Any, Literal, TypeVar, cast

import msgspec
import sqlalchemy as sa
from chalice.app import Chalice, Request, Response

from chalicelib import logs
from chalicelib.accounts import accounts, rate_limits
from chalicelib.db.models import User
from chalicelib.errors import (
    CarryoutError,
    Fault,
    Forbidden,
    Invalid,
    MalformedJson,
    NotFound,
    RequestError,
    SettingsError,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
)
from chalicelib.schemas.requests import Nothing
from chalicelib.values.fields import check, flaw, storable
from chalicelib.web import origins, problems
from chalicelib.wiring import Wiring, environment

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
        name: The view's name, which no other route has.
        returns: The shape of a success, or None when it has no body.
        headers: The headers of a success; in brackets what is not always there.
        problems: What may go wrong, besides what may go wrong with every route of its kind.
        also: Other statuses that are no problem, with their shapes.
        takes: Request headers that it looks at.
    """

    method: str
    path: str
    who: Who
    body: type[msgspec.Struct] | None
    query: type[msgspec.Struct]
    status: int
    summary: str
    name: str
    returns: Any
    headers: tuple[str, ...]
    problems: tuple[type[RequestError], ...]
    also: Mapping[int, Any]
    takes: tuple[str, ...]


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

    @property
    def address(self) -> str:
        """Where the request comes from."""
        found: str | None = self.request.context.get("identity", {}).get("sourceIp")
        return found or ""

    @cached_property
    def token(self) -> str | None:
        """The bearer token, else the page's session cookie, else None."""
        return self.cookie if self._bearer is None else self._bearer or None

    @cached_property
    def cookie(self) -> str | None:
        """The page's session, unless another site's page sent it along."""
        if self._cookie is not None and self.request.method != "GET":
            _refuse_cross_site(self.request)
        return self._cookie

    @property
    def presented(self) -> str | None:
        """The token as it came, however it was written and whether or not it may be used."""
        return self._cookie if self._bearer is None else self._bearer or None

    @cached_property
    def _bearer(self) -> str | None:
        """The bearer token; empty when the credentials are of another kind, None without any."""
        header = self.request.headers.get("authorization")
        if header is None:
            return None
        scheme, _, token = header.partition(" ")
        return cast("str", token).strip() if scheme.lower() == "bearer" else ""

    @cached_property
    def _cookie(self) -> str | None:
        try:
            cookies = SimpleCookie(self.request.headers.get("cookie", ""))
        except CookieError:
            return None
        return cookies[COOKIE].value if COOKIE in cookies else None

    @cached_property
    def raw_body(self) -> bytes:
        """The body as it came.

        Raises:
            MalformedJson: The event holds text that UTF-8 cannot.
        """
        try:
            return bytes(self.request.raw_body or b"")
        except ValueError as error:
            raise MalformedJson from error

    def body(self, model: type[S]) -> S:
        """The JSON body as a model.

        Raises:
            UnsupportedMediaType: It is something else than JSON.
            MalformedJson: It is no JSON object in UTF-8.
            Invalid: A field is missing, unknown or bad.
        """
        media_type = self.request.headers.get("content-type", "application/json")
        if self.raw_body and media_type.partition(";")[0].strip().lower() != "application/json":
            raise UnsupportedMediaType
        return check(_json_object(self.raw_body), model)

    def query(self, model: type[S]) -> S:
        """The query parameters as a model; unknown ones are ignored, the last of a kind counts."""
        given = self.request.query_params or {}
        fields = msgspec.structs.fields(model)
        values = {one.name: given[one.name] for one in fields if one.name in given}
        faults = []
        for one in fields:
            if one.name in values:
                if detail := flaw(values[one.name], one.type, strict=False):
                    faults.append(Fault(f"?{one.name}", detail))
                else:
                    values[one.name] = msgspec.convert(values[one.name], one.type, strict=False)
        if faults:
            raise Invalid(*faults)
        return model(**values)

    def see_other(self, path: str, **headers: str) -> Response:
        """An answer that sends a page's user on."""
        return Response("", {"Location": self.prefix + path, **headers}, 303)

    def hold(self, look: Callable[[], T | None], *, wait_s: float) -> T | None:
        """Wait for news, unless as many requests of this token do so already.

        Args:
            look: Looks once, in a transaction of its own, and returns None when nothing is new.
            wait_s: How long to wait, in seconds.

        Returns:
            What was found, or None when there was nothing in time.
        """
        deadline = time.monotonic() + wait_s
        found = look()
        if found is not None or wait_s <= 0:
            return found
        with self._place(wait_s) as is_held:
            while is_held and found is None and (left_s := deadline - time.monotonic()) > 0:
                time.sleep(min(LOOK_INTERVAL_S, left_s))
                found = look()
        return found

    def _place(self, wait_s: float) -> AbstractContextManager[bool]:
        if not self.wiring.settings.limits:
            return nullcontext(True)  # noqa: FBT003 - what it yields
        return rate_limits.held(self.wiring.queue.redis, self.token or "", wait_s=wait_s)


View = Callable[..., Any]


class Api(Chalice):
    """A Chalice application whose routes are declared with `endpoint` and `page`."""

    def __init__(self, app_name: str) -> None:
        self._local = threading.local()
        super().__init__(app_name, configure_logs=False)
        self.endpoints: list[Endpoint] = []
        self.problem_page: Callable[[Call, CarryoutError], Response] | None = None
        """Tells people of an error on a page; programs get the problem document."""

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
        wiring = Wiring.from_environment()
        if "AWS_LAMBDA_FUNCTION_NAME" in environment():  # there is no start to do it at
            logs.configure(wiring.settings.log_format)
        return wiring

    def endpoint(
        self,
        method: str,
        path: str,
        *,
        who: Who = "user",
        body: type[msgspec.Struct] | None = None,
        query: type[msgspec.Struct] = Nothing,
        status: int = 200,
        returns: Any = None,
        headers: tuple[str, ...] = (),
        problems: tuple[type[RequestError], ...] = (),
        also: Mapping[int, Any] = MappingProxyType({}),
        takes: tuple[str, ...] = (),
    ) -> Callable[[View], View]:
        """Declare a route of the API; the view gets a `Call` and the path's parameters.

        The arguments are the attributes of `Endpoint`.
        """

        def register(view: View) -> View:
            summary = (view.__doc__ or "").strip().splitlines()[0]
            self.endpoints.append(
                Endpoint(
                    method=method,
                    path=path,
                    who=who,
                    body=body,
                    query=query,
                    status=status,
                    summary=summary,
                    name=view.__name__,
                    returns=returns,
                    headers=headers,
                    problems=problems,
                    also=also,
                    takes=takes,
                )
            )
            self._add(
                method,
                path,
                view,
                admit=lambda call: _admit(call, who),
                status=status,
                refuse=self._refuse,
            )
            self._add_preflight(path)
            return view

        return register

    def _add_preflight(self, path: str) -> None:
        """Answer OPTIONS on a path of the API; API Gateway knows no methods that are not routes."""
        if "OPTIONS" in self.routes[path]:
            return

        def preflight(call: Call, **_parameters: str) -> Response:
            methods = [one.method for one in self.endpoints if one.path == path]
            return origins.preflight(methods, allowed=call.wiring.settings.allowed_origins)

        self._add(
            "OPTIONS",
            path,
            preflight,
            admit=lambda _call: None,
            status=204,
            refuse=self._refuse,
        )

    def page(self, method: str, path: str) -> Callable[[View], View]:
        """Declare a page; its view looks after who may see it."""

        def register(view: View) -> View:
            self._add(method, path, view, admit=_admit_page, status=200, refuse=self._refuse_page)
            return view

        return register

    def _add(
        self,
        method: str,
        path: str,
        view: View,
        *,
        admit: Callable[[Call], None],
        status: int,
        refuse: Callable[[CarryoutError], Response],
    ) -> None:
        def handle(**parameters: str) -> Response:
            started = time.perf_counter()
            try:
                with logs.bound(request_id=self.current_request.context.get("requestId")):
                    response = self._answer(view, admit, status, parameters)
            except CarryoutError as error:
                response = refuse(error)
            if refuse == self._refuse and "origin" in self.current_request.headers:
                self._let_in(response)
            _log_access(self.current_request, response, time.perf_counter() - started)
            return response

        # No content types: Chalice's own check answers in another form than ours.
        self.route(path, methods=[method], name=view.__name__, content_types=[])(handle)

    def _let_in(self, response: Response) -> None:
        try:
            allowed = self.wiring.settings.allowed_origins
        except SettingsError:
            return  # nobody is let in by settings that are not there
        origins.let_in(response, self.current_request, allowed=allowed)

    def _answer(
        self, view: View, admit: Callable[[Call], None], status: int, parameters: dict[str, str]
    ) -> Response:
        try:
            call = Call(self.current_request, self.wiring)
            _count(call)
            admit(call)
            _refuse_unstorable(parameters)
            shown = view(call, **parameters)
        except (
            SettingsError
        ) as error:  # where nobody read them at the start: Lambda, `chalice local`
            log.critical("bad settings: %s", error.detail, extra={"action": "start"})
            raise
        except CarryoutError:
            raise
        except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
            log.warning("the database does not answer", extra={"action": "request"}, exc_info=True)
            raise Unavailable from error
        except Exception as error:
            log.exception("a view failed", extra={"action": "request"})
            raise CarryoutError from error
        return shown if isinstance(shown, Response) else json_response(shown, status=status)

    def refuse(self, event: dict[str, Any], error: CarryoutError) -> dict[str, Any]:
        """Answer an event that no route takes, to a browser with a page; for servers of our own."""
        self.current_request = Request(event)
        return cast("dict[str, Any]", self._refuse_page(error).to_dict())

    def _refuse(self, error: CarryoutError) -> Response:
        answer = problems.render(error, prefix=_prefix(self.current_request))
        return Response(answer.body, answer.headers, answer.status)

    def _wants_page(self, error: CarryoutError) -> bool:
        """Whether a page tells best: to browsers always, to all who take it where to sign in."""
        accepted = self.current_request.headers.get("accept", "*/*")
        return "text/html" in accepted or (
            isinstance(error, Unauthenticated) and "*/*" in accepted and "json" not in accepted
        )

    def _refuse_page(self, error: CarryoutError) -> Response:
        if self.problem_page is None or not self._wants_page(error):
            return self._refuse(error)
        try:
            return self.problem_page(Call(self.current_request, self.wiring), error)
        except Exception:
            log.exception("the page of a problem failed", extra={"action": "request"})
            return self._refuse(error)


def json_response(
    shown: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer that nobody may keep."""
    body = msgspec.json.encode(shown).decode()
    common = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return Response(body, {**common, **(headers or {})}, status)


def accepted() -> Response:
    """202, about which there is nothing more to say."""
    return Response("", {"Cache-Control": "no-store"}, 202)


def no_content() -> Response:
    """204. The body is an empty string: `chalice local` would send `null` for None."""
    return Response("", {"Cache-Control": "no-store"}, 204)


def _count(call: Call) -> None:
    """Refuse a request that is one too many; probes of a load balancer are none of those."""
    if not call.wiring.settings.limits or call.request.path in {"/healthz", "/readyz"}:
        return
    uses: list[tuple[rate_limits.Rate, object]] = [(rate_limits.REQUESTS_PER_ADDRESS, call.address)]
    if call.presented is not None:
        uses.append((rate_limits.REQUESTS_PER_TOKEN, call.presented))
    rate_limits.spend(call.wiring.queue.redis, *uses)


def _admit(call: Call, who: Who) -> None:
    if who != "anybody":
        _ = call.user
    if who == "administrator" and not call.user.is_admin:
        raise Forbidden


def _admit_page(call: Call) -> None:
    if call.request.method != "GET":
        _refuse_cross_site(call.request)  # with a cookie or, at the sign-in, without


def _refuse_unstorable(parameters: Mapping[str, str]) -> None:
    """Nothing in the ledger is called what the ledger cannot hold."""
    if not all(storable(parameter) for parameter in parameters.values()):
        raise NotFound


def _prefix(request: Request) -> str:
    """What API Gateway put before the path: the stage, or a domain's base path."""
    event = request.to_original_event()
    path, whole = event.get("path"), event["requestContext"].get("path")
    if path and whole and path != "/" and whole.endswith(path):
        return cast("str", whole)[: -len(path)]
    return cast("str", whole).rstrip("/") if path == "/" and whole else ""


def _refuse_cross_site(request: Request) -> None:
    """Refuse what another site's page made the browser send.

    Browsers name the page's origin with every request that changes something (Fetch standard,
    section 3.2); the cookie is SameSite=Strict besides.
    """
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "same-origin")
    if site not in {"same-origin", "none"}:
        raise Forbidden("Requests from another site's pages aren't allowed.")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise Forbidden("Requests from another site's pages aren't allowed.")


def _json_object(raw: bytes) -> dict[str, Any]:
    if not raw.strip():
        return {}
    try:
        data = json.loads(raw.decode(), parse_float=_number, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedJson from error
    if not isinstance(data, dict):
        raise MalformedJson
    return data


def _number(text: str) -> float:
    """A number with a fraction or an exponent; JSON knows no difference between 1 and 1.0."""
    number = float(text)
    return int(number) if number.is_integer() else number


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
