"""Links in emails that reset a password or confirm an address; for the API and for the pages."""

import logging
from uuid import uuid4

from chalicelib.accounts import accounts, link_keys
from chalicelib.accounts.rate_limits import MAILS_PER_USER, spend
from chalicelib.adapters.job_queue import QueueError
from chalicelib.errors import AddressConfirmed
from chalicelib.tasks.registry import LETTER
from chalicelib.web.request import Call

log = logging.getLogger(__name__)


def enqueue_emails(call: Call) -> None:
    """Wake a worker for the emails that are due; while Redis is away the reconciler does it."""
    try:
        call.wiring.queue.ring([(str(uuid4()), LETTER)])
    except QueueError:
        log.warning("could not enqueue", extra={"action": "enqueue"}, exc_info=True)


def request_reset(call: Call, email: str) -> None:
    """Email a link that resets a password; nobody learns whether the address has an account.

    Raises:
        TooMany: Too many were requested.
    """
    if call.wiring.settings.limits:
        spend(call.wiring.queue.redis, (MAILS_PER_USER, email.lower()))
    with call.wiring.database.write() as session:
        user = accounts.find_address(session, email)
        if user is not None:
            link_keys.wish(session, user, "reset", now=call.now)
    enqueue_emails(call)


def reset_password(call: Call, *, key: str, password: str) -> None:
    """Set a new password with the link of an email; every session ends.

    Whoever has the link reads the address's email, so that is confirmed, too.

    Raises:
        LinkOver: The link has expired or was used.
    """
    hashed = accounts.hash_password(password)
    with call.wiring.database.write() as session:
        user = link_keys.use_key(session, key, "reset", now=call.now)
        accounts.set_password(session, user.id, hashed)
        waiting = link_keys.confirm(session, user, now=call.now)
    _enqueue(call, waiting)


def request_confirmation(call: Call) -> None:
    """Email a link that confirms the address.

    Raises:
        AddressConfirmed: There is no need.
        TooMany: Too many were requested.
    """
    if call.user.confirmed_at is not None:
        raise AddressConfirmed
    if call.wiring.settings.limits:
        spend(call.wiring.queue.redis, (MAILS_PER_USER, call.user.id))
    with call.wiring.database.write() as session:
        link_keys.wish(session, call.user, "confirm", now=call.now)
    enqueue_emails(call)


def confirm_address(call: Call, key: str) -> None:
    """Confirm an address with the link of an email; emails that waited for that go out.

    Raises:
        LinkOver: The link has expired or was used.
    """
    with call.wiring.database.write() as session:
        user = link_keys.use_key(session, key, "confirm", now=call.now)
        waiting = link_keys.confirm(session, user, now=call.now)
    _enqueue(call, waiting)


def _enqueue(call: Call, waiting: list[tuple[str, str]]) -> None:
    try:
        call.wiring.queue.ring(waiting)
    except QueueError:
        log.warning("could not enqueue", extra={"action": "enqueue"}, exc_info=True)
