"""A request as views see it: the caller, what the caller sent, and the API's prefix."""

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from datetime import datetime
from functools import cached_property, partial
from http.cookies import CookieError, SimpleCookie
from typing import Any, TypeVar, cast
from urllib.parse import parse_qs
from uuid import uuid4

import msgspec
from chalice.app import Request, Response

from chalicelib.accounts import accounts
from chalicelib.accounts.secrets import digest
from chalicelib.db.models import User
from chalicelib.errors import (
    Fault,
    Forbidden,
    FormOutdated,
    Invalid,
    MalformedJson,
    Unauthenticated,
    UnsupportedMediaType,
)
from chalicelib.exports.views import TaskView, view_beside, view_task, with_view
from chalicelib.outbox.allowances import Cause
from chalicelib.tasks.watchers import Watch
from chalicelib.values.addresses import network_of
from chalicelib.values.fields import check, flaw, storable
from chalicelib.web.holding import ROOM, Hold
from chalicelib.wiring import Wiring

COOKIE = "carryout_session"
"""The session's cookie. Where there is TLS its name is `__Host-carryout_session`, which a browser
takes from this very host alone and over TLS (RFC 6265bis, section 4.1.3.2): no other host of the
domain, and nobody on the way, can put one of theirs in its place."""

MAX_FIELDS = 20
"""Of a form; ours have six at most."""

POLL = ("GET", "/v1/tasks/{task_id}")
"""The request that clients make again and again: it takes one statement."""

_USER_AND_TASK = with_view(accounts.BY_TOKEN)

SAFE_METHODS = {"GET", "HEAD"}
"""They change nothing, so pages of other sites may make a browser send them."""

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)


