"""Signing in, for the API and for the pages."""

from contextlib import nullcontext

from chalicelib.accounts import accounts
from chalicelib.accounts.rate_limits import SignInLimit
from chalicelib.web.api import Call


def check_password(call: Call, *, username: str, password: str) -> int:
    """Check a password, as often as somebody may try.

    Returns:
        The user's number.

    Raises:
        Unauthenticated: The name or the password is wrong; which of the two is not said.
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
