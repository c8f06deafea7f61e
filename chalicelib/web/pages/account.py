"""The account: mail address, language, and the end of it."""

from typing import Any

import msgspec
from chalice.app import Response

from chalicelib import accounts
from chalicelib.errors import Conflict, Invalid, TooMany, Unauthenticated
from chalicelib.fields import check
from chalicelib.web import actions, recovery
from chalicelib.web.api import Call
from chalicelib.web.bodies import Profile
from chalicelib.web.pages.entrance import cookie
from chalicelib.web.pages.frame import form, language, render
from chalicelib.web.pages.words import complaint
from chalicelib.web.problems import status_of
from chalicelib.web.sessions import check_password


def account(call: Call) -> Response:
    """One's own account."""
    saved = "saved" in (call.request.query_params or {})
    return _render(call, given={}, saved=saved)


def _render(call: Call, *, status: int = 200, **facts: Any) -> Response:
    user = call.user
    with call.wiring.database.read() as session:
        post_count = accounts.count_posts(session, user.id)
    facts = {"saved": False, "complaint": None, "wrong_password": None, "given": {}} | facts
    return render(call, "account.html", status=status, post_count=post_count, **facts)


def submit_account(call: Call) -> Response:
    """Change the mail address, the language, or both."""
    user_id = call.user.id
    given = form(call)
    wanted = {name: given[name] for name in Profile.__struct_fields__ if name in given}
    try:
        changes = msgspec.structs.asdict(check(wanted, Profile))
        changes = {name: value for name, value in changes.items() if value is not msgspec.UNSET}
        with call.wiring.database.write() as session:
            accounts.change_user(
                session, user_id, changes, now=call.now, verify=call.wiring.settings.verify_email
            )
    except (Invalid, Conflict) as error:
        told = complaint(error, language(call))
        return _render(call, status=int(status_of(error)), given=given, complaint=told)
    if "email" in changes:
        recovery.ring(call)
    return call.see_other("/account?saved=1")


def submit_erase(call: Call) -> Response:
    """Erase the account, if the password is right."""
    user = call.user
    given = form(call)
    try:
        check_password(call, username=user.username, password=given.get("password", ""))
    except (Unauthenticated, TooMany) as error:
        words = language(call)
        wrong = words.gettext("The password is wrong.")
        told = wrong if isinstance(error, Unauthenticated) else complaint(error, words)
        # Not 401: the session is good, and that is what the script goes by.
        status = 422 if isinstance(error, Unauthenticated) else int(status_of(error))
        return _render(call, status=status, wrong_password=told)
    actions.erase(call)
    gone = {"Set-Cookie": cookie(call, "", max_age_s=0)}
    return render(call, "welcome.html", headers=gone, user=None, erased=True)
