"""Sign up, sign in, sign out."""

import secrets

from chalice.app import Response

from chalicelib.accounts import accounts
from chalicelib.errors import Conflict, Invalid, NotFound, RequestError
from chalicelib.microblog import posts
from chalicelib.schemas.requests import SignUp
from chalicelib.values.fields import check
from chalicelib.values.languages import Language
from chalicelib.web import account_actions
from chalicelib.web.pages.messages import complaint
from chalicelib.web.pages.page_rendering import language, own_path, path, render, visitor
from chalicelib.web.problems import status_of
from chalicelib.web.request import Call
from chalicelib.web.sessions import open_session, sign_in, sign_out


def sign_in_form(call: Call) -> Response:
    """The form to sign in with."""
    if visitor(call) is not None:
        return call.see_other("/")
    return render(call, "sign_in.html", back="/", name="", complaint=None)


def ask_to_sign_in(call: Call, error: RequestError) -> Response:
    """The form in place of a page that needs a session; it leads back to that page."""
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
    """Sign in, set the cookie, and go back to the page that needed a session."""
    given = call.form
    name, back = given.get("username", ""), given.get("back", "/")
    try:
        new = sign_in(call, username=name, password=given.get("password", ""))
    except RequestError as error:
        return render(
            call,
            "sign_in.html",
            status=status_of(error),
            headers=error.headers,
            back=back,
            name=name,
            complaint=complaint(error, language(call)),
        )
    return _enter(call, new, back=own_path(back))


def sign_up_form(call: Call) -> Response:
    """The form to create an account with."""
    if visitor(call) is not None:
        return call.see_other("/")
    account_actions.require_open_registration(call)
    return render(call, "sign_up.html", given={}, complaint=None)


def submit_sign_up(call: Call) -> Response:
    """Create an account, and sign in with it."""
    wanted = {name: call.form.get(name, "") for name in SignUp.__struct_fields__}
    try:
        user = account_actions.sign_up(call, check(wanted, SignUp))
    except (Invalid, Conflict) as error:
        told = complaint(error, language(call))
        status = status_of(error)
        return render(call, "sign_up.html", status=status, given=call.form, complaint=told)
    return _enter(call, open_session(call, user["id"]), back=f"/users/{user['username']}")


def submit_try(call: Call) -> Response:
    """Create an account that nobody can sign in to again, with a few posts, and enter it.

    Raises:
        NotFound: This is no demo.
    """
    if not call.wiring.settings.offers_guests:
        raise NotFound
    name = f"guest-{secrets.token_hex(4)}"
    # RFC 2606: nobody gets the email of this domain.
    wanted = {"username": name, "email": f"{name}@example.com", "language": language(call).code}
    new = check({**wanted, "password": secrets.token_urlsafe()}, SignUp)
    user = account_actions.sign_up(call, new)
    session = open_session(call, user["id"])
    with call.wiring.database.write() as writing:
        for body in _first_posts(language(call)):
            posts.write_post(writing, user["id"], body, now=call.now)
    return _enter(call, session, back="/")


def _first_posts(language: Language) -> tuple[str, ...]:
    return (
        language.gettext("This is your first post. Write another one, or export them all."),
        language.gettext("Close the page while an export runs: it goes on without you."),
        language.gettext("Everything here is gone when you delete the account."),
    )


def _enter(call: Call, new: accounts.NewToken, *, back: str) -> Response:
    max_age_s = int((new.expires_at - call.now).total_seconds())
    return call.see_other(back, **{"Set-Cookie": cookie(call, new.token, max_age_s=max_age_s)})


def cookie(call: Call, token: str, *, max_age_s: int) -> str:
    """The session's cookie; an empty one with no age deletes it."""
    # `__Host-` asks for the path `/`, also on a stage, whose host is the deployment's own.
    scope = "Path=/; Secure" if call.wiring.settings.is_https else f"Path={call.prefix or '/'}"
    return f"{call.cookie_name}={token}; {scope}; Max-Age={max_age_s}; HttpOnly; SameSite=Strict"


def submit_sign_out(call: Call) -> Response:
    """Revoke the session and forget the cookie."""
    sign_out(call, call.cookie)
    return call.see_other("/", **{"Set-Cookie": cookie(call, "", max_age_s=0)})
