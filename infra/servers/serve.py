"""The API on waitress: `python -m infra.servers.serve --host 127.0.0.1 --port 8000`.

The app writes its own log of requests to standard error.
"""

import json
import signal
import sys
import time
import uuid
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

import click
from waitress import wasyncore
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.task import ErrorTask, WSGITask

from chalicelib import logs
from chalicelib.errors import BodyTooLarge, SettingsError
from chalicelib.web import problems
from chalicelib.web.holding import ROOM, Hold
from infra.servers.connections import (
    ANSWERS_BYTES,
    Bounds,
    Connection,
    Server,
    descriptors_for,
)
from infra.servers.gateway import HOLD, MAX_BODY_BYTES, Gateway, Held
from infra.servers.memory import give_back

READ_AT_MOST_BYTES = MAX_BODY_BYTES + 64 * 1024
"""What says that it is longer is refused before it comes; a little for the frames of chunks."""

HEAD_BYTES = 32 * 1024
"""How long a head may be: what API Gateway takes, three times."""

BODY_IN_MEMORY_BYTES = 64 * 1024
"""How much of a body is in memory while it comes; a longer one is in a file."""

STOP_GRACE_S = 0.7
"""How long requests may go on after SIGTERM; a client repeats a long poll that is cut short."""

MOST_HELD = 2_000
"""How many requests are held back at a time; beyond, they are answered at once."""

POLL_S = 1.0
"""How long the server's loop sleeps when nothing happens."""


class ProblemTask(ErrorTask):  # type: ignore[misc]
    """Answers requests that never reach the gateway, such as malformed HTTP."""

    def execute(self) -> None:
        """Write a problem document and let the connection close."""
        status = HTTPStatus(self.request.error.code)
        if status == HTTPStatus.NOT_IMPLEMENTED:  # an unknown transfer coding is the client's
            status = HTTPStatus.BAD_REQUEST  # mistake, and must not raise an alarm as a 5xx would
        response = self._problem(status, str(self.request.error.body))
        body = response.body.encode("utf-8")
        self.status = f"{response.status} {problems.title_of(response.status)}"
        self.response_headers.extend(response.headers.items())
        self.response_headers.append(("X-Request-Id", str(uuid.uuid4())))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)

    @staticmethod
    def _problem(status: HTTPStatus, detail: str) -> problems.ProblemResponse:
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return problems.render(BodyTooLarge())
        code = status.name.lower()
        document = {
            "type": f"urn:carryout:problem:{code}",
            "title": problems.title_of(status),
            "status": int(status),
            "detail": detail,
            "code": code,
        }
        headers = {"Content-Type": problems.MEDIA_TYPE}
        return problems.ProblemResponse(status, headers, json.dumps(document))


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    hold: Hold | None = None
    """That of this request, once it has been made."""

    def received(self, data: bytes) -> int:
        """Read on; who is refused is not told to continue."""
        consumed: int = super().received(data)
        if self.error:
            self.expect_continue = False
        return consumed

    def parse_header(self, header_plus: bytes) -> None:
        """Refuse what proxies may read in another way than we do, or let it be the last."""
        super().parse_header(header_plus)
        names = [line.partition(b":")[0].lower() for line in header_plus.split(b"\r\n")[1:]]
        hosts = names.count(b"host")
        if hosts > 1 or (not hosts and self.version == "1.1"):
            raise ParsingError("Expected one Host header")  # RFC 9112, section 3.2
        if b"transfer-encoding" in names and b"content-length" in names:
            self.connection_close = True  # RFC 9112, section 6.1


class _Task(WSGITask):  # type: ignore[misc]
    def build_response_header(self) -> bytes:
        """Say that the connection closes where the parser wants it to."""
        if self.request.connection_close:
            self.set_close_on_finish()
        header: bytes = super().build_response_header()
        return header

    def get_environment(self) -> dict[str, Any]:
        """Offer to answer later, for the first time or again."""
        if self.request.hold is None:
            self.request.hold = Hold(partial(self.channel.server.add_task, self.channel))
            if not self.channel.connected:  # who closed it did not see that anything is held
                self.request.hold.close()
        self.request.hold.again()
        return {**super().get_environment(), HOLD: self.request.hold}


