"""Profiles: a user's posts."""

from chalice.app import Response

from chalicelib.accounts import accounts
from chalicelib.errors import NotFound
from chalicelib.microblog import posts
from chalicelib.schemas.requests import ListQuery
from chalicelib.values.fields import PostBody, flaw
from chalicelib.values.paging import cursor
from chalicelib.web import actions, answers
from chalicelib.web.api import Call
from chalicelib.web.pages.messages import flaws_of
from chalicelib.web.pages.page_rendering import form, is_live, language, render


def profile(call: Call, username: str) -> Response:
    """A user's posts, the newest first."""
    return _render(call, username)


def _render(
    call: Call, username: str, *, status: int = 200, draft: str = "", complaint: str | None = None
) -> Response:
    user = call.user
    page = answers.page_of(call.query(ListQuery), numbered=True)
    with call.wiring.database.read() as session:
        owner = accounts.find_user(session, username)
        if owner is None:
            raise NotFound
        found, more = (
            ([], False) if is_live(call) else posts.list_posts(session, owner.id, page=page)
        )
        post_count = accounts.count_posts(session, owner.id)
    last = found[-1] if more else None
    return render(
        call,
        "profile.html",
        status=status,
        owner=owner,
        own=owner.id == user.id,
        posts=found,
        post_count=post_count,
        first_page=page.before is None,
        more=cursor(last.timestamp, last.id) if last else None,
        draft=draft,
        complaint=complaint,
    )


def submit_post(call: Call) -> Response:
    """Write a post and go to where it stands."""
    user = call.user
    # Forms send CRLF whatever was typed (HTML standard, 4.10.21.8).
    body = form(call).get("body", "").replace("\r\n", "\n")
    if flaw(body, PostBody) or not body.strip():
        told = flaws_of(language(call))["/body"]
        return _render(call, user.username, status=422, draft=body, complaint=told)
    with call.wiring.database.write() as session:
        posts.write_post(session, user.id, body, now=call.now)
    return call.see_other(f"/users/{user.username}")


def submit_deletion(call: Call, post_id: str) -> Response:
    """Delete one's own post."""
    user = call.user
    form(call)
    actions.delete_post(call, post_id)
    return call.see_other(f"/users/{user.username}")
