"""How routes are declared, and what all of them share: admission, problems, the access log.

A view gets a `Call` and returns what the client is to see.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, cast

import msgspec
import sqlalchemy as sa
from chalice.app import Chalice, Request, Response

from chalicelib import logs
from chalicelib.accounts import rate_limits
from chalicelib.accounts.secrets import digest
from chalicelib.adapters import tracing
from chalicelib.adapters.tracing import Tracer
from chalicelib.db.engine import ANSWER_S
from chalicelib.errors import (
    CarryoutError,
    Forbidden,
    NotFound,
    RequestError,
    SettingsError,
    Unauthenticated,
    Unavailable,
)
from chalicelib.schemas.requests import Nothing
from chalicelib.values.fields import storable
from chalicelib.web import origins, problems
from chalicelib.web.holding import Hold
from chalicelib.web.negotiation import prefers_html
from chalicelib.web.request import SAFE_METHODS, Call, prefix_of, request_id_of
from chalicelib.web.responses import json_response
from chalicelib.wiring import Wiring, environment

log = logging.getLogger(__name__)

Who = Literal["anybody", "user", "administrator"]
View = Callable[..., Any]

PROBES = {"/healthz"}
"""Load balancers ask for it as often as they like; it costs nothing."""

HSTS = "max-age=31536000"
"""For a year browsers come by TLS alone (RFC 6797); over plain HTTP they ignore it."""


@dataclass(frozen=True)
class Endpoint:
    """A route of the API, for Chalice, for the OpenAPI document and for tests.

    Attributes:
        method: The HTTP method; a GET answers HEAD, too.
        path: The path, parameters in braces.
        who: Who may call it.
        body: The model of the JSON body, or None when it takes none.
        query: The model of the query parameters.
        status: The status of a success.
        summary: What it does, in a line.
        name: The view's name, which no other route has.
        returns: The type of a success's body, or None when it has no body.
        headers: The headers of a success; those in brackets are not always sent.
        problems: What may go wrong, besides what may go wrong with every route of its kind.
        also: Other statuses that are no problem, with the types of their bodies.
        reads: Request headers that it reads.
        media_type: Of a success's body.
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
    reads: tuple[str, ...]
    media_type: str


@dataclass(frozen=True)
class Page:
    """A page or a form, for Chalice and for tests.

    Attributes:
        method: The HTTP method; a GET answers HEAD, too.
        path: The path, parameters in braces.
        who: Who may see it.
        csrf: Whether its form must bring the session's token along.
    """

    method: str
    path: str
    who: Who
    csrf: bool


