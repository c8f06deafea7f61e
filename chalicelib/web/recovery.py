"""Links in emails that reset a password or confirm an address, for the API and the pages."""

from chalicelib.accounts import accounts, link_keys
from chalicelib.accounts.rate_limits import EMAILS_PER_USER, RESETS_PER_NETWORK
from chalicelib.errors import AddressConfirmed, LinkOver, TooMany
from chalicelib.web.request import Call
from chalicelib.web.sessions import hash_password, sign_in_limit


def request_reset(call: Call, email: str) -> None:
    """Email a link that resets a password; nobody learns whether the address has an account.

    None goes to an address that its owner has still to confirm: it may be anybody's.

    Raises:
        TooMany: Too many were requested from the caller's network.
    """
    call.wiring.rate_limiter.spend((RESETS_PER_NETWORK, call.network))
    with call.wiring.database.write() as session:
        user = accounts.find_address(session, email)
        verify = call.wiring.settings.verify_email
        if user is not None and (user.confirmed_at is not None or not verify):
            link_keys.send_link(session, user, "reset", now=call.now, cause=call.cause())
    call.wiring.outbox_hint.send()


def reset_password(call: Call, *, key: str, password: str) -> None:
    """Set a new password with the link of an email; every session ends.

    Whoever has the link can read the address's email, so the address is confirmed, too.

    Raises:
        LinkOver: The link has expired or was used.
    """
    with call.wiring.database.read() as session:  # before anything dear is done
        if link_keys.owner_of(session, key, "reset", now=call.now) is None:
            raise LinkOver
    hashed = hash_password(call, password)
    with call.wiring.database.write() as session:
        user = link_keys.use_key(session, key, "reset", now=call.now)
        accounts.set_password(session, user.id, hashed)
        link_keys.confirm(session, user, now=call.now)
        username = user.username
    if call.wiring.settings.limits:
        sign_in_limit(call, username).clear()
    call.wiring.outbox_hint.send()


def restore_address(call: Call, key: str) -> None:
    """Take a change of address back with the link that the old address got.

    The password of whoever made the change is worth nothing any more; a link to set another one
    is emailed to the restored address.

    Raises:
        LinkOver: The link has expired or was used.
        EmailTaken: Another account has the address by now.
    """
    with call.wiring.database.write() as session:
        user = link_keys.restore_address(session, key, now=call.now)
        link_keys.confirm(session, user, now=call.now)
        link_keys.send_link(session, user, "reset", now=call.now)
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
        cause = call.cause(call.user.id)
        wait_s = link_keys.send_link(session, call.user, "confirm", now=call.now, cause=cause)
    if wait_s:
        raise TooMany(wait_s)
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
