"""Secrets that are worth something to whoever has them: tokens, sessions, links in mails."""

import hashlib
import secrets

SECRET_BYTES = 32
"""256 bits: nothing to guess."""


def make_secret() -> str:
    """Make a secret, safe in a URL; its owner sees it this once."""
    return secrets.token_urlsafe(SECRET_BYTES)


def digest(secret: str) -> bytes:
    """What the ledger keeps of a secret: its SHA-256. Any string may be asked about."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
