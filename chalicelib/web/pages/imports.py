"""The pages of imports: choose a file, watch it go up and in, fetch the report."""

from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec
from chalice.app import Response

from chalicelib.adapters.object_store import SignedUpload
from chalicelib.db.models import ImportUpload
from chalicelib.errors import NotFound, TaskInProgress
from chalicelib.exports.views import view_task
from chalicelib.imports import uploads
from chalicelib.imports.reasons import Reason
from chalicelib.imports.uploads import ImportView, is_waiting
from chalicelib.schemas.imports import ImportListQuery, NewImport, state_of
from chalicelib.values.paging import cursor
from chalicelib.web import imports as actions
from chalicelib.web import lists
from chalicelib.web.pages import cards
from chalicelib.web.pages.cards import Card
from chalicelib.web.pages.import_messages import reason, told
from chalicelib.web.pages.page_rendering import language, render
from chalicelib.web.request import Call

REFRESH_S = 3
"""How often a page without JavaScript reloads itself while a task is not over."""


@dataclass(frozen=True)
class Shown:
    """An import for a template.

    Attributes:
        upload: The row.
        state: Where it stands.
        reason: Why it failed, as a sentence; None unless it did.
        has_report: Whether its report can be fetched.
    """

    upload: ImportUpload
    state: str
    reason: str | None
    has_report: bool


def imports(call: Call) -> Response:
    """The caller's imports, and the form for a new one."""
    page = lists.page_of(call.query(ImportListQuery))
    with call.wiring.database.read() as session:
        found, more = uploads.list_imports(session, call.user.id, page=page)
    last = found[-1].upload if more else None
    return render(
        call,
        "imports.html",
        refresh_s=REFRESH_S,
        imports=[_shown(call, one) for one in found if one.task or one.upload.filename],
        first_page=page.before is None,
        max_bytes=call.wiring.settings.import_max_bytes,
        told=told(language(call)),
        more=cursor(last.created_at, last.id) if last else None,
        uploads_to=_bucket_of(call),
    )


def _bucket_of(call: Call) -> str:
    """The origin that files are uploaded to."""
    url = call.wiring.object_store.sign_upload("imports/", size_bytes=None, ttl_s=1).url
    return origin_of(url)


def origin_of(url: str) -> str:
    """A URL's origin, for the page's policy of what it may speak to."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def submit_import(call: Call) -> Response:
    """Begin an import; its page has the form that uploads the file."""
    view = actions.create(call, NewImport(msgspec.UNSET, msgspec.UNSET))
    return call.see_other(f"/imports/{view.upload.id}")


def one_import(call: Call, import_id: str) -> Response:
    """Where an import stands, and what can be done about it."""
    view = actions.find(call, import_id)
    waiting = is_waiting(view.upload, now=call.now)
    has_file = waiting and actions.look(call, view) is not None
    form = _form(call, view) if waiting and not has_file else None
    return render(
        call,
        "import.html",
        refresh_s=REFRESH_S,
        shown=_shown(call, view),
        card=_card(call, view),
        has_file=has_file,
        form=form,
        max_bytes=call.wiring.settings.import_max_bytes,
        reasons=list(Reason),
        uploads_to=origin_of(form.url) if form else "",
    )


def _form(call: Call, view: ImportView) -> SignedUpload:
    back = f"{_own_url(call)}/imports/{view.upload.id}/uploaded"
    return actions.sign_form(call, view, redirect=back)


def _own_url(call: Call) -> str:
    """Where the browser has reached the application; the bucket sends it back there."""
    headers = call.request.headers
    host, known = headers.get("host"), urlsplit(call.wiring.settings.public_url)
    scheme = headers.get("x-forwarded-proto") or known.scheme
    return f"{scheme}://{host or known.netloc}{call.prefix}"


def _card(call: Call, view: ImportView) -> Card | None:
    if view.task is None:
        return None
    with call.wiring.database.read() as session:
        task = view_task(session, view.task.id, owner=call.user.id)
    return cards.card(call, task, language(call))


def _shown(call: Call, view: ImportView) -> Shown:
    one, task = view.upload, view.task
    until = one.report_expires_at
    has_report = one.report_gone_at is None and until is not None and until > call.now
    failed = task is not None and task.status == "failed"
    return Shown(
        upload=one,
        state=state_of(view, now=call.now),
        reason=reason(task, language(call)) if task is not None and failed else None,
        has_report=has_report,
    )


def uploaded(call: Call, import_id: str) -> Response:
    """Where the bucket sends a browser after an upload.

    A browser does not send a `SameSite=Strict` cookie with a redirect from another site. It does
    when a page of ours goes on to the import's page.

    Raises:
        NotFound: No import can have such an id.
    """
    if not (import_id.isascii() and import_id.replace("-", "").isalnum()):
        raise NotFound
    return render(call, "uploaded.html", user=None, import_id=import_id)


def submit_start(call: Call, import_id: str) -> Response:
    """Start an import, or go to it if it is started already."""
    with suppress(TaskInProgress):
        actions.start(call, import_id)
    return call.see_other(f"/imports/{import_id}")
