"""The way in and the way out: sign up, sign in, sign out."""

import msgspec
from chalice.app import Response

from chalicelib.accounts import accounts
from chalicelib.errors import Conflict, Invalid, RegistrationClosed, RequestError
from chalicelib.schemas.requests import SignUp
from chalicelib.values.fields import check
from chalicelib.web import recovery
from chalicelib.web.api import COOKIE, Call
from chalicelib.web.pages.messages import complaint
from chalicelib.web.pages.page_rendering import (
    fields,
    form,
    language,
    own_path,
    path,
    render,
    visitor,
)
from chalicelib.web.problems import status_of
from chalicelib.web.sessions import open_session, sign_in


def sign_in_form(call: Call) -> Response:
    """The form to sign in with."""
    if visitor(call) is not None:
        return call.see_other("/")
    return render(call, "sign_in.html", back="/", name="", complaint=None)


def ask_to_sign_in(call: Call, error: RequestError) -> Response:
    """The form in the place of a page that is not for strangers; it leads back there."""
    back = path(call) if call.request.method == "GET" else "/"
    return render(
        call,
        "sign_in.html",
        status=401,
        headers=error.headers,
        back=back,
        name="",
        complaint=complaint(error, language(call)),
    )


def submit_sign_in(call: Call) -> Response:
    """Sign in, set the cookie, and go back to where the form was needed."""
    given = fields(call)
    name, back = given.get("username", ""), given.get("back", "/")
    try:
        new = sign_in(call, username=name, password=given.get("password", ""))
    except RequestError as error:
        words = language(call)
        wrong = words.gettext("Incorrect username or password.")
        return render(
            call,
            "sign_in.html",
            status=int(status_of(error)),
            headers=error.headers,
            back=back,
            name=name,
            complaint=wrong if error.code == "unauthenticated" else complaint(error, words),
        )
    return _enter(call, new, back=own_path(back))


def sign_up_form(call: Call) -> Response:
    """The form to make an account with."""
    if visitor(call) is not None:
        return call.see_other("/")
    if call.wiring.settings.registration == "closed":
        raise RegistrationClosed
    return render(call, "sign_up.html", given={}, complaint=None)


def submit_sign_up(call: Call) -> Response:
    """Make an account, and sign in with it."""
    if call.wiring.settings.registration == "closed":
        raise RegistrationClosed
    given, verify = fields(call), call.wiring.settings.verify_email
    wanted = {name: given.get(name, "") for name in SignUp.__struct_fields__}
    try:
        new = accounts.NewUser(**msgspec.structs.asdict(check(wanted, SignUp)))
        with call.wiring.database.write() as session:
            user_id = accounts.sign_up(session, new, now=call.now, verify=verify).id
    except (Invalid, Conflict) as error:
        words, status = language(call), int(status_of(error))
        told = complaint(error, words)
        return render(call, "sign_up.html", status=status, given=given, complaint=told)
    if verify:
        recovery.ring(call)
    return _enter(call, open_session(call, user_id), back=f"/users/{new.username}")


def _enter(call: Call, new: accounts.NewToken, *, back: str) -> Response:
    max_age_s = int((new.expires_at - call.now).total_seconds())
    return call.see_other(back, **{"Set-Cookie": cookie(call, new.token, max_age_s=max_age_s)})


def cookie(call: Call, token: str, *, max_age_s: int) -> str:
    """The session's cookie; an empty one of no age takes it away."""
    secure = "; Secure" if call.wiring.settings.public_url.startswith("https:") else ""
    path = call.prefix or "/"
    return f"{COOKIE}={token}; Path={path}; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}"


def submit_sign_out(call: Call) -> Response:
    """Revoke the session and forget the cookie."""
    form(call)
    if call.cookie is not None:
        with call.wiring.database.write() as session:
            accounts.revoke(session, call.cookie)
    return call.see_other("/", **{"Set-Cookie": cookie(call, "", max_age_s=0)})
