"""S3 and SES that misbehave: an HTTP proxy in front of the emulator, with a rule that injects."""

import http.client
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.harness.proxies import CHUNK_BYTES, reset

UPSTREAM_TIMEOUT_S = 120
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "date", "server"}


@dataclass(frozen=True)
class Call:
    """A request as it came.

    Attributes:
        at: When, in seconds of the monotonic clock.
        method: The HTTP method.
        path: The path, without the query.
        query: The query string.
        size_bytes: The size of its body.
        port: The port that the client calls from.
    """

    at: float
    method: str
    path: str
    query: str
    size_bytes: int
    port: int

    @property
    def is_email(self) -> bool:
        return self.path.endswith("/outbound-emails")

    @property
    def stores(self) -> bool:
        """Whether bytes of an object are on their way to S3."""
        return self.method == "PUT" and self.path.endswith("/posts.json")


@dataclass(frozen=True)
class Answer:
    """An error instead of the service's answer."""

    status: int
    code: str


@dataclass(frozen=True)
class Slow:
    """The service's own answer, so many seconds late."""

    seconds: float


@dataclass(frozen=True)
class Reset:
    """The connection is reset when half of the body has arrived; the service hears nothing."""


@dataclass(frozen=True)
class Lost:
    """The service does what it was asked; after so many seconds the connection ends unanswered."""

    seconds: float = 0


Fault = Answer | Slow | Reset | Lost
Rule = Callable[[Call], Fault | None]


def well(_call: Call) -> None:
    """The rule that injects nothing."""


class AwsProxy:
    """The proxy; it runs in threads of its own from the beginning.

    Args:
        target: The URL of the endpoint behind it.

    Attributes:
        rule: Asked about every request; may be replaced at any time.
        calls: All requests so far, in the order of their arrival.
        in_flight: Those that have no response yet.
        injected: How many faults there were.
    """

    def __init__(self, target: str) -> None:
        self.netloc = urlsplit(target).netloc
        self.rule: Rule = well
        self.calls: list[Call] = []
        self.in_flight: set[Call] = set()
        self.injected = 0
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def judge(self, call: Call) -> Fault | None:
        """Note a request and say what shall go wrong with it."""
        self.calls.append(call)
        fault = self.rule(call)
        self.injected += fault is not None
        return fault


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: AwsProxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients of this proxy die in mid-sentence."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def handle_call(self) -> None:
        """Judge a request, and answer it, or not."""
        if "Transfer-Encoding" in self.headers:
            self.send_error(http.HTTPStatus.LENGTH_REQUIRED)  # nothing here sends chunks
            return
        size_bytes = int(self.headers.get("Content-Length") or 0)
        url = urlsplit(self.path)
        port = self.client_address[1]
        call = Call(time.monotonic(), self.command, url.path, url.query, size_bytes, port)
        fault = self.server.proxy.judge(call)
        self.server.proxy.in_flight.add(call)
        try:
            self._answer(call, fault)
        finally:
            self.server.proxy.in_flight.discard(call)

    def _answer(self, call: Call, fault: Fault | None) -> None:
        size_bytes = call.size_bytes
        if isinstance(fault, Reset):
            self.rfile.read(size_bytes // 2)
            self._hang_up()
            return
        body = self.rfile.read(size_bytes)
        if len(body) < size_bytes:
            self._hang_up()  # the client died; half a body is no request
        elif isinstance(fault, Answer):
            self._refuse(fault, call)
        else:
            self._forward(body, fault)

    def _forward(self, body: bytes, fault: Fault | None) -> None:
        if isinstance(fault, Slow):
            time.sleep(fault.seconds)
        upstream = http.client.HTTPConnection(self.server.proxy.netloc, timeout=UPSTREAM_TIMEOUT_S)
        try:
            headers = {name: value for name, value in self.headers.items() if name != "Expect"}
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            if isinstance(fault, Lost):
                time.sleep(fault.seconds)
                self._hang_up()
            else:
                self._pass_back(answer)
        finally:
            upstream.close()

    def _pass_back(self, answer: http.client.HTTPResponse) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        if answer.getheader("Content-Length") is None:
            self.send_header("Connection", "close")
        self.end_headers()
        while data := answer.read(CHUNK_BYTES):
            self.wfile.write(data)

    def _refuse(self, fault: Answer, call: Call) -> None:
        if call.is_email:
            body = b'{"message": "injected"}'
        else:
            body = f"<Error><Code>{fault.code}</Code><Message>injected</Message></Error>".encode()
        self.send_response_only(fault.status)
        self.send_header("x-amzn-ErrorType", fault.code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _hang_up(self) -> None:
        self.close_connection = True
        reset(self.connection)


for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
    setattr(_Handler, f"do_{method}", _Handler.handle_call)
