"""What all pages share: templates, headers, the user's language, forms."""

import hashlib
import hmac
import re
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from chalice.app import Response

from chalicelib.db.models import User
from chalicelib.errors import CarryoutError, Forbidden
from chalicelib.values.fields import storable
from chalicelib.values.languages import LANGUAGES, Language, language_for, negotiate
from chalicelib.web.api import Call
from chalicelib.web.pages import assets, cards

if TYPE_CHECKING:
    from jinja2 import Environment

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
# Browsers drop tabs and line ends from an address, and take a backslash for a slash.
OWN_PATH = re.compile(r"/(?!/)[!-\[\]-~]*")
MAX_FIELDS = 20


def render(
    call: Call,
    template: str,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    **facts: Any,
) -> Response:
    """Make a page.

    Args:
        call: The request.
        template: The template's name.
        status: The HTTP status.
        headers: More headers.
        facts: What the template shows, besides what all of them get. `user` takes the place of
            the one who calls; `refresh_s` is how often the page reloads where there is no script
            and a task is not over; `every_s` is how often it changes whether or not one is.
    """
    user = facts.pop("user") if "user" in facts else visitor(call)
    common = {
        "prefix": call.prefix,
        "path": path(call),
        "user": user,
        "csrf": csrf(call),
        "registration": call.wiring.settings.registration,
        "strip": cards.active(call, language(call)) if user else [],
        "refresh_s": 0,
        "every_s": 0,
    }
    html = _templates(language(call).code).get_template(template).render(common | facts)
    return Response(html, {**HEADERS, **(headers or {})}, status)


@cache
def _templates(code: str) -> "Environment":
    """The templates in one language."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - not for JSON

    words = language_for(code)
    environment = Environment(
        loader=PackageLoader("chalicelib.web"),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.install_gettext_callables(  # type: ignore[attr-defined]
        words.gettext, words.ngettext, newstyle=True
    )
    environment.globals |= {"lang": code, "languages": LANGUAGES, "assets": assets.names()}
    environment.filters |= {
        "number": words.number,
        "percent": words.percent,
        "size": words.size,
        "duration": words.duration,
        "time": words.time,
        "short_time": words.short_time,
        "reason": words.reason,
    }
    return environment


def visitor(call: Call) -> User | None:
    """Who calls, or None."""
    try:
        return call.user
    except CarryoutError:
        return None


def language(call: Call) -> Language:
    """The language of a page: the user's own, else what the browser asks for."""
    user = vars(call).get("user")  # only if somebody asked already: the database may be away
    wanted: str = call.request.headers.get("accept-language", "")
    return language_for(user.language if user else negotiate(wanted))


def path(call: Call) -> str:
    """The path of the page itself, without the prefix."""
    event = call.request.to_original_event()
    whole: str = event.get("path") or event["requestContext"]["path"]  # Chalice's own: only there
    return whole


def own_path(given: str) -> str:
    """A path of ours, whatever a form said: never another site's address."""
    return given if OWN_PATH.fullmatch(given) else "/"


def is_live(call: Call) -> bool:
    """Whether a page's own script asks, for the parts of the page that change by themselves."""
    return "x-live" in call.request.headers


def csrf(call: Call) -> str:
    """What a form of this session must bring along; another site's page cannot know it."""
    return hmac.new((call.token or "").encode(), b"carryout form", hashlib.sha256).hexdigest()


def fields(call: Call) -> dict[str, str]:
    """The fields of a form; of two with one name the last counts, and none holds a NUL."""
    try:
        given = parse_qs(
            call.raw_body.decode(errors="replace"),
            keep_blank_values=True,
            max_num_fields=MAX_FIELDS,
        )
    except ValueError:
        return {}
    return {name: values[-1] for name, values in given.items() if storable(values[-1])}


def form(call: Call) -> dict[str, str]:
    """The fields of a form that came from a page of this session.

    Raises:
        Forbidden: It did not.
    """
    found = fields(call)
    if call.cookie is not None and not hmac.compare_digest(
        found.get("csrf", "").encode(), csrf(call).encode()
    ):
        raise Forbidden("The form is out of date; go back, reload and try again.")
    return found
