"""Firefox without a window, through Marionette: its own protocol of messages over TCP.

Playwright drives a Firefox of its own making only; this one is the one that people have.
"""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.local.stack import free_port
from tests.harness.waiting import wait_until

NAMES = ("firefox", "firefox-esr")
CALL_WITHIN_S = 60

PREFERENCES = {
    "app.update.disabledForTesting": True,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
}


def find() -> str | None:
    """The path of the machine's Firefox."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Firefox:
    """A running Firefox with one window."""

    def __init__(self, connection: socket.socket) -> None:
        self._stream = connection.makefile("rwb")
        self._number = 0
        self._read()  # a greeting
        self._call("WebDriver:NewSession", capabilities={"alwaysMatch": {}})

    def open(self, url: str) -> None:
        self._call("WebDriver:Navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """What the body of a function returns in the page."""
        return self._call("WebDriver:ExecuteScript", script=script, args=[])["value"]

    def quit(self) -> None:
        self._call("Marionette:Quit", flags=["eForceQuit"])
        self._stream.close()

    def _call(self, name: str, **parameters: Any) -> Any:
        self._number += 1
        text = json.dumps([0, self._number, name, parameters]).encode()
        self._stream.write(b"%d:%b" % (len(text), text))
        self._stream.flush()
        _, number, error, result = self._read()
        assert (number, error) == (self._number, None)
        return result

    def _read(self) -> Any:
        length = b""
        while (byte := self._stream.read(1)) != b":":
            assert byte, "Firefox has gone"
            length += byte
        return json.loads(self._stream.read(int(length)))


@contextmanager
def running(path: str, profile: Path) -> Iterator[Firefox]:
    """A Firefox with a profile of its own."""
    port = free_port()
    preferences = {**PREFERENCES, "marionette.port": port}
    lines = [
        f"user_pref({json.dumps(name)}, {json.dumps(to)});" for name, to in preferences.items()
    ]
    (profile / "user.js").write_text("\n".join(lines))
    command = [path, "--headless", "--marionette", "--no-remote", "--profile", str(profile)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def connect() -> socket.socket | None:
        assert process.poll() is None, "Firefox did not start"
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=CALL_WITHIN_S)
        except ConnectionRefusedError:
            return None

    try:
        connection = wait_until(connect, "Firefox listens", within_s=CALL_WITHIN_S)
        assert connection is not None
        with connection:
            firefox = Firefox(connection)
            yield firefox
            firefox.quit()
        process.wait(CALL_WITHIN_S)
    finally:
        process.kill()
        process.wait()
