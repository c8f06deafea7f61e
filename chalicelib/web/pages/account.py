"""The account: mail address, language, password, and the end of it."""

from typing import Any

import msgspec
from chalice.app import Response

from chalicelib.accounts import accounts
from chalicelib.errors import Conflict, Invalid, RequestError, TooMany, WrongPassword
from chalicelib.schemas.requests import PasswordChange, Profile
from chalicelib.values.fields import check
from chalicelib.web import actions, recovery
from chalicelib.web.api import Call
from chalicelib.web.pages.messages import complaint
from chalicelib.web.pages.page_rendering import form, language, render
from chalicelib.web.pages.sign_in import cookie
from chalicelib.web.problems import status_of


def account(call: Call) -> Response:
    """One's own account."""
    saved = (call.request.query_params or {}).get("saved")
    return _render(call, saved=saved)


def _render(call: Call, *, status: int = 200, **facts: Any) -> Response:
    user = call.user
    with call.wiring.database.read() as session:
        post_count = accounts.count_posts(session, user.id)
    shown: dict[str, Any] = {"saved": None, "complaints": {}, "given": {}, **facts}
    return render(call, "account.html", status=status, post_count=post_count, **shown)


def _refuse(call: Call, error: RequestError, *, at: str, **facts: Any) -> Response:
    """The page again, with what is wrong at one of its forms."""
    # 422, not 403: for this page a wrong password is a field to be filled in anew.
    status = status_of(Invalid if isinstance(error, WrongPassword) else error)
    complaints = {at: complaint(error, language(call))}
    return _render(call, status=int(status), headers=error.headers, complaints=complaints, **facts)


def submit_account(call: Call) -> Response:
    """Change the mail address, the language, or both; an address takes the password."""
    user = call.user
    given = form(call)
    wanted = {name: given[name] for name in Profile.__struct_fields__ if name in given}
    try:
        changes = msgspec.structs.asdict(check(wanted, Profile))
        changes = {name: value for name, value in changes.items() if value is not msgspec.UNSET}
        if changes.get("email", user.email) != user.email:
            recovery.require_password(call, given.get("current_password", ""))
        with call.wiring.database.write() as session:
            accounts.change_user(
                session, user.id, changes, now=call.now, verify=call.wiring.settings.verify_email
            )
    except (Invalid, Conflict, WrongPassword, TooMany) as error:
        return _refuse(call, error, at="account", given=given)
    if "email" in changes:
        recovery.ring(call)
    return call.see_other("/account?saved=1")


def submit_password(call: Call) -> Response:
    """Change the password, if the present one is right; all other sessions end."""
    given = form(call)
    current, password = given.get("current_password", ""), given.get("new_password", "")
    try:
        check({"current_password": current, "password": password}, PasswordChange)
        recovery.change_password(call, current=current, password=password)
    except (Invalid, WrongPassword, TooMany) as error:
        return _refuse(call, error, at="password")
    return call.see_other("/account?saved=password")


def submit_erase(call: Call) -> Response:
    """Erase the account, if the password is right."""
    given = form(call)
    try:
        recovery.require_password(call, given.get("password", ""))
    except (WrongPassword, TooMany) as error:
        return _refuse(call, error, at="erase")
    actions.erase(call)
    gone = {"Set-Cookie": cookie(call, "", max_age_s=0)}
    return render(call, "welcome.html", headers=gone, user=None, erased=True)
