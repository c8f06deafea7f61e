"""Where the links in emails about accounts lead: a new password, a confirmed address.

Looking at such a page changes nothing: programs that scan emails for viruses open their links.
"""

from chalice.app import Response

from chalicelib.accounts import link_keys
from chalicelib.errors import EmailTaken, Invalid, LinkOver, TooMany
from chalicelib.schemas.requests import Reset
from chalicelib.values.fields import Email, check, flaw
from chalicelib.web import recovery
from chalicelib.web.pages.messages import complaint, flaws_of
from chalicelib.web.pages.page_rendering import language, render
from chalicelib.web.problems import status_of
from chalicelib.web.request import Call


def forgot_form(call: Call) -> Response:
    """The form that requests a link to a new password."""
    return render(call, "forgot.html", asked=False, email="", complaint=None)


def submit_forgot(call: Call) -> Response:
    """Email the link; the page is the same for an address that no account has."""
    email = call.form.get("email", "")
    if flaw(email, Email):
        told = flaws_of(language(call))["/email"]
        return render(call, "forgot.html", status=422, asked=False, email=email, complaint=told)
    try:
        recovery.request_reset(call, email)
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
    """The form that the link of an email leads to."""
    key = _key(call)
    name = _name_behind(call, key)
    return render(
        call,
        "new_password.html",
        key=key,
        name=name,
        done=False,
        over=name is None,
        complaint=complaint(LinkOver(), language(call)) if name is None else None,
    )


def submit_new_password(call: Call) -> Response:
    """Set the new password."""
    key, password = call.form.get("key", ""), call.form.get("password", "")
    error: Invalid | LinkOver | None = None
    try:
        check({"key": key, "password": password}, Reset)
        recovery.reset_password(call, key=key, password=password)
    except (Invalid, LinkOver) as refused:
        error = refused
    return render(
        call,
        "new_password.html",
        status=status_of(error) if error else 200,
        key=key,
        name=_name_behind(call, key) if isinstance(error, Invalid) else None,
        done=error is None,
        over=isinstance(error, LinkOver),
        complaint=complaint(error, language(call)) if error else None,
    )


def _name_behind(call: Call, key: str) -> str | None:
    """Whose password a link resets; whoever has it has read the name in the email, too."""
    with call.wiring.database.read() as session:
        user = link_keys.owner_of(session, key, "reset", now=call.now)
    return user.username if user else None


def confirm_form(call: Call) -> Response:
    """The button that the link of an email leads to."""
    return render(call, "confirm.html", key=_key(call), done=False, over=False, complaint=None)


def submit_confirm(call: Call) -> Response:
    """Confirm the address."""
    key, error = call.form.get("key", ""), None
    try:
        recovery.confirm_address(call, key)
    except LinkOver as refused:
        error = refused
    return render(
        call,
        "confirm.html",
        status=status_of(error) if error else 200,
        key=key,
        done=error is None,
        over=error is not None,
        complaint=complaint(error, language(call)) if error else None,
    )


def restore_form(call: Call) -> Response:
    """The button that the link to an old address leads to."""
    return render(call, "restore.html", key=_key(call), done=False, over=False, complaint=None)


def submit_restoration(call: Call) -> Response:
    """Take a change of address back."""
    key, error = call.form.get("key", ""), None
    try:
        recovery.restore_address(call, key)
    except (LinkOver, EmailTaken) as refused:
        error = refused
    return render(
        call,
        "restore.html",
        status=status_of(error) if error else 200,
        key=key,
        done=error is None,
        over=error is not None,
        complaint=complaint(error, language(call)) if error else None,
    )


def _key(call: Call) -> str:
    given: str = (call.request.query_params or {}).get("key", "")
    return given
