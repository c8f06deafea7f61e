"""The account: email address, language, password, and the end of it."""

from typing import Any

from chalice.app import Response

from chalicelib.errors import (
    AddressConfirmed,
    Conflict,
    Invalid,
    RequestError,
    TooMany,
    WrongPassword,
)
from chalicelib.exports.kinds import export_kinds
from chalicelib.schemas.requests import PasswordChange, Profile
from chalicelib.values.fields import check
from chalicelib.web import account_actions, recovery
from chalicelib.web.pages.messages import complaint
from chalicelib.web.pages.page_rendering import language, render
from chalicelib.web.pages.sign_in import cookie
from chalicelib.web.problems import status_of
from chalicelib.web.request import Call


def account(call: Call) -> Response:
    """The caller's account."""
    saved = (call.request.query_params or {}).get("saved")
    return _render(call, saved=saved)


def _render(call: Call, *, status: int = 200, **facts: Any) -> Response:
    shown: dict[str, Any] = {"saved": None, "complaints": {}, "given": {}, **facts}
    return render(call, "account.html", status=status, kinds=export_kinds(), **shown)


def _refuse(call: Call, error: RequestError, *, at: str, **facts: Any) -> Response:
    """The page again, with what is wrong at one of its forms."""
    # 422, not 403: for this page a wrong password is a field to be filled in anew.
    status = status_of(Invalid if isinstance(error, WrongPassword) else error)
    complaints = {at: complaint(error, language(call))}
    return _render(call, status=status, headers=error.headers, complaints=complaints, **facts)


def submit_account(call: Call) -> Response:
    """Change the email address, the language, or both; an address takes the password."""
    given = call.form
    try:
        wanted = {name: given[name] for name in Profile.__struct_fields__ if name in given}
        account_actions.change_profile(call, check(wanted, Profile))
    except (Invalid, Conflict, WrongPassword, TooMany) as error:
        return _refuse(call, error, at="account", given=given)
    return call.see_other("/account?saved=1")


def submit_confirmation(call: Call) -> Response:
    """Email a link that confirms the address, if it is not confirmed by now."""
    try:
        recovery.request_confirmation(call)
    except AddressConfirmed:
        return call.see_other("/account")
    except TooMany as error:
        return _refuse(call, error, at="confirmation")
    return call.see_other("/account?saved=confirmation")


def submit_password(call: Call) -> Response:
    """Change the password, if the current one is right; all other sessions end."""
    current, password = call.form.get("current_password", ""), call.form.get("new_password", "")
    try:
        check({"current_password": current, "password": password}, PasswordChange)
        account_actions.change_password(call, current=current, password=password)
    except (Invalid, WrongPassword, TooMany) as error:
        return _refuse(call, error, at="password")
    return call.see_other("/account?saved=password")


def submit_erase(call: Call) -> Response:
    """Erase the account, if the password is right."""
    try:
        account_actions.erase(call, password=call.form.get("password", ""))
    except (WrongPassword, TooMany) as error:
        return _refuse(call, error, at="erase")
    gone = {"Set-Cookie": cookie(call, "", max_age_s=0)}
    return render(call, "welcome.html", headers=gone, user=None, erased=True)
