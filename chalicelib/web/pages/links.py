"""Where the links in mails about accounts lead: a new password, a confirmed address.

Looking at such a page changes nothing: programs that check mails for viruses open their links.
"""

from chalice.app import Response

from chalicelib.accounts import link_keys
from chalicelib.errors import Invalid, LinkOver, RequestError, TooMany
from chalicelib.values.fields import Email, Password, flaw
from chalicelib.web import recovery
from chalicelib.web.api import Call
from chalicelib.web.pages.messages import complaint, flaws_of
from chalicelib.web.pages.page_rendering import fields, language, render
from chalicelib.web.problems import status_of


def forgot_form(call: Call) -> Response:
    """The form to ask for a new password with."""
    return render(call, "forgot.html", asked=False, email="", complaint=None)


def submit_forgot(call: Call) -> Response:
    """Have the link mailed; the page is the same for an address that nobody has."""
    email = fields(call).get("email", "")
    if flaw(email, Email):
        told = flaws_of(language(call))["/email"]
        return render(call, "forgot.html", status=422, asked=False, email=email, complaint=told)
    try:
        recovery.ask_for_reset(call, email)
    except TooMany as error:
        return render(
            call,
            "forgot.html",
            status=429,
            headers=error.headers,
            asked=False,
            email=email,
            complaint=complaint(error, language(call)),
        )
    return render(call, "forgot.html", asked=True, email=email, complaint=None)


def new_password_form(call: Call) -> Response:
    """The form that the link of a mail leads to."""
    return _new_password(call, _key(call))


def _new_password(
    call: Call, key: str, *, status: int = 200, done: bool = False, told: str | None = None
) -> Response:
    name = ""
    if not done:  # whoever has the key may know: the mail that brought it says the name, too
        with call.wiring.database.read() as session:
            user = link_keys.whose(session, key, "reset", now=call.now)
        name = user.username if user else ""
    return render(
        call, "new_password.html", status=status, key=key, name=name, done=done, complaint=told
    )


def submit_new_password(call: Call) -> Response:
    """Set the new password."""
    given = fields(call)
    key, password = given.get("key", ""), given.get("password", "")
    told, status = None, 200
    if flaw(password, Password):
        told, status = flaws_of(language(call))["/password"], int(status_of(Invalid))
    else:
        try:
            recovery.reset_password(call, key=key, password=password)
        except LinkOver as error:
            told, status = complaint(error, language(call)), int(status_of(error))
    return _new_password(call, key, status=status, done=told is None, told=told)


def confirm_form(call: Call) -> Response:
    """The button that the link of a mail leads to."""
    return render(call, "confirm.html", key=_key(call), done=False, complaint=None)


def submit_confirm(call: Call) -> Response:
    """Confirm the address."""
    key = fields(call).get("key", "")
    told, status = None, 200
    try:
        recovery.confirm_address(call, key)
    except RequestError as error:
        told, status = complaint(error, language(call)), int(status_of(error))
    done = told is None
    return render(call, "confirm.html", status=status, key=key, done=done, complaint=told)


def _key(call: Call) -> str:
    given: str = (call.request.query_params or {}).get("key", "")
    return given
