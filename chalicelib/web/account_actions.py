"""What users do to their accounts, over the API and with the forms of the pages."""

from datetime import timedelta

import msgspec

from chalicelib.accounts import accounts
from chalicelib.accounts.rate_limits import SIGN_UPS_PER_NETWORK
from chalicelib.errors import RegistrationClosed, SignInAgain
from chalicelib.microblog import posts
from chalicelib.schemas import responses
from chalicelib.schemas.requests import Profile, SignUp
from chalicelib.schemas.serializers import show_user
from chalicelib.web import actions
from chalicelib.web.request import Call
from chalicelib.web.sessions import hash_password, require_password

RECENT = timedelta(minutes=15)
"""How old a session may be to erase its account without the password."""


def require_open_registration(call: Call) -> None:
    """Refuse to create an account where sign-up is closed.

    Raises:
        RegistrationClosed: It is.
    """
    if call.wiring.settings.registration == "closed":
        raise RegistrationClosed


def sign_up(call: Call, new: SignUp) -> responses.User:
    """Create an account, and email a link that confirms its address if `VERIFY_EMAIL` is on.

    Raises:
        RegistrationClosed: Sign-up is closed.
        UsernameTaken: Another account has this name, in whatever case.
        EmailTaken: Another account has this address, in whatever case.
        TooMany: Too many accounts were created from the caller's network recently.
    """
    require_open_registration(call)
    verify = call.wiring.settings.verify_email
    wanted = accounts.NewUser(**msgspec.structs.asdict(new))
    with call.wiring.database.read() as session:  # before anything dear is done
        accounts.refuse_taken(session, username=new.username, email=new.email)
    hashed = hash_password(call, new.password)
    counted = call.wiring.rate_limiter.counted((SIGN_UPS_PER_NETWORK, call.network))
    with counted, call.wiring.database.write() as session:
        user = accounts.sign_up(
            session, wanted, now=call.now, verify=verify, cause=call.cause(), hashed=hashed
        )
    if verify:
        call.wiring.outbox_hint.send()
    return show_user(user, post_count=0, prefix=call.prefix)


def show_account(call: Call) -> responses.User:
    """The caller's account."""
    with call.wiring.database.read() as session:
        post_count = posts.count_posts(session, call.user.id)
    return show_user(call.user, post_count=post_count, prefix=call.prefix)


def change_profile(call: Call, wanted: Profile) -> responses.User:
    """Change the caller's email address, language, or both.

    A new address takes the password: exports are sent there, and whoever finds an open session
    must not be able to redirect them.

    Raises:
        WrongPassword: The address is new, and the password beside it is wrong or absent.
        TooManyAttempts: Too many passwords were wrong recently.
        EmailTaken: Another account has this address.
        TooMany: Too many emails were sent to the new address, or because of the caller.
    """
    changes = {
        name: value
        for name, value in msgspec.structs.asdict(wanted).items()
        if value is not msgspec.UNSET and name != "current_password"
    }
    if changes.get("email", call.user.email) != call.user.email:
        require_password(call, wanted.current_password)
    verify = call.wiring.settings.verify_email
    with call.wiring.database.write() as session:
        user = accounts.change_user(
            session,
            call.user.id,
            changes,
            now=call.now,
            verify=verify,
            cause=call.cause(call.user.id),
        )
        post_count = posts.count_posts(session, user.id)
    if "email" in changes:
        call.wiring.outbox_hint.send()
    return show_user(user, post_count=post_count, prefix=call.prefix)


def change_password(call: Call, *, current: str, password: str) -> None:
    """Change the caller's password; all other sessions end.

    The errors are those of `require_password`.
    """
    require_password(call, current)
    hashed = hash_password(call, password)
    with call.wiring.database.write() as session:
        accounts.set_password(session, call.user.id, hashed, keep=call.token or "")


def erase(call: Call, *, password: str | None = None) -> None:
    """Erase the caller's account and everything in it.

    Args:
        call: The request.
        password: The caller's password; None is enough soon after signing in.

    Raises:
        SignInAgain: There is no password, and the session is older than `RECENT`.
        WrongPassword: The password is wrong.
        TooManyAttempts: Too many passwords were wrong recently.
    """
    if password is None:
        _require_recent_session(call)
    else:
        require_password(call, password)
    lease_s = call.wiring.settings.lease_s
    with call.wiring.database.write() as session:
        accounts.erase(session, call.user.id, lease_s=lease_s, now=call.now)
    actions.remove_files(call)


def _require_recent_session(call: Call) -> None:
    with call.wiring.database.read() as session:
        since = accounts.signed_in_at(session, call.token or "")
    if since is None or call.now - since > RECENT:
        raise SignInAgain
