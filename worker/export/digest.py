"""A SHA-256 that can be put aside and taken up again, in another process too.

`hashlib` keeps its state to itself, so a file that was written by two attempts would have to be
read back as a whole, which can take a tenth of the time that writing it did. OpenSSL's own
functions keep it in a structure of 112 bytes that has been the same since 1.0
(https://github.com/openssl/openssl/blob/master/include/openssl/sha.h). Where they are out of reach,
as in a Python that hides its OpenSSL, there is no state to be had, and the file is read back.
"""

import base64
import binascii
import ctypes
import hashlib
from functools import cache
from typing import Any, Protocol


class Digest(Protocol):
    """What a file's bytes are added to."""

    def update(self, data: bytes, /) -> None:
        """Add some."""

    def hexdigest(self) -> str:
        """Of all so far, as 64 hexadecimal digits."""

    def state(self) -> str | None:
        """Where to go on, as text; None where that cannot be known."""


class _Context(ctypes.Structure):
    """OpenSSL's `SHA256_CTX`."""

    _fields_ = (
        ("h", ctypes.c_uint32 * 8),
        ("bits", ctypes.c_uint32 * 2),
        ("data", ctypes.c_uint32 * 16),
        ("pending", ctypes.c_uint),
        ("digest_bytes", ctypes.c_uint),
    )


DIGEST_BYTES = 32
STATE_BYTES = ctypes.sizeof(_Context)


class _OpenSsl:
    """OpenSSL's SHA-256, whose state is known."""

    def __init__(self, library: Any, context: _Context) -> None:
        self._library = library
        self._context = context

    def update(self, data: bytes, /) -> None:
        size = ctypes.c_size_t(len(data))
        self._library.SHA256_Update(ctypes.byref(self._context), data, size)

    def hexdigest(self) -> str:
        digest = ctypes.create_string_buffer(DIGEST_BYTES)
        copy = _Context.from_buffer_copy(self._context)
        self._library.SHA256_Final(digest, ctypes.byref(copy))
        return digest.raw.hex()

    def state(self) -> str:
        return base64.b64encode(bytes(self._context)).decode()


class _Hashlib:
    """Python's own, whose state is not."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def update(self, data: bytes, /) -> None:
        self._digest.update(data)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()

    def state(self) -> None:
        return None


def sha256() -> Digest:
    """One that has seen nothing yet."""
    library = _openssl()
    return _Hashlib() if library is None else _begun(library)


def taken_up(state: str | None) -> Digest | None:
    """One that goes on from a state; None when that is not possible here."""
    library = _openssl()
    if library is None or state is None:
        return None
    try:
        raw = base64.b64decode(state, validate=True)
    except binascii.Error:
        return None
    if len(raw) != STATE_BYTES:
        return None
    return _OpenSsl(library, _Context.from_buffer_copy(raw))


def _begun(library: Any) -> _OpenSsl:
    context = _Context()
    library.SHA256_Init(ctypes.byref(context))
    return _OpenSsl(library, context)


@cache
def _openssl() -> Any:
    """The library that `hashlib` uses, if it does what is expected of it."""
    try:
        import _hashlib  # noqa: PLC0415 - a Python can be without

        library = ctypes.CDLL(_hashlib.__file__)
        return library if _goes_on(library) else None
    except (ImportError, OSError, AttributeError, TypeError):
        return None


def _goes_on(library: Any) -> bool:
    """Whether a state that is put aside in the midst of a block leads to the right digest."""
    first, second = b"carryout" * 9, b"\x00\xff" * 77
    digest = _begun(library)
    digest.update(first)
    again = _OpenSsl(library, _Context.from_buffer_copy(base64.b64decode(digest.state())))
    again.update(second)
    return again.hexdigest() == hashlib.sha256(first + second).hexdigest()
