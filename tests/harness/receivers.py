"""Receivers of webhooks: real servers that answer as they are told, and remember everything."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.harness.waiting import wait_until

Behave = Callable[[BaseHTTPRequestHandler], None]
"""Answers a request, well or not."""


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """What a server got, and how it answers from now on.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        requests: What it got, the oldest first.
        connections: How often somebody connected.
        behave: How it answers.
    """

    port: int = 0
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    behave: Behave = field(default=lambda handler: answer(handler, 204))
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def answers(self, *statuses: int, **headers: str) -> None:
        """Answer with these statuses, one after the other, and the last one from then on."""
        left = list(statuses)

        def behave(handler: BaseHTTPRequestHandler) -> None:
            answer(handler, left.pop(0) if len(left) > 1 else left[0], **headers)

        self.behave = behave

    def wait_for(self, count: int, *, within_s: float = 60) -> list[Request]:
        """Wait until so many requests came; return all."""
        wait_until(lambda: len(self.requests) >= count, f"{count} requests", within_s=within_s)
        return list(self.requests)


def answer(handler: BaseHTTPRequestHandler, status: int, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def hang(receiver: Receiver) -> Behave:
    """Never answer."""
    return lambda _handler: receiver.closing.wait() and None  # type: ignore[return-value]


def drip(receiver: Receiver, *, head: bytes = b"") -> Behave:
    """Answer a byte now and then, for ever."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(head)
        with suppress(OSError):
            while not receiver.closing.wait(0.05):
                handler.wfile.write(b"x")

    return behave


def close(handler: BaseHTTPRequestHandler) -> None:
    """Hang up without an answer."""
    handler.connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def receiving(*, tls: Any = None) -> Iterator[Receiver]:
    """A receiver until the end of the block.

    Args:
        tls: A context with a certificate, for https.
    """
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.requests.append(Request(self.path, headers, body))
            self.close_connection = True
            receiver.behave(self)

        do_GET = do_POST  # noqa: N815 - as the library calls it

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def get_request(self) -> tuple[socket.socket, Any]:
            receiver.connections += 1
            connection, address = super().get_request()
            if tls is not None:
                connection = tls.wrap_socket(connection, server_side=True)
            return connection, address

        def handle_error(self, *_: object) -> None:
            """Clients hang up as they like."""

    assert issubclass(Server, socketserver.ThreadingMixIn)
    with Server(("127.0.0.1", 0), Handler) as server:
        receiver.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield receiver
        receiver.closing.set()
        server.shutdown()
        thread.join()
