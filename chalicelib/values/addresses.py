"""Which addresses a request on behalf of a user may reach, and how they are written.

Addresses are checked as numbers, after every name and every notation has been resolved: there are
too many ways to write one.
"""

import re
import socket
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

MAX_URL = 2048
"""The longest URL, in characters; every receiver takes as much."""

_GLOBAL_UNICAST = ip_network("2000::/3")
_NAT64 = ip_network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are the IPv4 address that a gateway connects to."""

_NEVER = tuple(
    map(
        ip_network,
        (
            # `is_global` says yes to these, in some or all of the Pythons that we run on.
            "168.63.129.16/32",  # Azure's metadata, at a public address
            "192.0.0.0/24",  # IETF protocol assignments; Oracle's metadata is at 192.0.0.192
            "192.88.99.0/24",  # 6to4 relays (RFC 7526)
            "2001::/23",  # IETF protocol assignments, Teredo among them: it wraps an IPv4 address
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: it wraps an IPv4 address
            "3fff::/20",  # documentation (RFC 9637)
        ),
    )
)
_ISATAP = 0x00005EFE
"""RFC 5214, section 6.1: the interface identifier begins so (or with 0200), and an IPv4 address
follows."""

_URL = re.compile(r"https?://[^\s\x00-\x20\x7f\"<>\\^`{|}]+", re.IGNORECASE)
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,254}}$)(?:{_LABEL}\.)*{_LABEL}\.?(?!\n)")
_NUMBERS = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+)){0,3}")


def network_of(address: str) -> str:
    """Whom an address counts as: of IPv6, providers give each subscriber a /64 at least."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ip_network((parsed.packed[:8] + bytes(8), 64)))
    return str(parsed)


def is_public(address: str) -> bool:
    """Whether an address, in the form in which `getaddrinfo` returns it, is global unicast.

    Addresses that carry an IPv4 address in them count as that, or are refused.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return _is_public_v4(parsed)
    return parsed.scope_id is None and _is_public_v6(parsed)


def _is_public_v4(address: IPv4Address) -> bool:
    if address.is_multicast or address.is_reserved:  # `is_global` means scope, not unicast
        return False
    return address.is_global and not _is_in(address, _NEVER)


def _is_public_v6(address: IPv6Address) -> bool:
    if address.ipv4_mapped is not None:
        return _is_public_v4(address.ipv4_mapped)
    if address in _NAT64:
        return _is_public_v4(IPv4Address(int(address) & 0xFFFFFFFF))
    # What is not out of the one block that is allocated (RFC 4291, section 2.4) is nobody's: among
    # it are the IPv4-compatible, local, site-local and multicast addresses.
    is_isatap = (int(address) >> 32) & 0xFDFFFFFF == _ISATAP
    return (
        address in _GLOBAL_UNICAST
        and address.is_global
        and not is_isatap
        and not _is_in(address, _NEVER)
    )


def _is_in(address: IPv4Address | IPv6Address, networks: Iterable[object]) -> bool:
    return any(address in network for network in networks)  # type: ignore[operator]


@dataclass(frozen=True)
class Destination:
    """Where a URL leads.

    Attributes:
        scheme: `http` or `https`.
        host: A name or an address in ASCII; an IPv6 address without brackets.
        port: The port.
        target: Path and query, as they stand in the first line of a request.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The host and, unless it is the scheme's own, the port: the `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        own = {"http": 80, "https": 443}[self.scheme]
        return host if self.port == own else f"{host}:{self.port}"


def parse_url(url: str) -> Destination:
    """Take a URL apart, strictly: what two parsers may read differently is refused.

    Raises:
        ValueError: With what is wrong, in words that follow the field's name.
    """
    if len(url) > MAX_URL:
        raise ValueError(f"must be at most {MAX_URL} characters long")
    if not _URL.fullmatch(url):
        raise ValueError("must be a URL such as https://example.com/hook")
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise ValueError("must be a URL such as https://example.com/hook") from None
    if "@" in parts.netloc:
        raise ValueError("must not contain a user name or a password")
    if "#" in url:
        raise ValueError("must not contain a fragment")
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError("must have a port from 1 to 65535, or none")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not target.isascii():
        raise ValueError("must be percent-encoded after the host")
    own = {"http": 80, "https": 443}[parts.scheme]
    return Destination(parts.scheme, _ascii_host(host, parts.netloc), port or own, target)


def _ascii_host(host: str, netloc: str) -> str:
    """The host as it is looked up: IPv6 without brackets, IDNs as IDNA has them."""
    if netloc.startswith("["):
        try:
            address = IPv6Address(host)
        except ValueError:
            raise ValueError("must have a valid host") from None
        if address.scope_id is not None:  # an interface of this machine
            raise ValueError("must have a valid host")
        return str(address)
    try:
        # NFKC first, as IDNA does: it makes dots and digits of characters that look like them.
        ascii_host = unicodedata.normalize("NFKC", host).encode("idna").decode().lower()
    except UnicodeError:
        raise ValueError("must have a valid host") from None
    if not _NAME.fullmatch(ascii_host):
        raise ValueError("must have a valid host")
    return ascii_host


def literal_address(host: str) -> str | None:
    """The address that a host is, however it is written; None for a name.

    The C library takes `0x7f.1`, `017700000001` and `2130706433` for 127.0.0.1, as inet_aton does.
    """
    host = host.rstrip(".")
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    if _NUMBERS.fullmatch(host):
        try:
            return socket.inet_ntoa(socket.inet_aton(host))
        except OSError:
            return None
    return None
