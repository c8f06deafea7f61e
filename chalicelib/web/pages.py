"""The pages: plain HTML that works without JavaScript."""

import hashlib
import hmac
from collections.abc import Iterable
from functools import cache
from typing import Any
from urllib.parse import parse_qs

from chalice.app import Response

from chalicelib import accounts, posts, tasks
from chalicelib.errors import CarryoutError, Forbidden, NotFound, TaskInProgress, Unauthenticated
from chalicelib.paging import Page
from chalicelib.web import answers
from chalicelib.web.api import COOKIE, Call, Endpoint
from chalicelib.web.problems import status_of
from chalicelib.web.sessions import sign_in

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
REFRESH_S = 2
"""How often a page reloads itself while a task on it is not over."""


@cache
def _templates() -> Any:
    from jinja2 import Environment, PackageLoader  # noqa: PLC0415 - the API has no need of it

    return Environment(loader=PackageLoader("chalicelib.web"), autoescape=True)


def _render(
    call: Call, template: str, *, status: int = 200, refresh: bool = False, **facts: Any
) -> Response:
    facts |= {"prefix": call.prefix, "user": _user(call), "csrf": _csrf(call)}
    html = _templates().get_template(template).render(facts)
    headers = {**HEADERS, "Refresh": str(REFRESH_S)} if refresh else HEADERS
    return Response(html, dict(headers), status)


def _user(call: Call) -> Any:
    try:
        return call.user
    except CarryoutError:
        return None


def _csrf(call: Call) -> str:
    """What a form of this session must bring along; another site's page cannot know it."""
    return hmac.new((call.token or "").encode(), b"carryout form", hashlib.sha256).hexdigest()


def _form(call: Call) -> dict[str, str]:
    """The fields of a form that came from one of our own pages."""
    raw = bytes(call.request.raw_body or b"")
    fields = {name: values[-1] for name, values in parse_qs(raw.decode(errors="replace")).items()}
    if call.cookie is not None and not hmac.compare_digest(
        fields.get("csrf", "").encode(), _csrf(call).encode()
    ):
        raise Forbidden("The form is out of date; go back, reload and try again.")
    return fields


def _ask_to_sign_in(call: Call, back: str) -> Response:
    return _render(call, "sign_in.html", status=401, back=back, name="", complaint=None)


def home(call: Call) -> Response:
    """One's own tasks and the button, or the way in."""
    user = _user(call)
    if user is None:
        return _render(call, "welcome.html")
    with call.wiring.database.read() as session:
        found = tasks.list_tasks(session, page=Page(), user_id=user.id)
        post_count = accounts.count_posts(session, user.id)
    shown = [answers.show(call, seen) for seen in found]
    active = any(one["finished_at"] is None for one in shown)
    return _render(call, "home.html", refresh=active, tasks=shown, post_count=post_count)


def sign_in_form(call: Call) -> Response:
    """The form to sign in with."""
    return _render(call, "sign_in.html", back="/", name="", complaint=None)


def submit_sign_in(call: Call) -> Response:
    """Sign in, set the cookie, and go back to where the form was needed."""
    raw = bytes(call.request.raw_body or b"").decode(errors="replace")
    fields = {name: values[-1] for name, values in parse_qs(raw).items()}
    name, back = fields.get("username", ""), fields.get("back", "/")
    try:
        new = sign_in(call, username=name, password=fields.get("password", ""))
    except CarryoutError as error:
        status = int(status_of(error))
        complaint = error.detail
        return _render(
            call, "sign_in.html", status=status, back=back, name=name, complaint=complaint
        )
    max_age_s = int((new.expires_at - call.now).total_seconds())
    cookie = _cookie(call, new.token, max_age_s=max_age_s)
    return call.see_other(_own_path(back), **{"Set-Cookie": cookie})


def _own_path(path: str) -> str:
    """A path of ours, whatever a form said: never another site's address."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"


def _cookie(call: Call, token: str, *, max_age_s: int) -> str:
    secure = "; Secure" if call.wiring.settings.public_url.startswith("https:") else ""
    path = call.prefix or "/"
    return f"{COOKIE}={token}; Path={path}; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}"


def submit_sign_out(call: Call) -> Response:
    """Revoke the session and forget the cookie."""
    _form(call)
    if call.cookie is not None:
        with call.wiring.database.write() as session:
            accounts.revoke(session, call.cookie)
    return call.see_other("/", **{"Set-Cookie": _cookie(call, "", max_age_s=0)})


def submit_export(call: Call) -> Response:
    """Ask for an export and go to its page, or to the page of the one that is running."""
    _ = call.user
    _form(call)
    try:
        task_id = answers.launch(call, "export_posts", {}).headers["Location"].rpartition("/")[2]
    except TaskInProgress as error:
        task_id = error.task_id
    return call.see_other(f"/exports/{task_id}")


def profile(call: Call, username: str) -> Response:
    """A user's newest posts."""
    with call.wiring.database.read() as session:
        owner = accounts.find_user(session, username)
        if owner is None:
            raise NotFound
        found = posts.list_posts(session, owner.id, page=Page())
    return _render(call, "profile.html", owner=owner, posts=found)


def export(call: Call, task_id: str) -> Response:
    """How far an export is, then its download; the page that mails link to."""
    try:
        user_id = call.user.id
    except Unauthenticated:
        return _ask_to_sign_in(call, back=f"/exports/{task_id}")
    with call.wiring.database.read() as session:
        seen = tasks.get_task(session, user_id, task_id)
    shown = answers.show(call, seen)
    return _render(call, "export.html", refresh=shown["finished_at"] is None, task=shown)


def admin(call: Call) -> Response:
    """The queue, the workers and the newest tasks, for administrators."""
    try:
        is_admin = call.user.is_admin
    except Unauthenticated:
        return _ask_to_sign_in(call, back="/admin")
    if not is_admin:
        raise Forbidden
    with call.wiring.database.read() as session:
        found = tasks.list_tasks(session, page=Page())
    shown = [answers.show(call, seen) for seen in found]
    workers = answers.workers(call)["items"] or []
    queue = answers.queue_state(call)
    return _render(call, "admin.html", queue=queue, workers=workers, tasks=shown)


def docs(call: Call, endpoints: Iterable[Endpoint]) -> Response:
    """The API for people."""
    return _render(call, "docs.html", endpoints=list(endpoints))
