"""Links in emails that reset a password or confirm an address, for the API and the pages."""

from chalicelib.accounts import accounts, link_keys
from chalicelib.accounts.rate_limits import EMAILS_PER_USER
from chalicelib.errors import AddressConfirmed
from chalicelib.web.request import Call


def request_reset(call: Call, email: str) -> None:
    """Email a link that resets a password; nobody learns whether the address has an account.

    Raises:
        TooMany: Too many were requested.
    """
    call.wiring.rate_limiter.spend((EMAILS_PER_USER, email.lower()))
    with call.wiring.database.write() as session:
        user = accounts.find_address(session, email)
        if user is not None:
            link_keys.send_link(session, user, "reset", now=call.now)
    call.wiring.outbox_hint.send()


def reset_password(call: Call, *, key: str, password: str) -> None:
    """Set a new password with the link of an email; every session ends.

    Whoever has the link can read the address's email, so the address is confirmed, too.

    Raises:
        LinkOver: The link has expired or was used.
    """
    hashed = accounts.hash_password(password)
    with call.wiring.database.write() as session:
        user = link_keys.use_key(session, key, "reset", now=call.now)
        accounts.set_password(session, user.id, hashed)
        link_keys.confirm(session, user, now=call.now)
    call.wiring.outbox_hint.send()


def request_confirmation(call: Call) -> None:
    """Email a link that confirms the address.

    Raises:
        AddressConfirmed: The address is confirmed already.
        TooMany: Too many were requested.
    """
    if call.user.confirmed_at is not None:
        raise AddressConfirmed
    call.wiring.rate_limiter.spend((EMAILS_PER_USER, call.user.id))
    with call.wiring.database.write() as session:
        link_keys.send_link(session, call.user, "confirm", now=call.now)
    call.wiring.outbox_hint.send()


def confirm_address(call: Call, key: str) -> None:
    """Confirm an address with the link of an email; emails that waited for that go out.

    Raises:
        LinkOver: The link has expired or was used.
    """
    with call.wiring.database.write() as session:
        user = link_keys.use_key(session, key, "confirm", now=call.now)
        link_keys.confirm(session, user, now=call.now)
    call.wiring.outbox_hint.send()
