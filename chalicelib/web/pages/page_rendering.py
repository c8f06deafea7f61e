"""What all pages share: templates, headers, the user's language."""

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from chalice.app import Response

from chalicelib.db.models import User
from chalicelib.errors import CarryoutError
from chalicelib.values.languages import LANGUAGES, Language, language_for, negotiate
from chalicelib.web.pages import assets, cards
from chalicelib.web.request import Call

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
# Browsers drop tabs and line ends from an address, and read a backslash as a slash.
OWN_PATH = re.compile(r"/(?!/)[!-\[\]-~]*")


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
        facts: What the template shows, besides what all templates get. `user` overrides the
            caller; `refresh_s` is how often the page reloads without JavaScript while a task is
            not over; `every_s` is how often it refreshes whether or not one is; `uploads_to` is
            another origin that it may send files to.
    """
    uploads_to = facts.pop("uploads_to", "")
    user = facts.pop("user") if "user" in facts else visitor(call)
    common = {
        "prefix": call.prefix,
        "path": path(call),
        "user": user,
        "csrf": call.csrf_token if user else "",
        "registration": call.wiring.settings.registration,
        "source_url": call.wiring.settings.source_url,
        "demo": call.wiring.settings.offers_guests,
        "unconfirmed": _is_unconfirmed(call, user),
        "strip": cards.active(call, language(call)) if user else [],
        "refresh_s": 0,
        "every_s": 0,
    }
    html = _templates(language(call).code).get_template(template).render(common | facts)
    return Response(html, {**_headers(uploads_to), **(headers or {})}, status)


def _headers(uploads_to: str) -> dict[str, str]:
    """The headers of a page; by its policy it speaks to nobody but us and this origin."""
    if not uploads_to:
        return HEADERS
    policy = HEADERS["Content-Security-Policy"]
    for name in ("connect-src", "form-action"):
        policy = policy.replace(f"{name} 'self'", f"{name} 'self' {uploads_to}")
    # Under `same-origin` a form that goes elsewhere would call its origin `null`.
    return {**HEADERS, "Content-Security-Policy": policy, "Referrer-Policy": "strict-origin"}


def _is_unconfirmed(call: Call, user: User | None) -> bool:
    """Whether emails about a user's exports wait until the address is confirmed."""
    verify = call.wiring.settings.verify_email
    return verify and user is not None and user.confirmed_at is None


@cache
def _templates(code: str) -> "Environment":
    """The templates in one language."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - not for JSON

    chosen = language_for(code)
    environment = Environment(
        loader=PackageLoader("chalicelib.web"),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.install_gettext_callables(  # type: ignore[attr-defined]
        chosen.gettext, chosen.ngettext, newstyle=True
    )
    environment.globals |= {"lang": code, "languages": LANGUAGES, "assets": assets.names()}
    environment.filters |= {
        "number": chosen.number,
        "percent": chosen.percent,
        "size": chosen.size,
        "duration": chosen.duration,
        "time": chosen.time,
        "short_time": chosen.short_time,
        "reason": chosen.reason,
    }
    return environment


def visitor(call: Call) -> User | None:
    """The caller, or None."""
    try:
        return call.user
    except CarryoutError:
        return None


def language(call: Call) -> Language:
    """The language of a page: the user's, else the one that the browser asks for."""
    user = vars(call).get("user")  # only if it was read already: the database may be away
    wanted: str = call.request.headers.get("accept-language", "")
    return language_for(user.language if user else negotiate(wanted))


def path(call: Call) -> str:
    """The path of the page itself, without the prefix."""
    event = call.request.to_original_event()
    whole: str = event.get("path") or event["requestContext"]["path"]  # Chalice's own: only there
    return whole


def own_path(given: str) -> str:
    """The path that a form gave if it is one of ours, else `/`; never another site's address."""
    return given if OWN_PATH.fullmatch(given) else "/"


def is_live(call: Call) -> bool:
    """Whether a page's script asks, which needs only the parts of the page that change."""
    return "x-live" in call.request.headers
