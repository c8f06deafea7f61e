"""Signing in, checking the password again, and signing out; for the API and for the pages."""

from contextlib import nullcontext

from chalicelib.accounts import accounts
from chalicelib.accounts.rate_limits import SignInLimit
from chalicelib.errors import WrongCredentials, WrongPassword
from chalicelib.web.request import Call


def check_password(call: Call, *, username: str, password: str) -> int:
    """Check a password, within the limit for failed sign-ins.

    Returns:
        The user's id.

    Raises:
        WrongCredentials: The name or the password is wrong; the error does not tell which.
        TooManyAttempts: Too many attempts failed recently.
    """
    wiring = call.wiring
    limit = SignInLimit(
        wiring.rate_limiter, wiring.database, username=username, address=call.address
    )
    with limit.attempt(now=call.now) if wiring.settings.limits else nullcontext():
        with wiring.database.read() as session:
            user = accounts.find_user(session, username)
        return accounts.check_password(user, password)


def require_password(call: Call, password: str) -> None:
    """Check that the caller knows the account's password and has not just found an open session.

    Raises:
        WrongPassword: The password is wrong.
        TooManyAttempts: Too many were wrong recently, here or at the sign-in.
    """
    try:
        check_password(call, username=call.user.username, password=password)
    except WrongCredentials as error:
        raise WrongPassword from error


def sign_in(call: Call, *, username: str, password: str) -> accounts.NewToken:
    """Check a password and issue a token; the errors are those of `check_password`."""
    user_id = check_password(call, username=username, password=password)
    return open_session(call, user_id)


def open_session(call: Call, user_id: int) -> accounts.NewToken:
    """Issue a token."""
    wiring = call.wiring
    with wiring.database.write() as session:
        return accounts.issue_token(
            session, user_id, ttl_s=wiring.settings.token_ttl_s, now=call.now
        )


def sign_out(call: Call, token: str | None) -> None:
    """Revoke a token; None is nobody's."""
    if token is not None:
        with call.wiring.database.write() as session:
            accounts.revoke(session, token)
