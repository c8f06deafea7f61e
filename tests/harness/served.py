"""The server of this project with a tiny app in it, as a process."""

import http.client
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.local.stack import free_port
from tests.harness.processes import ROOT, ended, start, stop
from tests.harness.waiting import listens, wait_until

DEADLINE_S = 60
SERVE = [sys.executable, "-m", "infra.servers.serve", "--port"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}

APP = """
import time
import os
from types import SimpleNamespace
from chalice import Chalice

app = Chalice(app_name="tiny")
settings = SimpleNamespace(
    log_format="text", log_exceptions=True, log_file=None, limits="LIMITS" in os.environ
)
app.wiring = SimpleNamespace(settings=settings)

@app.route("/echo", methods=["GET", "POST"])
def echo():
    return {"bytes": len(app.current_request.raw_body)}

@app.route("/large/{size}")
def large(size):
    return "x" * int(size)

@app.route("/poll/{seconds}")
def poll(seconds):
    time.sleep(float(seconds))
    return {"slept": seconds}
"""


class Served:
    """A server process of this project with a tiny app in it.

    Args:
        folder: Where its app and its log are.
        options: More of the command's.
        prefix: A command that runs it.
        settings: More of its environment.
    """

    def __init__(
        self, folder: Path, *options: str, prefix: Sequence[str] = (), **settings: str
    ) -> None:
        (folder / "app.py").write_text(APP)
        self.folder = folder
        self.port = free_port()
        self._log = folder / f"{self.port}.log"
        self.process = start(
            [*prefix, *SERVE, str(self.port), *options],
            log=self._log,
            folder=folder,
            env=ENVIRONMENT | settings,
        )
        wait_until(lambda: listens(self.port) or ended(self.process), "it listens")
        assert not ended(self.process), self._log.read_text()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)

    def stop(self) -> tuple[int, str]:
        """Stop it; return its status and its output, but for how many requests waited for a thread.

        On a busy machine the first request can be there before waitress's threads have begun.
        """
        status = stop(self.process)
        lines = self._log.read_text().splitlines()
        return status, "".join(line for line in lines if "Task queue depth is" not in line)

    def raw(self, request: bytes) -> bytes:
        """Send bytes; return all bytes of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S) as connection:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(65536), b""))