class Api(Chalice):
    """A Chalice application whose routes are declared with `endpoint` and `page`."""

    def __init__(self, app_name: str) -> None:
        self._local = threading.local()
        super().__init__(app_name, configure_logs=False)
        self.endpoints: list[Endpoint] = []
        self.pages: list[Page] = []
        self.problem_page: Callable[[Call, CarryoutError], Response] | None = None
        """Shows an error to people; programs get the problem document."""

    @property
    def current_request(self) -> Request:
        """The request of this thread: a server with threads serves many at once."""
        return self._local.request

    @current_request.setter
    def current_request(self, request: Request) -> None:
        self._local.request = request

    @cached_property
    def wiring(self) -> Wiring:
        """The clients and settings, read at the first request or by the server when it starts."""
        wiring = Wiring.from_environment(answer_s=ANSWER_S)
        if "AWS_LAMBDA_FUNCTION_NAME" in environment():  # Lambda starts no server that does it
            settings = wiring.settings
            logs.configure(
                settings.log_format, exceptions=settings.log_exceptions, file=settings.log_file
            )
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
        reads: tuple[str, ...] = (),
        media_type: str = "application/json",
        admits: Callable[[Call], bool] = lambda _call: False,
    ) -> Callable[[View], View]:
        """Declare a route of the API; the view gets a `Call` and the path's parameters.

        The arguments are the attributes of `Endpoint`, and `admits`, which says whether somebody
        may make a call who is not `who`.
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
                    reads=reads,
                    media_type=media_type,
                )
            )
            self._add(
                method,
                path,
                view,
                admit=lambda call: None if admits(call) else _admit(call, who),
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
            methods = [method for method in self.routes[path] if method != "OPTIONS"]
            return origins.preflight(methods, allowed=call.wiring.settings.allowed_origins)

        self._add(
            "OPTIONS",
            path,
            preflight,
            admit=lambda _call: None,
            status=204,
            refuse=self._refuse,
        )

    def page(
        self, method: str, path: str, *, who: Who, csrf: bool = True
    ) -> Callable[[View], View]:
        """Declare a page, or what a form of a page is sent to.

        A view may rely on `call.form`: requests of callers who may not see the page, of other
        sites' pages, and without the session's token never reach the view.

        Args:
            method: The HTTP method.
            path: The path, parameters in braces.
            who: Who may see it.
            csrf: False for the few forms of people without a session, who have no token.
        """

        def register(view: View) -> View:
            one = Page(method=method, path=path, who=who, csrf=csrf and method != "GET")
            self.pages.append(one)
            self._add(
                method,
                path,
                view,
                admit=lambda call: _admit_page(call, one),
                status=200,
                refuse=self._refuse_page,
            )
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
            started, request = time.perf_counter(), self.current_request
            request_id = request_id_of(request)
            with logs.bound(request_id=request_id), self._traced(method, path, request):
                try:
                    response = self._answer(view, admit, status, parameters)
                except CarryoutError as error:
                    response = refuse(error)
                if refuse == self._refuse and "origin" in request.headers:
                    self._allow_origin(response)
                response.headers["X-Request-Id"] = request_id
                self._harden(response)
                if request.method == "HEAD":
                    response.body = ""
                _note_access(request, response, time.perf_counter() - started)
                tracing.annotate(http__response__status_code=response.status_code)
            return response

        # API Gateway knows no methods that are not routes: HEAD is one of its own.
        methods = ["GET", "HEAD"] if method == "GET" else [method]
        # No content types: Chalice's own check answers in another form than ours.
        self.route(path, methods=methods, name=view.__name__, content_types=[])(handle)

    def _traced(self, method: str, path: str, request: Request) -> AbstractContextManager[None]:
        """The span of a request, by its route: what stands in a path may say who somebody is."""
        return tracing.root(
            None if path in PROBES else self._tracer,
            f"{method} {path}",
            kind=tracing.Kind.SERVER,
            parent=request.headers.get("traceparent"),
            http__request__method=method,
            http__route=path,
            carryout__request__id=logs.request_id() or "",
        )

    @property
    def _tracer(self) -> Tracer | None:
        try:
            return self.wiring.tracer
        except SettingsError:
            return None  # the response tells

    def _harden(self, response: Response) -> None:
        """What a browser must not do with a response, of a page or not."""
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        with suppress(SettingsError):
            if self.wiring.settings.is_https:
                response.headers.setdefault("Strict-Transport-Security", HSTS)

    def _allow_origin(self, response: Response) -> None:
        try:
            allowed = self.wiring.settings.allowed_origins
        except SettingsError:
            return  # without settings no origin is allowed
        origins.allow(response, self.current_request, allowed=allowed)

    def _answer(
        self, view: View, admit: Callable[[Call], None], status: int, parameters: dict[str, str]
    ) -> Response:
        try:
            call = Call(self.current_request, self.wiring)
            _count(call)
            call.refuse_encoded()
            admit(call)
            _refuse_unstorable(parameters)
            shown = view(call, **parameters)
        except SettingsError as error:
            # Here alone where no server reads them at its start: Lambda, `chalice local`.
            log.critical("bad settings: %s", error.detail, extra={"action": "start"})
            raise
        except CarryoutError:
            raise
        except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
            log.warning("the database did not respond", extra={"action": "request"}, exc_info=True)
            raise Unavailable from error
        except Exception as error:
            log.exception("a view failed", extra={"action": "request"})
            raise CarryoutError from error
        return shown if isinstance(shown, Response) else json_response(shown, status=status)

    def refuse(self, event: dict[str, Any], error: CarryoutError) -> dict[str, Any]:
        """Refuse an event that has no route, browsers with a page; for this project's servers.

        It is counted as any request is, which may be the better reason to refuse it.
        """
        self.current_request = Request(event)
        try:
            _count(Call(self.current_request, self.wiring))
        except CarryoutError as too_many:
            error = too_many
        response = self._refuse_page(error)
        self._harden(response)
        return cast("dict[str, Any]", response.to_dict())

    def _refuse(self, error: CarryoutError) -> Response:
        rendered = problems.render(error, prefix=prefix_of(self.current_request))
        return Response(rendered.body, rendered.headers, rendered.status)

    def _refuse_page(self, error: CarryoutError) -> Response:
        accept = self.current_request.headers.get("accept")
        # A client that accepts both equally is no browser, but may follow a link in an email.
        wants_page = prefers_html(accept, otherwise=isinstance(error, Unauthenticated))
        if self.problem_page is None or not wants_page:
            return self._refuse(error)
        try:
            call = Call(self.current_request, self.wiring)
            if call.is_cross_site():
                call.forget_cookie()  # or the page would be refused as the form was
            return self.problem_page(call, error)
        except Exception:
            log.exception("the page of a problem failed", extra={"action": "request"})
            return self._refuse(error)


def _count(call: Call) -> None:
    """Refuse a request that is one too many; a load balancer's probes do not count."""
    if not call.wiring.settings.limits or call.request.path in PROBES:
        return
    if call.hold is not None and call.hold.until is not None:
        return  # it has been counted, and is made again because there is news
    uses: list[tuple[rate_limits.Rate, object]] = [(rate_limits.REQUESTS_PER_ADDRESS, call.network)]
    if call.presented is not None:
        owner = call.wiring.token_owners.get(digest(call.presented))
        if owner is None:  # this process has not seen it yet
            uses.append((rate_limits.REQUESTS_PER_TOKEN, call.presented))
        else:
            uses.append((rate_limits.REQUESTS_PER_USER, owner))
    call.wiring.rate_limiter.spend(*uses)


