"""Signing in, checking the password again, and signing out; for the API and for the pages."""

from contextlib import nullcontext

from chalicelib.accounts import accounts, passwords
from chalicelib.accounts.rate_limits import HASHES_PER_NETWORK, SignInLimit
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
    wiring.rate_limiter.spend((HASHES_PER_NETWORK, call.network))
    limit = sign_in_limit(call, username)
    with limit.attempt(now=call.now) if wiring.settings.limits else nullcontext():
        with wiring.database.read() as session:
            user = accounts.find_user(session, username)
        return accounts.check_password(user, password)


def sign_in_limit(call: Call, username: str) -> SignInLimit:
    """What counts wrong passwords for an account from where the request comes."""
    wiring = call.wiring
    return SignInLimit(
        wiring.rate_limiter, wiring.database, username=username, address=call.network
    )


def hash_password(call: Call, password: str) -> str:
    """Hash a new password.

    Raises:
        TooMany: Too many passwords were looked at for the caller's network.
        Unavailable: Too many are being hashed at the moment.
    """
    call.wiring.rate_limiter.spend((HASHES_PER_NETWORK, call.network))
    return passwords.hash_password(password)


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
