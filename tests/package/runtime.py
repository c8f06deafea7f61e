"""Lambda on this machine: the unpacked package, Lambda's own client, and a Runtime API for it.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import json
import queue
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any
from uuid import uuid4

API = "/2018-06-01/runtime"
CLIENT = ("awslambdaric", "simplejson", "snapshot-restore-py")
"""What Lambda's image has besides Python: the client and what it imports."""

INIT_LIMIT_S = 120
INVOCATION_LIMIT_S = 29
MOST_ANSWERED_BYTES = 6 * 1024 * 1024


class Image:
    """A Python that sees the package, Lambda's client and the standard library, and nothing else.

    Args:
        package: The zip.
        folder: An empty folder.
    """

    def __init__(self, package: Path, folder: Path) -> None:
        self.task_root = folder / "task"
        self._client = folder / "client"
        with zipfile.ZipFile(package) as archive:
            archive.extractall(self.task_root)
        for name in CLIENT:
            self._install(name)

    def _install(self, name: str) -> None:
        for path in metadata.files(name) or []:
            if not path.is_absolute() and ".." not in path.parts:
                copy = self._client / path
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(path.read_binary())

    def start(
        self, *arguments: str, environment: Mapping[str, str], log: Any
    ) -> subprocess.Popen[bytes]:
        """Start Python in the package's folder, without any site-packages."""
        return subprocess.Popen(
            [sys.executable, "-S", *arguments],
            cwd=self.task_root,
            env=self._environment(environment),
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def run(self, script: str, **environment: str) -> str:
        """Run a script to its end; return what it printed."""
        done = subprocess.run(
            [sys.executable, "-S", "-c", script],
            cwd=self.task_root,
            env=self._environment(environment),
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _environment(self, chosen: Mapping[str, str]) -> dict[str, str]:
        """What Lambda sets, as far as anything here reads it, and what the function is given."""
        return {
            "PATH": "/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "PYTHONPATH": str(self._client),
            "PYTHONDONTWRITEBYTECODE": "1",  # /var/task cannot be written
            "LAMBDA_TASK_ROOT": str(self.task_root),
            "AWS_EXECUTION_ENV": "AWS_Lambda_python{}.{}".format(*sys.version_info[:2]),
            "AWS_LAMBDA_FUNCTION_NAME": "carryout-dev",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            **chosen,
        }


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
        """What it has printed."""
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