class Call:
    """A request as a view sees it.

    Attributes:
        request: Chalice's own request.
        wiring: The clients and settings.
        prefix: The path under which the API stands: `/api` on a stage, empty locally.
    """

    def __init__(self, request: Request, wiring: Wiring) -> None:
        self.request = request
        self.wiring = wiring
        self.prefix = prefix_of(request)
        self._seen: TaskView | None = None
        self._since = 0

    @cached_property
    def now(self) -> datetime:
        """The time, the same throughout the request."""
        return self.wiring.now()

    @cached_property
    def user(self) -> User:
        """The caller.

        Raises:
            Unauthenticated: There is no token, or no valid one.
        """
        if self.token is None:
            raise Unauthenticated
        self._since = self.wiring.watchers.mark()
        with self.wiring.database.read() as session:
            task_id = (self.request.uri_params or {}).get("task_id", "")
            if (self.request.method, self.request.path) == POLL and storable(task_id):
                about = {"task_id": task_id}
                row = accounts.authenticate_by(
                    _USER_AND_TASK, session, self.token, now=self.now, **about
                )
                user, self._seen = cast("User", row[0]), view_beside(row)
            else:
                user = accounts.authenticate(session, self.token, now=self.now)
        self.wiring.token_owners.note(digest(self.token), user.id)
        return user

    def own_task(self, task_id: str) -> TaskView:
        """A task of the caller's: once as it was when they were authenticated, then anew.

        Raises:
            NotFound: There is no such task, or it is another user's.
        """
        user_id, seen, self._seen = self.user.id, self._seen, None
        if seen is not None:
            return seen
        with self.wiring.database.read() as session:
            return view_task(session, task_id, owner=user_id)

    @property
    def address(self) -> str:
        """Where the request comes from; behind proxies of ours, where it reached the first."""
        found: str | None = self.request.context.get("identity", {}).get("sourceIp")
        hops = self.wiring.settings.proxy_hops
        if not hops:
            return found or ""
        # Each proxy, and API Gateway at last, adds the address that called it. What stands before
        # those is the client's own word.
        header = self.request.headers.get("x-forwarded-for", "")
        told = [one.strip() for one in header.split(",")]
        return told[-1 - hops] if len(told) > hops else found or ""

    @property
    def network(self) -> str:
        """Whom the request's address counts as."""
        return network_of(self.address)

    def cause(self, user_id: int | None = None) -> Cause | None:
        """Who is counted for an email; None without limits."""
        return Cause(self.network, user_id) if self.wiring.settings.limits else None

    @cached_property
    def token(self) -> str | None:
        """The bearer token, else the page's session cookie, else None."""
        return self.cookie if self._bearer is None else self._bearer or None

    @cached_property
    def cookie(self) -> str | None:
        """The page's session, unless another site's page sent it along."""
        if self._cookie is not None and self.request.method not in SAFE_METHODS:
            self.refuse_cross_site()
        return self._cookie

    @property
    def cookie_name(self) -> str:
        """What the session's cookie is called."""
        return f"__Host-{COOKIE}" if self.wiring.settings.is_https else COOKIE

    @property
    def bearer(self) -> str | None:
        """The bearer token; empty or None without one."""
        return self._bearer

    @property
    def presented(self) -> str | None:
        """The token that the client sent, whether or not it may be used."""
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
        return cookies[name].value if (name := self.cookie_name) in cookies else None

    def refuse_cross_site(self) -> None:
        """Refuse a request that another site's page made the browser send.

        Browsers name the page's origin with every request that changes something (Fetch standard,
        section 3.2); the cookie is SameSite=Strict besides.

        Raises:
            Forbidden: It comes from another site's page.
        """
        if self.is_cross_site():
            raise Forbidden("Requests from another site's pages aren't allowed.")

    def is_cross_site(self) -> bool:
        """Whether another site's page made the browser send the request, if it says so."""
        headers = self.request.headers
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site", "same-origin")
        from_here = origin is None or origin.partition("://")[2] == headers.get("host")
        return site not in {"same-origin", "none"} or not from_here

    def forget_cookie(self) -> None:
        """Show what follows as to somebody without a session."""
        vars(self)["_cookie"] = None

    def refuse_encoded(self) -> None:
        """Refuse a body that is compressed or otherwise coded (RFC 9110, section 8.4).

        Raises:
            UnsupportedMediaType: It is.
        """
        coding = self.request.headers.get("content-encoding", "").strip().lower()
        if coding not in {"", "identity"}:
            raise UnsupportedMediaType(
                "This path doesn't accept encoded request bodies; send it without Content-Encoding."
            )

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
            UnsupportedMediaType: It isn't JSON.
            MalformedJson: It isn't a JSON object in UTF-8.
            Invalid: A field is missing, unknown or invalid.
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

    @cached_property
    def form(self) -> dict[str, str]:
        """The fields of a form; of two with one name the last counts, and none holds a NUL.

        A view may rely on it: `Api.page` has checked the form's token by then.
        """
        return {name: values[-1] for name, values in self._fields.items() if storable(values[-1])}

    def ticked(self, name: str) -> list[str]:
        """The values of a form's boxes of one name that are ticked."""
        return [value for value in self._fields.get(name, []) if storable(value)]

    @cached_property
    def _fields(self) -> dict[str, list[str]]:
        try:
            return parse_qs(
                self.raw_body.decode(errors="replace"),
                keep_blank_values=True,
                max_num_fields=MAX_FIELDS,
            )
        except ValueError:
            return {}

    @property
    def csrf_token(self) -> str:
        """What a form of this session must contain; pages of other sites cannot know it.

        By the cookie where there is one: credentials of another kind beside it are no secret.
        """
        return hmac.new(
            (self._cookie or self.token or "").encode(), b"carryout form", hashlib.sha256
        ).hexdigest()

    def check_form(self) -> None:
        """Check that a form came from a page of this session; bearer tokens need no such proof.

        Raises:
            FormOutdated: It came from somewhere else, or from a page of an earlier session.
        """
        given = self.form.get("csrf", "").encode()
        if self._cookie is not None and not hmac.compare_digest(given, self.csrf_token.encode()):
            raise FormOutdated

    def see_other(self, path: str, **headers: str) -> Response:
        """Redirect to another page after a form."""
        return Response("", {"Location": self.prefix + path, **headers}, 303)

    def long_poll(
        self,
        look: Callable[[], T | None],
        *,
        wait_s: float,
        queued_for_s: Callable[[], float | None] = lambda: None,
    ) -> T | None:
        """Wait for news, unless too many requests wait: of this user, this network, or this server.

        Where the server can answer later, nobody waits here: the answer that nothing is new is held
        back, and the request made again when there is news.

        Args:
            look: Looks once, in a transaction of its own, and returns None when nothing is new.
            wait_s: How long to wait, in seconds.
            queued_for_s: When the task that was looked at is due, in seconds, if it is queued: then
                it changes by itself, and when workers come and go.

        Returns:
            What was found, or None when nothing was found in time.
        """
        found, since = look(), self._since
        until = (self.hold and self.hold.until) or time.monotonic() + wait_s
        if found is not None or until <= time.monotonic():
            return found
        watch = partial(self._watch, until=until, queued_for_s=queued_for_s)
        if self.hold is None:
            return self._wait(look, watch, since=since, until=until)
        occupy = partial(self._occupy, wait_s)
        self.hold.ask(self.wiring.watchers, watch, since=since, until=until, occupy=occupy)
        return None

    def _wait(
        self,
        look: Callable[[], T | None],
        watch: Callable[[Callable[[], None]], Watch],
        *,
        since: int,
        until: float,
    ) -> T | None:
        """Wait in this thread."""
        watchers, found = self.wiring.watchers, None
        with self._occupy(until - time.monotonic()) or nullcontext() as place:
            while place and found is None and (left_s := until - time.monotonic()) > 0:
                woken = threading.Event()
                waiting = watch(woken.set)
                watchers.watch(waiting, since=since)
                woken.wait(left_s)
                watchers.leave(waiting)
                since, found = watchers.mark(), look()
        return found

    def _watch(
        self,
        wake: Callable[[], None],
        *,
        until: float,
        queued_for_s: Callable[[], float | None],
    ) -> Watch:
        due_in_s = queued_for_s()
        if due_in_s is not None and due_in_s > 0:
            until = min(until, time.monotonic() + due_in_s)
        return Watch(
            user_id=self.user.id,
            seq=self.user.notification_seq,
            until=until,
            wake=wake,
            by_workers=due_in_s is not None,
        )

    @property
    def hold(self) -> Hold | None:
        """Holds the answer back, where the server can."""
        return cast("Hold | None", self.request.context.get("hold"))

    def _occupy(self, wait_s: float) -> ExitStack | None:
        """Take a place among the requests that wait; None when there is none."""
        limiter = self.wiring.rate_limiter
        with ExitStack() as stack:
            here = ROOM.place(*limiter.long_poll_caps(self.user.id, self.network))
            anywhere = limiter.long_poll_slot(self.user.id, self.network, wait_s=wait_s)
            if stack.enter_context(here) and stack.enter_context(anywhere):
                return stack.pop_all()
        return None


def request_id_of(request: Request) -> str:
    """API Gateway's own id of a request, or a new one where there is no gateway."""
    given: str | None = request.context.get("requestId")
    return given or str(uuid4())


def prefix_of(request: Request) -> str:
    """What API Gateway puts before the path: the stage, or a domain's base path."""
    event = request.to_original_event()
    path, whole = event.get("path"), event["requestContext"].get("path")
    if path and whole and path != "/" and whole.endswith(path):
        return cast("str", whole)[: -len(path)]
    return cast("str", whole).rstrip("/") if path == "/" and whole else ""


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
