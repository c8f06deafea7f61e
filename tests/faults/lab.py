"""A stack of real processes to be maltreated: its parts, its users, its judgement."""

import contextlib
import os
import random
import signal
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from http import HTTPStatus
from typing import Any

import psutil
import sqlalchemy as sa
from redis.exceptions import RedisError
from rq import Worker
from rq.intermediate_queue import IntermediateQueue
from rq.registry import StartedJobRegistry

from chalicelib.accounts import accounts
from chalicelib.db.models import AuditEntry
from chalicelib.microblog.models import Post
from chalicelib.values.fields import format_time
from chalicelib.wiring import Wiring
from infra.local.demo import PHRASES
from infra.local.plan import EMULATOR_CREDENTIALS
from tests.faults import oracle, settling
from tests.faults.aws import AwsProxy
from tests.faults.oracle import Expected, Pair, Promise
from tests.faults.watch import Look, Watch
from tests.harness.ledgers import make_user
from tests.harness.people import Person, Remote
from tests.harness.processes import work_horses
from tests.harness.proxies import Proxy, to_port, to_socket
from tests.harness.seeds import insert
from tests.harness.servers import Servers, Valkey
from tests.harness.stacks import Stack
from tests.harness.waiting import wait_until

LEASE_S = 10
SWEEP_INTERVAL_S = 2
BOUND_S = LEASE_S + SWEEP_INTERVAL_S + 5
"""The longest recovery from a kill, at the 99th percentile."""

SETTLED_WITHIN_S = 150.0
"""An email whose sender died is `unknown` only after 65 s, a removal is repeated after 20 s."""

RQ_FORGETS_S = 3600 + 600
"""After this RQ's maintenance has tidied up whatever a killed worker was doing, even one whose
clock was an hour ahead."""

FIRST_POST = datetime(2024, 2, 29, 23, 59, 58, tzinfo=UTC)

one_at_a_time = threading.Lock()
"""boto3's default session is not made for two threads that build clients."""


