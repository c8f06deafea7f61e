"""An HTTP client that sends one request to where a user wants it, and trusts nobody.

Libraries that send requests look a name up and connect in one step, so that what was checked need
not be what is connected to; they follow redirects, obey proxies of the environment, and have a time
limit for each read. Here a name is looked up once, each of its addresses is checked, and the socket
is connected to a checked address; the standard library reads the answer from that socket.
"""

import io
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException, HTTPResponse
from queue import Empty, SimpleQueue
from typing import Any, cast

from chalicelib.values.addresses import Destination, is_public

MAX_ANSWER_BYTES = 64 * 1024
"""How much is read of an answer, its headers included."""

CHUNK_BYTES = 8192

Resolve = Callable[[str, int], Sequence[str]]
"""Looks up a name; returns its addresses."""

Connect = Callable[[str, int, float], socket.socket]
"""Connects to an address and a port within some seconds."""


class RequestNotSentError(Exception):
    """The request did not reach anybody, or no answer came; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class HttpAnswer:
    """What a server answered.

    Attributes:
        status: The status.
        retry_after_s: How long it wants to be left alone, in seconds; 0 if it does not say.
    """

    status: int
    retry_after_s: float = 0


class Deadline:
    """The end of a time limit.

    Args:
        limit_s: How long it is, in seconds.
    """

    def __init__(self, limit_s: float) -> None:
        self._at = time.monotonic() + limit_s

    def left_s(self) -> float:
        """How much is left.

        Raises:
            TimeoutError: Nothing.
        """
        left_s = self._at - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s


def resolve(host: str, port: int) -> Sequence[str]:
    """Look up a name, with the C library, which also knows every notation of an address."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(cast("str", address[0]) for *_, address in found))


def connect(address: str, port: int, timeout_s: float) -> socket.socket:
    """Connect to an address; it is a number, so nothing is looked up."""
    return socket.create_connection((address, port), timeout=timeout_s)


@dataclass(frozen=True)
class HttpClient:
    """Sends requests.

    Attributes:
        limit_s: How long a request may take in all, from the name to the end of the answer.
        private: Whether it may go to any address, not only to public ones.
        resolve: How names are looked up.
        connect: How connections are made.
    """

    limit_s: float
    private: bool
    resolve: Resolve = resolve
    connect: Connect = connect

    def post(self, to: Destination, body: bytes, headers: Mapping[str, str]) -> HttpAnswer:
        """Send a POST request and read what matters of the answer.

        Args:
            to: Where to.
            body: The body.
            headers: All but those that belong to the connection.

        Raises:
            RequestNotSentError: There is no answer.
        """
        deadline = Deadline(self.limit_s)
        try:
            addresses = self._look_up(to, deadline)
            with self._open(addresses, to, deadline) as connection:
                connection.settimeout(deadline.left_s())
                connection.sendall(_head(to, headers, len(body)) + body)
                return _read(connection, deadline)
        except TimeoutError as error:
            raise RequestNotSentError("timeout") from error
        except ssl.SSLError as error:
            raise RequestNotSentError("tls") from error
        except (HTTPException, UnicodeError, ValueError) as error:
            raise RequestNotSentError("bad_answer") from error
        except OSError as error:
            raise RequestNotSentError("connection") from error

    def _look_up(self, to: Destination, deadline: Deadline) -> Sequence[str]:
        """Every address of the destination, if a request may go to each of them.

        One that leads to a public and a private address is refused as a whole: nobody needs that.
        """
        try:
            addresses = _within(deadline, lambda: self.resolve(to.host, to.port))
        except TimeoutError:
            raise
        except (OSError, UnicodeError) as error:
            raise RequestNotSentError("dns") from error
        if not addresses:
            raise RequestNotSentError("dns")
        if not self.private and not all(is_public(address) for address in addresses):
            raise RequestNotSentError("private_address")
        return addresses

    def _open(self, addresses: Sequence[str], to: Destination, deadline: Deadline) -> socket.socket:
        """A connection to the first of the addresses that answers."""
        failure: OSError | None = None
        for address in addresses:
            try:
                connection = self.connect(address, to.port, deadline.left_s())
            except TimeoutError:
                raise
            except OSError as error:
                failure = error
                continue
            return _secured(connection, to, deadline) if to.scheme == "https" else connection
        raise RequestNotSentError("connection") from failure


def _within(deadline: Deadline, work: Callable[[], Sequence[str]]) -> Sequence[str]:
    """Wait for the C library, which knows no time limit of ours and is left to end by itself."""
    done: SimpleQueue[Sequence[str] | Exception] = SimpleQueue()

    def run() -> None:
        try:
            done.put(work())
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            done.put(error)

    threading.Thread(target=run, daemon=True, name="resolver").start()
    try:
        outcome = done.get(timeout=deadline.left_s())
    except Empty:
        raise TimeoutError from None
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _secured(connection: socket.socket, to: Destination, deadline: Deadline) -> socket.socket:
    """TLS for the name that was asked for, whatever address it leads to."""
    try:
        connection.settimeout(deadline.left_s())
        return tls_context().wrap_socket(connection, server_hostname=to.host.rstrip("."))
    except BaseException:
        connection.close()
        raise


@cache
def tls_context() -> ssl.SSLContext:
    """Verifies names and certificates, by the system's authorities (or those of SSL_CERT_FILE)."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _head(to: Destination, headers: Mapping[str, str], length: int) -> bytes:
    lines = [
        f"POST {to.target} HTTP/1.1",
        f"Host: {to.authority}",
        f"Content-Length: {length}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def _read(connection: socket.socket, deadline: Deadline) -> HttpAnswer:
    """The status, once the answer is over; of a long one, once there is enough of it."""
    response = HTTPResponse(cast("socket.socket", _Source(connection, deadline)), method="POST")
    try:
        response.begin()
        # An answer that is cut short has said by its status what there is to say.
        with suppress(HTTPException, ConnectionError, ssl.SSLError):
            while response.read(CHUNK_BYTES):
                pass
        return HttpAnswer(response.status, _retry_after_s(response.headers.get("Retry-After")))
    finally:
        response.close()


def _retry_after_s(header: str | None) -> float:
    """A number of seconds; the other form, a date, would need a clock to be trusted."""
    text = (header or "").strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0  # noqa: PLR2004


class _Source:
    """A socket as `HTTPResponse` needs one: something to read from, with an end."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._reader = _Reader(connection, deadline)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._reader, CHUNK_BYTES)


class _Reader(io.RawIOBase):
    """Reads from a socket until a deadline, and so many bytes in all."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline
        self._left = MAX_ANSWER_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            return 0
        self._connection.settimeout(self._deadline.left_s())
        count = self._connection.recv_into(memoryview(buffer)[: self._left])
        self._left -= count
        return count
