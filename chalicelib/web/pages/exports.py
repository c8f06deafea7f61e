"""The home page and the pages of exports: request one, follow it, download it."""

from dataclasses import dataclass

from chalice.app import Response

from chalicelib.errors import Invalid, NotFound, TaskInProgress
from chalicelib.exports.estimates import estimate_rows
from chalicelib.exports.kinds import Export, export_kinds
from chalicelib.exports.views import list_tasks, view_task
from chalicelib.schemas.requests import ListQuery
from chalicelib.tasks.registry import TASKS
from chalicelib.values.paging import cursor
from chalicelib.web import actions, lists
from chalicelib.web.pages import cards, choosing
from chalicelib.web.pages.page_rendering import is_live, language, own_path, render, visitor
from chalicelib.web.request import Call

REFRESH_S = 3
"""How often a page without JavaScript reloads itself while a task is not over."""


@dataclass(frozen=True)
class Offer:
    """An export that can be requested now.

    Attributes:
        kind: The kind of export.
        rows: How many rows it would have, about; 0 where its words do not say.
    """

    kind: Export
    rows: int


def home(call: Call, *, complaint: str | None = None) -> Response:
    """The caller's exports and buttons for new ones, or the welcome page.

    Args:
        call: The request.
        complaint: What is wrong with what the caller chose.
    """
    user = visitor(call)
    if user is None:
        return render(call, "welcome.html", erased=False)
    page = lists.page_of(call.query(ListQuery))
    names = [kind.name for kind in export_kinds()]
    with call.wiring.database.read() as session:
        found, more = list_tasks(session, page=page, user_id=user.id, names=names)
    shown = [cards.card(call, view, language(call)) for view in found]
    last = found[-1].task if more else None
    is_first = page.before is None
    return render(
        call,
        "home.html",
        status=422 if complaint else 200,
        refresh_s=REFRESH_S,
        exports=[one for one in shown if not one.active],
        offers=[_offer(call, kind) for kind in export_kinds()] if is_first else [],
        first_page=is_first,
        # It stands beside the parts of the page that change, so as not to close under one's hands.
        chooser=choosing.chooser(call, complaint) if is_first and not is_live(call) else None,
        more=cursor(last.created_at, last.id) if last else None,
    )


def _offer(call: Call, kind: Export) -> Offer:
    rows = 0
    if "%(number)s" in kind.words.offer[1]:
        rows = sum(estimate_rows(call.wiring.database, call.user.id, kind.datasets))
    return Offer(kind, rows)


def export(call: Call, task_id: str) -> Response:
    """How far an export is, then its download; the page that emails link to."""
    with call.wiring.database.read() as session:
        view = view_task(session, task_id, owner=call.user.id)
    shown = cards.card(call, view, language(call))
    if shown.kind is None:
        raise NotFound
    return render(call, "export.html", refresh_s=REFRESH_S, card=shown)


def submit_export(call: Call) -> Response:
    """Request an export and go to its page, or to the page of the one that is running."""
    kind = TASKS.get(call.form.get("name", ""))
    if not isinstance(kind, Export):
        raise NotFound
    try:
        params = choosing.params(call, kind)
    except Invalid as error:
        return home(call, complaint=choosing.complaint(error, language(call)))
    return call.see_other(f"/exports/{actions.launch_or_find(call, kind.name, params)}")


def submit_cancel(call: Call, task_id: str) -> Response:
    """Cancel a task and go back to where the button was."""
    back = own_path(call.form.get("back", "/"))
    actions.cancel(call, task_id)
    return call.see_other(back)


def submit_retry(call: Call, task_id: str) -> Response:
    """Try an export again, or go to the page of the one that is running."""
    try:
        actions.retry(call, task_id)
    except TaskInProgress as error:
        task_id = error.task_id
    return call.see_other(f"/exports/{task_id}")


def submit_deletion(call: Call, task_id: str) -> Response:
    """Delete an export's file."""
    actions.delete_file(call, task_id)
    return call.see_other(f"/exports/{task_id}")


def submit_email(call: Call, task_id: str) -> Response:
    """Send the email about an export again."""
    actions.email_again(call, task_id)
    return call.see_other(f"/exports/{task_id}")
