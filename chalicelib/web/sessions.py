"""Signing in, proving oneself again, and signing out; for the API and for the pages."""

from contextlib import nullcontext

from chalicelib.accounts import accounts
from chalicelib.accounts.rate_limits import SignInLimit
from chalicelib.errors import WrongCredentials, WrongPassword
from chalicelib.web.request import Call


def check_password(call: Call, *, username: str, password: str) -> int:
    """Check a password, as often as somebody may try.

    Returns:
        The user's id.

    Raises:
        WrongCredentials: The name or the password is wrong; which of the two is not said.
        TooManyAttempts: Too many were wrong lately.
    """
    wiring = call.wiring
    limit = SignInLimit(
        wiring.queue.redis, wiring.database, username=username, address=call.address
    )
    with limit.attempt(now=call.now) if wiring.settings.limits else nullcontext():
        with wiring.database.read() as session:
            user = accounts.find_user(session, username)
        return accounts.check_password(user, password)


def require_password(call: Call, password: str) -> None:
    """Have the one who calls show that the session is not all they have.

    Raises:
        WrongPassword: Their password is another one.
        TooManyAttempts: Too many were wrong lately, here or where one signs in.
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


def sign_out(call: Call) -> None:
    """Make the token worthless with which this request came, if it came with any."""
    if call.token is not None:
        with call.wiring.database.write() as session:
            accounts.revoke(session, call.token)
