"""Passwords and addresses: change, reset, confirm; for the API and for the pages."""

import logging
from uuid import uuid4

from chalicelib.accounts import accounts, link_keys
from chalicelib.accounts.rate_limits import MAILS_PER_USER, spend
from chalicelib.adapters.job_queue import QueueError
from chalicelib.errors import AddressConfirmed, Unauthenticated, WrongPassword
from chalicelib.tasks.registry import LETTER
from chalicelib.web.api import Call
from chalicelib.web.sessions import check_password

log = logging.getLogger(__name__)


def ring(call: Call) -> None:
    """Ring for the letters that are due; while Redis is away that is the sweeper's business."""
    try:
        call.wiring.queue.ring([(str(uuid4()), LETTER)])
    except QueueError:
        log.warning("could not ring", extra={"action": "ring"}, exc_info=True)


def require_password(call: Call, password: str) -> None:
    """Have the one who calls show that the session is not all they have.

    Raises:
        WrongPassword: Their password is another one.
        TooManyAttempts: Too many were wrong lately, here or where one signs in.
    """
    username = call.user.username
    try:
        check_password(call, username=username, password=password)
    except Unauthenticated as error:
        raise WrongPassword from error


def change_password(call: Call, *, current: str, password: str) -> None:
    """Change the password of the one who calls; their other sessions end.

    The errors are those of `require_password`.
    """
    require_password(call, current)
    hashed = accounts.hash_password(password)
    with call.wiring.database.write() as session:
        accounts.set_password(session, call.user.id, hashed, keep=call.token or "")


def ask_for_reset(call: Call, email: str) -> None:
    """Have a link mailed with which a password can be reset; nobody learns whether there is one.

    Raises:
        TooMany: Too many were asked for.
    """
    if call.wiring.settings.limits:
        spend(call.wiring.queue.redis, (MAILS_PER_USER, email.lower()))
    with call.wiring.database.write() as session:
        user = accounts.find_address(session, email)
        if user is not None:
            link_keys.wish(session, user, "reset", now=call.now)
    ring(call)


def reset_password(call: Call, *, key: str, password: str) -> None:
    """Set a new password with the link of a mail; every session ends.

    Who has the link has the address, so that is confirmed too.

    Raises:
        LinkOver: The link is worth nothing any more.
    """
    hashed = accounts.hash_password(password)
    with call.wiring.database.write() as session:
        user = link_keys.use_key(session, key, "reset", now=call.now)
        accounts.set_password(session, user.id, hashed)
        waiting = link_keys.confirm(session, user, now=call.now)
    _ring_for(call, waiting)


def ask_for_confirmation(call: Call) -> None:
    """Have a link mailed with which the address can be confirmed.

    Raises:
        AddressConfirmed: There is no need.
        TooMany: Too many were asked for.
    """
    if call.user.confirmed_at is not None:
        raise AddressConfirmed
    if call.wiring.settings.limits:
        spend(call.wiring.queue.redis, (MAILS_PER_USER, call.user.id))
    with call.wiring.database.write() as session:
        link_keys.wish(session, call.user, "confirm", now=call.now)
    ring(call)


def confirm_address(call: Call, key: str) -> None:
    """Confirm an address with the link of a mail; mails that waited for that go out.

    Raises:
        LinkOver: The link is worth nothing any more.
    """
    with call.wiring.database.write() as session:
        user = link_keys.use_key(session, key, "confirm", now=call.now)
        waiting = link_keys.confirm(session, user, now=call.now)
    _ring_for(call, waiting)


def _ring_for(call: Call, waiting: list[tuple[str, str]]) -> None:
    try:
        call.wiring.queue.ring(waiting)
    except QueueError:
        log.warning("could not ring", extra={"action": "ring"}, exc_info=True)
