"""The home page and the pages of exports: ask for one, watch it, have it."""

from chalice.app import Response

from chalicelib.accounts import accounts
from chalicelib.errors import NotFound, TaskInProgress
from chalicelib.exports import files
from chalicelib.schemas.requests import ListQuery
from chalicelib.tasks import requests as task_requests
from chalicelib.values.paging import cursor
from chalicelib.web import actions, answers
from chalicelib.web.api import Call
from chalicelib.web.pages import cards
from chalicelib.web.pages.page_rendering import form, language, own_path, render, visitor

REFRESH_S = 3
"""How often a page without JavaScript reloads itself while a task is not over."""


def home(call: Call) -> Response:
    """One's own exports and the button, or the way in."""
    user = visitor(call)
    if user is None:
        return render(call, "welcome.html", erased=False)
    page = answers.page_of(call.query(ListQuery))
    with call.wiring.database.read() as session:
        found, more = task_requests.list_tasks(
            session, page=page, user_id=user.id, name="export_posts"
        )
        post_count = accounts.count_posts(session, user.id)
    shown = [cards.card(call, seen, language(call)) for seen in found]
    last = found[-1].task if more else None
    return render(
        call,
        "home.html",
        refresh_s=REFRESH_S,
        exports=[one for one in shown if not one.active],
        running=any(one.active for one in shown),
        post_count=post_count,
        first_page=page.before is None,
        more=cursor(last.created_at, last.id) if last else None,
    )


def export(call: Call, task_id: str) -> Response:
    """How far an export is, then its download; the page that mails link to."""
    user_id = call.user.id
    with call.wiring.database.read() as session:
        seen = task_requests.get_task(session, user_id, task_id)
    if not files.is_export(seen.task):
        raise NotFound
    shown = cards.card(call, seen, language(call))
    return render(call, "export.html", refresh_s=REFRESH_S, card=shown)


def submit_export(call: Call) -> Response:
    """Ask for an export and go to its page, or to the page of the one that is running."""
    _ = call.user
    form(call)
    try:
        task_id = answers.launch(call, "export_posts", {}).headers["Location"].rpartition("/")[2]
    except TaskInProgress as error:
        task_id = error.task_id
    return call.see_other(f"/exports/{task_id}")


def submit_cancel(call: Call, task_id: str) -> Response:
    """Cancel a task and go back to where the button was."""
    _ = call.user
    back = own_path(form(call).get("back", "/"))
    actions.cancel(call, task_id)
    return call.see_other(back)


def submit_retry(call: Call, task_id: str) -> Response:
    """Try an export again, or go to the page of the one that is running."""
    _ = call.user
    form(call)
    try:
        actions.retry(call, task_id)
    except TaskInProgress as error:
        task_id = error.task_id
    return call.see_other(f"/exports/{task_id}")


def submit_deletion(call: Call, task_id: str) -> Response:
    """Delete an export's file."""
    _ = call.user
    form(call)
    actions.delete_file(call, task_id)
    return call.see_other(f"/exports/{task_id}")


def submit_mail(call: Call, task_id: str) -> Response:
    """Have an export's mail sent again."""
    _ = call.user
    form(call)
    actions.mail_again(call, task_id)
    return call.see_other(f"/exports/{task_id}")
