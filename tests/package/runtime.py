"""Lambda on this machine: the unpacked package, Lambda's own client, and a Runtime API for it.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import json
import os
import queue
import re
import subprocess
import threading
import time
import zipfile
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

from infra.package import dependencies
from infra.package.application import ROOT
from infra.package.interpreter import Interpreter
from infra.package.target import DEFAULT_PYTHON, Target
from tests.harness.processes import output

API = "/2018-06-01/runtime"
CLIENT = ("awslambdaric", "simplejson", "snapshot-restore-py")
"""What Lambda's image has besides Python: the client and what it imports."""

LOCK = ROOT / "requirements-dev.txt"

TARGET = Target("x86_64", os.environ.get("RUNTIME") or DEFAULT_PYTHON)
"""What `make package-check` packed for."""

INIT_LIMIT_S = 120
INVOCATION_LIMIT_S = 29
MOST_ANSWERED_BYTES = 6 * 1024 * 1024


class Image:
    """A Python that sees the package, Lambda's client and the standard library, and nothing else.

    Args:
        package: The zip.
        folder: An empty folder.
        python: The Python of the runtime.
    """

    def __init__(self, package: Path, folder: Path, python: Interpreter) -> None:
        self.task_root = folder / "task"
        self._client = folder / "client"
        self._python = str(python.path)
        with zipfile.ZipFile(package) as archive:
            archive.extractall(self.task_root)
        lock = folder / "client.txt"
        lock.write_text("".join(_locked(name) for name in CLIENT))
        dependencies.install(lock, self._client, TARGET)

    def start(
        self, *arguments: str, environment: Mapping[str, str], log: Any
    ) -> subprocess.Popen[bytes]:
        """Start Python in the package's folder, without any site-packages."""
        return subprocess.Popen(
            [self._python, "-S", *arguments],
            cwd=self.task_root,
            env=self._environment(environment),
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def run(self, script: str, **environment: str) -> str:
        """Run a script to its end; return what it printed."""
        env = self._environment(environment)
        return output(self._python, "-S", "-c", script, cwd=self.task_root, env=env)

    def _environment(self, chosen: Mapping[str, str]) -> dict[str, str]:
        """What Lambda sets, as far as anything here reads it, and what the function is given."""
        return {
            "PATH": "/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "PYTHONPATH": str(self._client),
            "PYTHONDONTWRITEBYTECODE": "1",  # /var/task cannot be written
            "LAMBDA_TASK_ROOT": str(self.task_root),
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{TARGET.runtime}",
            "AWS_LAMBDA_FUNCTION_NAME": "carryout-dev",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            **chosen,
        }


def _locked(name: str) -> str:
    """The lines of the lock file about one distribution."""
    found = re.search(rf"^{name}==.*\n(?: .*\n)+", LOCK.read_text(), re.MULTILINE)
    assert found
    return found.group()


class Function:
    """A function: its process, and the Runtime API that gives it events.

    Args:
        image: Where it runs.
        handler: Such as `app.app`.
        environment: Its settings.
        log: A file that gets what it prints.

    Attributes:
        first_poll_s: Seconds from the start of the process to its first question for an event.
    """

    def __init__(
        self, image: Image, handler: str, environment: Mapping[str, str], *, log: Path
    ) -> None:
        self._log = log
        self._api = _RuntimeApi(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self._api.serve_forever, args=(0.05,), daemon=True).start()
        address = f"127.0.0.1:{self._api.server_address[1]}"
        started = time.monotonic()
        with log.open("wb") as output:
            self._process = image.start(
                *("-m", "awslambdaric", handler),
                environment={**environment, "AWS_LAMBDA_RUNTIME_API": address},
                log=output,
            )
        if not self._api.polled.wait(INIT_LIMIT_S):
            self.stop()
            raise AssertionError(f"{handler} does not start:\n{self.log}")
        self.first_poll_s = time.monotonic() - started

    @property
    def log(self) -> str:
        return self._log.read_text()

    def invoke(self, event: object) -> Any:
        """Give it an event; return its answer.

        Raises:
            AssertionError: It failed, ended, said nothing in time, or said too much.
        """
        self._api.events.put(json.dumps(event).encode())
        try:
            kind, body = self._api.answers.get(timeout=4 * INVOCATION_LIMIT_S)
        except queue.Empty:
            raise AssertionError(f"no answer; {self._process.poll()=}\n{self.log}") from None
        assert kind == "response", f"{body.decode()}\n{self.log}"
        assert len(body) <= MOST_ANSWERED_BYTES
        return json.loads(body)

    def stop(self) -> None:
        """End it, as Lambda does: without a word."""
        self._process.kill()
        self._process.wait()
        self._api.events.put(None)
        self._api.shutdown()
        self._api.server_close()


class _RuntimeApi(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.polled = threading.Event()
        self.events: queue.Queue[bytes | None] = queue.Queue()
        self.answers: queue.Queue[tuple[str, bytes]] = queue.Queue()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _RuntimeApi

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Hold the question for the next event until there is one."""
        assert self.path == f"{API}/invocation/next"
        self.server.polled.set()
        event = self.server.events.get()
        if event is None:
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(event)))
        self.send_header("Lambda-Runtime-Aws-Request-Id", str(uuid4()))
        deadline_ms = int((time.time() + INVOCATION_LIMIT_S) * 1000)
        self.send_header("Lambda-Runtime-Deadline-Ms", str(deadline_ms))
        arn = "arn:aws:lambda:us-east-1:123456789012:function:carryout-dev"
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", arn)
        self.send_header("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700")
        self.end_headers()
        self.wfile.write(event)

    def do_POST(self) -> None:
        """Take an answer, or the news of a failure."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.answers.put((self.path.rpartition("/")[2], body))
        if self.path == f"{API}/init/error":
            self.server.polled.set()
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
