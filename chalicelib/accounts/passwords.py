"""Passwords: hashed slowly on purpose, and only so many at a time."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from chalicelib.errors import Unavailable
from chalicelib.values.fields import canonical_password

HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
"""Argon2id with the parameters of OWASP's Password Storage Cheat Sheet: 19 MiB, two passes."""

NOBODY = (
    "$argon2id$v=19$m=19456,t=2,p=1$gzuOeB3fpxegusRVoU+tDQ"
    "$Xy8VKOzVXbdsfICthiwr0f5u1goCvqh6N4nmu6J0/Ww"
)
"""A hash that no password has, so that an unknown name takes as long as a wrong password."""

AT_ONCE = 2 * (os.cpu_count() or 1)
"""How many passwords are hashed at a time. More would not be faster, and each takes 19 MiB."""

MOST_WAITING = 64
"""How many requests wait for their turn; each occupies a thread of the server."""

LONGEST_WAIT_S = 5.0

_turns = threading.BoundedSemaphore(AT_ONCE)
_places = threading.BoundedSemaphore(AT_ONCE + MOST_WAITING)


@contextmanager
def turn(*, wait_s: float = LONGEST_WAIT_S) -> Iterator[None]:
    """Wait until a password may be hashed.

    Raises:
        Unavailable: Too many others wait already, or the wait took too long.
    """
    if not _places.acquire(blocking=False):
        raise Unavailable
    try:
        if not _turns.acquire(timeout=wait_s):
            raise Unavailable
        try:
            yield
        finally:
            _turns.release()
    finally:
        _places.release()


def hash_password(password: str) -> str:
    """Hash a password, which takes long: do it outside of any transaction.

    Raises:
        Unavailable: Too many are being hashed.
    """
    with turn():
        return HASHER.hash(canonical_password(password))


def verifies(hashed: str, password: str) -> bool:
    """Whether a password is the one that was hashed.

    Raises:
        Unavailable: Too many are being hashed.
    """
    # As it came, too: accounts from before NFC was agreed on have a hash of that.
    forms = dict.fromkeys((canonical_password(password), password))
    with turn():
        return any(_verifies(hashed, form) for form in forms)


def _verifies(hashed: str, password: str) -> bool:
    try:
        return HASHER.verify(hashed, password)
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False