class _Channel(Connection):
    """A connection, whose requests may be held back without a thread."""

    task_class = _Task
    error_task_class = ProblemTask
    parser_class = _Parser

    @property
    def hold(self) -> Hold | None:
        """That of the request whose turn it is."""
        first = next(iter(self.requests), None)
        return first.hold if first else None

    def answer(self) -> None:
        """Make a request, in a thread; one that is held back stays the first of its connection."""
        # When waitress has answered, another thread may have begun with the next request.
        request = self.requests[0]
        try:
            super().answer()
        except Held:
            request.hold.begin()
        else:
            if request.hold is not None:
                request.hold.close()

    def handle_close(self) -> None:
        """Close the connection; nobody waits any longer for what it held."""
        super().handle_close()
        if (hold := self.hold) is not None:
            self.server.add_task(_Farewell(hold))


@dataclass(frozen=True)
class _Farewell:
    """Gives back what a request held whose client is gone, in a thread: it may ask Redis."""

    hold: Hold

    def service(self) -> None:
        """Do so."""
        self.hold.close()

    def cancel(self) -> None:
        """The server ends, and with it everything in this process."""


class _Server(Server):
    channel_class = _Channel


def build(
    gateway: Gateway, *, host: str, port: int, threads: int, behind_proxy: bool, bounds: Bounds
) -> Server:
    """Make a waitress server that listens.

    Raises:
        OSError: The address is in use.
    """
    proxy = {
        "trusted_proxy": "*",
        "trusted_proxy_headers": "x-forwarded-for x-forwarded-proto",
    }
    return _Server(
        gateway,
        bounds=bounds,
        host=host,
        port=port,
        threads=threads,
        asyncore_use_poll=True,
        asyncore_loop_timeout=POLL_S,
        max_request_header_size=HEAD_BYTES,
        max_request_body_size=READ_AT_MOST_BYTES,
        inbuf_overflow=BODY_IN_MEMORY_BYTES,
        outbuf_overflow=ANSWERS_BYTES,
        log_socket_errors=False,
        # Reads on while a request is answered, and so sees that its client is gone.
        channel_request_lookahead=1,
        ident="carryout",
        **(proxy if behind_proxy else {}),
    )


def run(server: Server) -> None:
    """Serve until SIGTERM or SIGINT; then finish what is short and return within a second."""
    stopping: list[int] = []

    def stop(number: int, _frame: object) -> None:
        stopping.append(number)
        server.pull_trigger()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    while not stopping:
        wasyncore.loop(timeout=POLL_S, use_poll=True, map=server._map, count=1)  # noqa: SLF001
        server.look()
    server.del_channel()  # out of the loop: no new connections
    server.socket.close()
    for channel in list(server.active_channels.values()):
        if (hold := channel.hold) is not None:
            hold.expire()
    deadline = time.monotonic() + STOP_GRACE_S
    while _busy(server) and time.monotonic() < deadline:
        wasyncore.loop(timeout=0.05, use_poll=True, map=server._map, count=1)  # noqa: SLF001


def _busy(server: Server) -> bool:
    channels = list(server.active_channels.values())
    return any(channel.requests or channel.total_outbufs_len for channel in channels)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--threads", default=64, show_default=True, help="Requests that wait for news occupy none."
)
@click.option(
    "--behind-proxy", is_flag=True, help="Trust X-Forwarded-For and -Proto of the caller."
)
@click.option(
    "--patience",
    default=Bounds.patience_s,
    show_default=True,
    type=click.FloatRange(min=0.1),
    help="Seconds that a client may take for a head, and for each 64 KiB of a body or an answer.",
)
@click.option(
    "--connections",
    default=Bounds.most,
    show_default=True,
    type=click.IntRange(min=1),
    help="At a time; fewer if the system allows fewer open files.",
)
def main(
    *, host: str, port: int, threads: int, behind_proxy: bool, patience: float, connections: int
) -> None:
    """Serve the API."""
    give_back()
    from app import app  # noqa: PLC0415 - after --help

    try:
        settings = app.wiring.settings
        logs.configure(
            settings.log_format, exceptions=settings.log_exceptions, file=settings.log_file
        )
    except SettingsError as error:
        sys.exit(f"error: {error.detail}")
    ROOM.limit(MOST_HELD)
    bounds = Bounds(
        patience_s=patience,
        most=descriptors_for(connections),
        # With a proxy all connections are the proxy's.
        most_of_network=Bounds.most_of_network if settings.limits and not behind_proxy else None,
    )
    try:
        server = build(
            Gateway(app),
            host=host,
            port=port,
            threads=threads,
            behind_proxy=behind_proxy,
            bounds=bounds,
        )
    except OSError as error:
        sys.exit(f"cannot listen on {host}:{port}: {error.strerror}")
    run(server)


if __name__ == "__main__":
    main()
