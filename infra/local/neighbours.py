"""Keeps the pages of other sites away from servers that ask nobody who they are.

The emulator and the mailbox are for programs of this machine and for the one who sits at it. So is
the browser, and it runs other sites' scripts: one may call any address (which `Origin` tells), or
have its own name point here (DNS rebinding, which `Host` tells).
"""

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

REFUSAL = b"Open this server by its IP address or as localhost; other names are refused.\n"


class Neighbours:
    """WSGI application that lets only requests of this machine or its network through.

    Args:
        application: What they are for.
        page_url: Where the pages are whose scripts may call it, too; they upload files here.
    """

    def __init__(self, application: Any, *, page_url: str = "") -> None:
        self._application = application
        self._pages = _origins_of(page_url)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        origin = environ.get("HTTP_ORIGIN")
        if _is_ours(environ.get("HTTP_HOST", ""), None if origin in self._pages else origin):
            answer: Iterable[bytes] = self._application(environ, start_response)
            return answer
        headers = {"Content-Type": "text/plain", "Content-Length": str(len(REFUSAL))}
        start_response("403 Forbidden", list(headers.items()))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [REFUSAL]


def _origins_of(page_url: str) -> set[str]:
    """The origins of a page; this machine has two names for itself."""
    if not page_url:
        return set()
    parts = urlsplit(page_url)
    origin = f"{parts.scheme}://{parts.netloc}"
    return {origin, origin.replace("//127.0.0.1", "//localhost")}


def _is_ours(host: str, origin: str | None) -> bool:
    if origin is not None and origin.partition("://")[2] != host:
        return False
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return not name or _is_nobodys(name)


def _is_nobodys(name: str) -> bool:
    """Whether no domain of the Internet is called so: nobody can have it point here.

    A name without a dot is a container's, `localhost` and all below it this machine's (RFC 6761).
    """
    try:
        ip_address(name)
    except ValueError:
        return "." not in name or name.endswith(".localhost")
    return True
