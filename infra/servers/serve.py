"""The API on waitress: `python -m infra.servers.serve --host 127.0.0.1 --port 8000`.

The app writes its own log of requests to standard error.
"""

import json
import signal
import sys
import time
from http import HTTPStatus
from typing import Any

import click
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import create_server
from waitress.task import ErrorTask

from chalicelib import logs
from chalicelib.errors import BodyTooLarge, SettingsError
from chalicelib.web import problems
from infra.servers.gateway import Gateway

READ_AT_MOST_BYTES = 64 * 1024 * 1024
"""Bodies up to here are read and refused by the gateway, so that a client that is still sending
gets to read its 413; beyond, the connection is cut."""

STOP_GRACE_S = 0.7
"""How long requests may go on after SIGTERM; a long poll is cut short and asked again."""

POLL_S = 1.0
"""How long the server's loop sleeps when nothing happens."""


class ProblemTask(ErrorTask):  # type: ignore[misc]
    """Answers what never reached the gateway, such as malformed HTTP, as a problem document."""

    def execute(self) -> None:
        """Write the answer and let the connection close."""
        status = HTTPStatus(self.request.error.code)
        if status == HTTPStatus.NOT_IMPLEMENTED:  # a transfer coding that nobody knows
            status = HTTPStatus.BAD_REQUEST  # is the client's doing, and no alarm's business
        answer = self._answer(status, str(self.request.error.body))
        body = answer.body.encode("utf-8")
        self.status = f"{answer.status} {HTTPStatus(answer.status).phrase}"
        self.response_headers.extend(answer.headers.items())
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)

    @staticmethod
    def _answer(status: HTTPStatus, detail: str) -> problems.Answer:
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return problems.render(BodyTooLarge())
        code = status.name.lower()
        document = {
            "type": f"urn:carryout:problem:{code}",
            "title": status.phrase,
            "status": int(status),
            "detail": detail,
            "code": code,
        }
        return problems.Answer(status, {"Content-Type": problems.MEDIA_TYPE}, json.dumps(document))


class _Channel(HTTPChannel):  # type: ignore[misc]
    error_task_class = ProblemTask


def build(gateway: Gateway, *, host: str, port: int, threads: int, behind_proxy: bool) -> Any:
    """Make a waitress server that listens.

    Raises:
        OSError: The address is in use.
    """
    proxy = {
        "trusted_proxy": "*",
        "trusted_proxy_headers": "x-forwarded-for x-forwarded-proto",
    }
    server = create_server(
        gateway,
        host=host,
        port=port,
        threads=threads,
        connection_limit=1000,
        asyncore_use_poll=True,
        asyncore_loop_timeout=POLL_S,
        max_request_body_size=READ_AT_MOST_BYTES,
        log_socket_errors=False,
        ident="carryout",
        **(proxy if behind_proxy else {}),
    )
    server.channel_class = _Channel
    return server


def run(server: Any) -> None:
    """Serve until SIGTERM or SIGINT; then finish what is short and return within a second."""
    stopping: list[int] = []

    def stop(number: int, _frame: object) -> None:
        stopping.append(number)
        server.pull_trigger()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    while not stopping:
        wasyncore.loop(timeout=POLL_S, use_poll=True, map=server._map, count=1)  # noqa: SLF001
    server.del_channel()  # out of the loop: no new connections
    server.socket.close()
    deadline = time.monotonic() + STOP_GRACE_S
    while _busy(server) and time.monotonic() < deadline:
        wasyncore.loop(timeout=0.05, use_poll=True, map=server._map, count=1)  # noqa: SLF001


def _busy(server: Any) -> bool:
    channels = list(server.active_channels.values())
    return any(channel.requests or channel.total_outbufs_len for channel in channels)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--threads", default=256, show_default=True, help="Each long poll holds one for up to 20 s."
)
@click.option(
    "--behind-proxy", is_flag=True, help="Believe X-Forwarded-For and -Proto of the caller."
)
def main(*, host: str, port: int, threads: int, behind_proxy: bool) -> None:
    """Serve the API."""
    from app import app  # noqa: PLC0415 - after --help

    try:
        settings = app.wiring.settings
        logs.configure(settings.log_format, exceptions=settings.log_exceptions)
    except SettingsError as error:
        sys.exit(f"error: {error.detail}")
    try:
        server = build(
            Gateway(app), host=host, port=port, threads=threads, behind_proxy=behind_proxy
        )
    except OSError as error:
        sys.exit(f"cannot listen on {host}:{port}: {error.strerror}")
    run(server)


if __name__ == "__main__":
    main()
