"""Profiles: a user's posts."""

from chalice.app import Response

from chalicelib.accounts import accounts
from chalicelib.errors import NotFound, QuotaExceeded
from chalicelib.exports.kinds import export_kinds
from chalicelib.microblog import posts
from chalicelib.schemas.requests import ListQuery
from chalicelib.values.fields import PostBody, flaw
from chalicelib.values.paging import cursor
from chalicelib.web import actions, lists
from chalicelib.web.pages.messages import complaint, flaws_of
from chalicelib.web.pages.page_rendering import is_live, language, render
from chalicelib.web.problems import status_of
from chalicelib.web.request import Call


def profile(call: Call, username: str) -> Response:
    """A user's posts, the newest first."""
    return _render(call, username)


def _render(
    call: Call, username: str, *, status: int = 200, draft: str = "", complaint: str | None = None
) -> Response:
    user = call.user
    page = lists.page_of(call.query(ListQuery), numbered=True)
    with call.wiring.database.read() as session:
        owner = accounts.find_user(session, username)
        if owner is None:
            raise NotFound
        found, more = (
            ([], False) if is_live(call) else posts.list_posts(session, owner.id, page=page)
        )
        post_count = posts.count_posts(session, owner.id)
    last = found[-1] if more else None
    return render(
        call,
        "profile.html",
        status=status,
        owner=owner,
        own=owner.id == user.id,
        kind=export_kinds()[0],
        posts=found,
        post_count=post_count,
        first_page=page.before is None,
        more=cursor(last.timestamp, last.id) if last else None,
        draft=draft,
        complaint=complaint,
    )


def submit_post(call: Call) -> Response:
    """Write a post and go to its page."""
    user = call.user
    # Forms send CRLF whatever was typed (HTML standard, 4.10.21.8).
    body = call.form.get("body", "").replace("\r\n", "\n")
    if flaw(body, PostBody) or not body.strip():
        told = flaws_of(language(call))["/body"]
        return _render(call, user.username, status=422, draft=body, complaint=told)
    try:
        actions.write_post(call, body)
    except QuotaExceeded as error:
        told = complaint(error, language(call))
        return _render(call, user.username, status=status_of(error), draft=body, complaint=told)
    return call.see_other(f"/users/{user.username}")


def submit_deletion(call: Call, post_id: str) -> Response:
    """Delete one of the caller's posts."""
    user = call.user
    actions.delete_post(call, post_id)
    return call.see_other(f"/users/{user.username}")