# A lab that lives for an hour makes the same ones for hundreds of authors, and forgets nobody.
@cache
def make_posts(count: int, noise: int = 0) -> Sequence[tuple[str, datetime]]:
    """Posts of some 250 characters in many languages, two of them at each moment.

    Args:
        count: How many.
        noise: How many bytes each has, besides, that cannot be compressed.
    """
    chance = random.Random(count)
    texts = [" ".join(chance.choices(PHRASES, k=chance.randrange(1, 10))) for _ in range(100)]
    return [
        (
            f"#{number} {chance.choice(texts)}{b64encode(chance.randbytes(noise)).decode()}",
            FIRST_POST + timedelta(seconds=number // 2 * 0.75),
        )
        for number in range(count)
    ]


@cache
def as_exported(count: int, noise: int = 0) -> list[Pair]:
    """The posts of `make_posts` as exports show them."""
    return [(body, format_time(at)) for body, at in make_posts(count, noise)]


@dataclass
class Author(Person):
    """Somebody whose exports are the oracle's business.

    Attributes:
        lab: Where.
        posts: What they wrote, in the order of an export.
    """

    lab: "Lab | None" = None
    posts: list[Pair] = field(default_factory=list)

    def export(self, *, outcomes: Collection[str] = ("succeeded",)) -> str:
        """Request an export; from the 202 on, it is the oracle's business."""
        return self._expect(self.call("POST", "/v1/exports", {}, 202), outcomes)

    def archive(self, **params: Any) -> str:
        """Request an archive, as `export` does."""
        body = {"name": "export_archive", "params": params}
        return self._expect(self.call("POST", "/v1/tasks", body, 202), ("succeeded",))

    def try_counting(self) -> int:
        """Request the smallest task, which may be refused; return the status of the answer."""
        answer = self.post("/v1/tasks", {"name": "example", "params": {"seconds": 0}})
        if answer.status_code == HTTPStatus.ACCEPTED:
            self._expect(answer.json_body, ("succeeded",))
        return int(answer.status_code)

    def forget_password(self) -> None:
        """Request a link to reset the password; from the 202 on, an email must come."""
        assert self.lab
        self.call("POST", "/v1/password-resets", {"email": self.address}, 202)
        self.lab.promised.append(Promise("reset", self.address))

    def count_seconds(self, seconds: int) -> str:
        """Request the smallest task there is."""
        body = {"name": "example", "params": {"seconds": seconds}}
        return self._expect(self.call("POST", "/v1/tasks", body, 202), ("succeeded",))

    def _expect(self, task: dict[str, Any], outcomes: Collection[str]) -> str:
        assert self.lab
        task_id: str = task["id"]
        self.lab.accepted[task_id] = Expected(
            user_id=self.user_id, username=self.username, must=self.posts, outcomes=outcomes
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
        prefix: A command that runs the launcher.
        database_host: What the stack calls the machine of the proxy before PostgreSQL.
        redis_host: What it calls that of the proxy before Redis.
    """

    workers: int = 2
    database_url: str | None = None
    own_valkey: bool = False
    aws_proxy: bool = False
    database_proxy: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    prefix: Sequence[str] = ()
    database_host: str = "127.0.0.1"
    redis_host: str = "127.0.0.1"


class Lab:
    """A running stack, from the beginning to `close`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._cleanup = contextlib.ExitStack()
        self._servers = self._cleanup.enter_context(Servers())
        self.folder = self._servers.folder
        self.accepted: dict[str, Expected] = {}
        self.promised: list[Promise] = []
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
        self._cleanup.close()

    def defer(self, action: Callable[[], object]) -> None:
        """Do something as the lab closes."""
        self._cleanup.callback(action)

    def _start(self) -> None:
        settings = self._surroundings()
        self.stack = Stack(
            self.folder / "data",
            prefix=self.plan.prefix,
            WORKERS=str(self.plan.workers),
            **settings,
        )
        self._cleanup.callback(self.stack.stop)
        self.stack.ready()
        if self.aws is None:
            self.mail_dir = self.stack.folder / "mail"
        with one_at_a_time:
            self.wiring.object_store.warm_up()
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
            self.valkey = self._servers.valkey
            self.redis_line = self._proxy(Proxy(to_port(self.valkey.port)))
            settings["REDIS_URL"] = f"redis://{self.plan.redis_host}:{self.redis_line.port}/0"
        if self.plan.aws_proxy:
            settings |= EMULATOR_CREDENTIALS
            settings["AWS_ENDPOINT_URL"] = self._aws_url()
        return settings

    def _database_url(self, url: str) -> str:
        if not self.plan.database_proxy:
            return url
        parts = sa.make_url(url)
        self.database_line = self._proxy(Proxy(self.to_database))
        # Through the proxy there is no TLS to negotiate.
        host, port = self.plan.database_host, self.database_line.port
        parts = parts.set(host=host, port=port, query={})
        return parts.render_as_string(hide_password=False) + "?sslmode=disable&gssencmode=disable"

    def to_database(self) -> socket.socket:
        """Connect to PostgreSQL, past the proxy."""
        assert self.plan.database_url
        parts = sa.make_url(self.plan.database_url)
        host, port = str(parts.query.get("host") or parts.host), parts.port or 5432
        return to_socket(f"{host}/.s.PGSQL.{port}")() if host[0] == "/" else to_port(port)()

    def _aws_url(self) -> str:
        self.mail_dir = self._servers.aws.mail_dir
        self.aws = AwsProxy(self._servers.aws.url)
        self._cleanup.callback(self.aws.close)
        return self.aws.url

    def _proxy(self, proxy: Proxy) -> Proxy:
        self._cleanup.callback(proxy.close)
        return proxy

    @property
    def log(self) -> str:
        """What the launcher and its children have said."""
        return self.stack.log

    @property
    def workers(self) -> list[int]:
        """The processes of the workers, as they are now."""
        pids: list[int] = self.stack.facts["pids"]["workers"]
        return pids

    @cached_property
    def wiring(self) -> Wiring:
        """Clients for the lab, which reach the servers without a proxy."""
        env = dict(self.stack.facts["env"])
        if self.plan.database_url:
            env["DATABASE_URL"] = self.plan.database_url
        if self.valkey:
            env["REDIS_URL"] = self.valkey.url()
        if self.aws:
            env["AWS_ENDPOINT_URL"] = self._servers.aws.url
        return Wiring.from_environment(env)

    def join(self, posts: int = 0, *, noise: int = 0) -> Author:
        self._names += 1
        name = f"user-{self._names}"
        user_id = make_user(self.wiring.database, name)
        with self.wiring.database.write() as session:
            new = accounts.issue_token(session, user_id, ttl_s=86_400, now=datetime.now(UTC))
        written = make_posts(posts, noise)
        rows = [{"user_id": user_id, "body": body, "timestamp": at} for body, at in written]
        insert(self.wiring.database, Post, rows)
        pairs = as_exported(posts, noise)
        app = Remote(self.stack.app_url)
        return Author(app, new.token, user_id, name, self.stack, lab=self, posts=pairs)

    def post_ids(self, person: Author) -> list[int]:
        """The numbers of somebody's posts, in the order of an export."""
        statement = sa.select(Post.id).where(Post.user_id == person.user_id)
        with self.wiring.database.read() as session:
            return list(session.scalars(statement.order_by(Post.timestamp, Post.id)))

    def may_miss(self, task_id: str, deleted: Collection[int]) -> None:
        """Posts, by their index in the order of an export, were deleted while the task ran."""
        expected = self.accepted[task_id]
        must = [post for index, post in enumerate(expected.must) if index not in deleted]
        may = [expected.must[index] for index in deleted]
        self.accepted[task_id] = replace(expected, must=must, may=may)

    def was_published(self, task_id: str) -> bool:
        """Whether a task succeeded, even if its account is gone now."""
        statement = sa.select(AuditEntry.event).where(AuditEntry.task_id == task_id)
        with self.wiring.database.read() as session:
            return "published" in session.scalars(statement).all()

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

    def fail_over(self, replica: Valkey) -> None:
        """Reach another Redis from now on, as all do who connect to the proxy."""
        assert self.redis_line
        self.redis_line.redirect(to_port(replica.port))
        self.valkey = replica
        del self.wiring
        self._cleanup.callback(self.wiring.database.close)

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
            return send(signal.SIGKILL, *horses)
        if not self.is_worker(parent):
            return 0
        # The parent first: it would recover what the horse leaves.
        return send(signal.SIGKILL, parent, *(horses if whom == "both" else []))

    def is_worker(self, pid: int) -> bool:
        """Whether a process is a worker that this lab's launcher started, and alive."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return bool(psutil.Process(pid).ppid() == self.stack.process.pid)
        return False

    def horses(self, parent: int) -> list[int]:
        with contextlib.suppress(psutil.NoSuchProcess):
            if self.is_worker(parent):
                return [one.pid for one in work_horses(psutil.Process(parent))]
        return []

    def sender(self) -> psutil.Process | None:
        """The child of a worker that waits for SES just now, and is no work horse."""
        assert self.aws
        ports = {call.port for call in list(self.aws.in_flight) if call.is_email}
        for parent in self.workers:
            for child in self._helpers(parent):
                with contextlib.suppress(psutil.Error):
                    if any(one.laddr.port in ports for one in child.net_connections("tcp")):
                        return child
        return None

    def _helpers(self, parent: int) -> list[psutil.Process]:
        """The children of a worker that are no work horses."""
        horses = self.horses(parent)
        with contextlib.suppress(psutil.NoSuchProcess):
            if self.is_worker(parent):
                children = psutil.Process(parent).children()
                return [child for child in children if child.pid not in horses]
        return []

    def redis_answers(self) -> bool:
        """Whether Redis can be reached, past the proxy if there is one."""
        with contextlib.suppress(RedisError):
            return bool(self.wiring.queue.redis.ping())
        return False

    def settle(self) -> list[str]:
        """Wait until everything is over and tidied up, then hear the oracle.

        Returns:
            What is not as it must be.
        """
        deadline = time.monotonic() + SETTLED_WITHIN_S
        while settling.unsettled(self.wiring) and time.monotonic() < deadline:
            time.sleep(0.25)
        # All may be over before the launcher has started it again.
        wait_until(self.redis_answers, "Redis answers")
        self._age_redis()
        found = oracle.violations(
            self.wiring, self.mail_dir, accepted=self.accepted, promised=self.promised
        )
        found = [one for one in found if not one.endswith(" rq:clean_groups")]  # RQ's, like those
        lost = [f"nobody recovered from {kill}" for kill in self.watch.open_kills()]
        return [*found, *lost, *self.watch.faults]

    def _age_redis(self) -> None:
        """Do what time and RQ's maintenance will do: give up the executions that died.

        So it is with a job that was taken and not begun, which a replica that is promoted may
        still have so when its task is over.
        """
        queue, redis = self.wiring.queue.rq, self.wiring.queue.redis
        StartedJobRegistry(queue=queue).cleanup(timestamp=time.time() + RQ_FORGETS_S)
        intermediate = IntermediateQueue(queue.key, connection=queue.connection)
        for job_id in intermediate.get_job_ids():
            seen_at = time.time() - RQ_FORGETS_S
            redis.set(intermediate.get_first_seen_key(job_id), seen_at, ex=RQ_FORGETS_S)
        options: Any = {"job_class": queue.job_class, "serializer": queue.serializer}
        intermediate.cleanup(Worker([queue], connection=queue.connection, **options), queue)
        for pattern in ("rq:execution*", f"{intermediate.key}:first_seen:*"):
            for key in redis.scan_iter(pattern):
                if redis.ttl(key) > 0:
                    redis.delete(key)


def parent_of(look: Look) -> int:
    """The worker's process that works on a task; its number is in the worker's name."""
    assert look.worker is not None
    return int(look.worker.split(".")[-2])


def send(number: int, *pids: int) -> int:
    """Signal processes; return how many were there."""
    count = 0
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            count += 1
    return count