def _admit(call: Call, who: Who) -> None:
    if who != "anybody":
        _ = call.user
    if who == "administrator" and not call.user.is_admin:
        raise Forbidden


def _admit_page(call: Call, page: Page) -> None:
    if call.request.method not in SAFE_METHODS:
        call.refuse_cross_site()  # with a cookie or, at the sign-in, without
    _admit(call, page.who)
    if page.csrf:
        call.check_form()


def _refuse_unstorable(parameters: Mapping[str, str]) -> None:
    """Answer 404 to names that the ledger cannot store, since nothing can have such a name."""
    if not all(storable(parameter) for parameter in parameters.values()):
        raise NotFound


def _note_access(request: Request, response: Response, duration_s: float) -> None:
    """Log a request, or have it logged by whoever answers it later."""
    hold: Hold | None = request.context.get("hold")
    if hold is None:
        _log_access(request, response, duration_s)
    elif not hold.is_asked:
        _log_access(request, response, hold.duration_s)
    else:

        def note(duration_s: float) -> None:
            with logs.bound(request_id=hold.request_id):
                _log_access(request, response, duration_s)

        hold.note = note


def _log_access(request: Request, response: Response, duration_s: float) -> None:
    # The route, not the path: a path may contain a name, a query may contain anything.
    log.info(
        "answered",
        extra={
            "action": "request",
            "method": request.method,
            "route": request.path,
            "status": response.status_code,
            "duration_ms": round(duration_s * 1000, 1),
        },
    )
