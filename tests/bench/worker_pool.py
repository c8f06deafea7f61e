"""Worker processes of some kind, and how many tasks a second they do.

The queue is filled while the workers stand still (SIGSTOP); the clock runs from when they go on
until the last task is done and its result is kept.
"""

import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

import psutil
import sqlalchemy as sa
from redis import Redis
from rq import Queue

from chalicelib.adapters.job_queue import JobQueue, worker_client
from chalicelib.db.models import ACTIVE, OPEN_MESSAGES, OutboxMessage, Task
from chalicelib.wiring import Wiring
from tests.bench.bench import Bench
from tests.harness import seeds
from tests.harness.processes import ROOT, WORKER, family, output, send, stop
from tests.harness.waiting import wait_until

PEERS = Path(__file__).parent / "peers"
DONE_WITHIN_S = 300.0
ENQUEUED_AT_ONCE = 1_000

KEPT_S = 3600
"""How long RQ keeps results: longer than a run takes."""


class WorkerPool(ABC):
    """Workers that run all the time.

    Args:
        bench: The run.

    Attributes:
        name: What a row calls them.
        workers: How many they are.
    """

    name: str

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._least = bench.sizes.least
        self.workers = bench.sizes.workers
        self._processes: list[psutil.Popen] = []
        self._filled = 0
        self._rate = 0.0

    @abstractmethod
    def start(self) -> None:
        """Start the processes."""

    @abstractmethod
    def fill(self, count: int) -> int:
        """Put so many tasks into the queue, or as many as there can be; return how many."""

    @abstractmethod
    def done(self) -> int:
        """How many tasks were ever done."""

    def stop(self) -> None:
        """Kill the processes: some have children that would not hear a kinder signal."""
        self._signal(signal.SIGKILL)
        for process in self._processes:
            process.wait()

    def warm_up(self) -> None:
        """Do a few tasks, and learn how many a measurement takes."""
        self.measure(0)
        self.measure(0)

    def measure(self, window_s: float) -> float:
        """Do as many tasks as take about this long; return how many were done a second."""
        self._signal(signal.SIGSTOP)
        self._filled += self.fill(max(self._least, int(self._rate * window_s)))
        before = self.done()
        began = time.perf_counter()
        self._signal(signal.SIGCONT)
        what = f"{self.name} does its tasks"
        wait_until(lambda: self.done() >= self._filled, what, within_s=DONE_WITHIN_S)
        self._rate = (self._filled - before) / (time.perf_counter() - began)
        return self._rate

    def _start(
        self, command: Sequence[str], *, env: Mapping[str, str], folder: Path = PEERS
    ) -> None:
        self._processes.append(self._bench.start(command, env=env, folder=folder))

    def _signal(self, number: int) -> None:
        for process in self._processes:
            send(number, family(process))


class Carryout(WorkerPool):
    """Carryout's workers, on the ledger.

    Args:
        bench: The run.
        environment: The settings.
        task: What they do: `example` or `export_posts`.
        users: Whose tasks; more are made when they are too few, unless they have posts.
        workers: How many; None for as many as those of other libraries.
    """

    def __init__(
        self,
        bench: Bench,
        environment: Mapping[str, str],
        *,
        task: str = "example",
        users: Sequence[int] = (),
        workers: int | None = None,
    ) -> None:
        super().__init__(bench)
        self.name = "Carryout"
        self._environment = environment
        self._wiring = bench.wiring(environment)
        self._task = task
        self._users = list(users)
        self.workers = workers or self.workers

    def start(self) -> None:
        """Start the workers, and wait until they listen."""
        for _ in range(self.workers):
            self._start([*WORKER, "run"], env=self._environment, folder=ROOT)
        queue = self._wiring.queue
        wait_until(lambda: queue.workers_alive() == self.workers, "the workers listen", within_s=60)

    def stop(self) -> None:
        self._signal(signal.SIGCONT)
        for process in self._processes:
            stop(process)

    def fill(self, count: int) -> int:
        """Insert tasks, one for each user, and enqueue a job for each."""
        if self._task == "example" and count > len(self._users):
            more = count - len(self._users)
            self._users += seeds.make_users(self._wiring.database, more)
        task_ids = seeds.queue_tasks(self._wiring.database, self._users[:count], self._task)
        enqueue(self._wiring, [(task_id, self._task) for task_id in task_ids])
        return len(task_ids)

    def done(self) -> int:
        """Count the tasks that are over, and whose email is out if they have one."""
        active = sa.select(sa.func.count()).select_from(Task).where(Task.status.in_(ACTIVE))
        unsent = sa.select(sa.func.count()).select_from(OutboxMessage).where(OPEN_MESSAGES)
        with self._wiring.database.read() as session:
            left = session.scalar(sa.select(active.scalar_subquery() + unsent.scalar_subquery()))
        return self._filled - (left or 0)


class RQ(WorkerPool):
    """RQ's own pool of workers.

    Args:
        bench: The run.
        worker: RQ's name for the kind of worker, which forks for each job or does not.
    """

    def __init__(self, bench: Bench, *, worker: str) -> None:
        super().__init__(bench)
        self.name = f"RQ, {worker}"
        self._worker = worker
        self._url = bench.redis_url()
        self._redis = Redis.from_url(self._url)
        self._queue = Queue("bench", connection=self._redis)

    def start(self) -> None:
        command = [sys.executable, "-m", "rq.cli", "worker-pool", "bench", "--url", self._url]
        command += ["--num-workers", str(self.workers)]
        command += ["--worker-class", f"rq.worker.{self._worker}", "--quiet"]
        self._start(command, env={"PYTHONPATH": str(PEERS)})

    def fill(self, count: int) -> int:
        """Enqueue jobs in one round trip."""
        data = [
            Queue.prepare_data("rq_noop.noop", job_id=str(uuid4()), result_ttl=KEPT_S)
            for _ in range(count)
        ]
        with self._redis.pipeline() as pipeline:
            self._queue.enqueue_many(data, pipeline=pipeline)
            pipeline.execute()
        return count

    def done(self) -> int:
        """Count the finished jobs."""
        return self._redis.zcard("rq:finished:bench")


class Peer(WorkerPool):
    """Workers of another library, from an environment of their own.

    Args:
        bench: The run.
        python: The Python of that environment.
    """

    script: str
    command: tuple[str, ...]
    """The arguments behind `python -m`; braces stand for the number of workers."""

    def __init__(self, bench: Bench, python: Path) -> None:
        super().__init__(bench)
        self._python = str(python)
        urls = {name: bench.redis_url() for name in ("BENCH_BROKER", "BENCH_RESULTS")}
        self._environment = {"PYTHONPATH": str(PEERS), **urls}
        self._results = Redis.from_url(urls["BENCH_RESULTS"])
        self._broker = Redis.from_url(urls["BENCH_BROKER"])

    def start(self) -> None:
        command = [part.format(self.workers) for part in self.command]
        self._start([self._python, "-m", *command], env=self._environment)

    def fill(self, count: int) -> int:
        """Send messages, as the library does it."""
        env = {**os.environ, **self._environment}
        output(self._python, self.script, str(count), env=env, cwd=PEERS)
        return count

    def done(self) -> int:
        """Count the results."""
        return int(self._results.dbsize())


class Celery(Peer):
    name = "Celery, prefork"
    script = "celery_noop.py"
    command = ("celery", "-A", "celery_noop", "worker", "--concurrency", "{}",
               "--loglevel", "ERROR")  # fmt: skip


class Dramatiq(Peer):
    """Dramatiq, one thread a process: more of them are slower when there is nothing to wait for."""

    name = "Dramatiq"
    script = "dramatiq_noop.py"
    command = ("dramatiq", "dramatiq_noop", "--processes", "{}", "--threads", "1")


class SAQ(Peer):
    """SAQ: asyncio."""

    name = "SAQ"
    script = "saq_noop.py"
    command = ("saq", "saq_noop.settings", "--workers", "{}", "--quiet")

    def done(self) -> int:
        """Count what is not incomplete: SAQ keeps results with the jobs."""
        return self._filled - int(self._broker.zcard("saq:default:incomplete"))


class Huey(Peer):
    """Huey: a message is gone when it is done, so its result tells."""

    name = "Huey"
    script = "huey_noop.py"
    command = ("huey.bin.huey_consumer", "huey_noop.huey", "--worker-type", "process",
               "--workers", "{}", "--quiet")  # fmt: skip

    def done(self) -> int:
        """Count the results."""
        return int(self._broker.hlen("huey.results.bench"))


class Procrastinate(Peer):
    """Procrastinate: its queue is a table of PostgreSQL's."""

    name = "Procrastinate"
    script = "procrastinate_noop.py"
    command = ("procrastinate", "--app", "procrastinate_noop.app", "worker", "--concurrency", "1")

    def __init__(self, bench: Bench, python: Path) -> None:
        super().__init__(bench, python)
        environment = bench.environment("postgresql")
        self._wiring = bench.wiring(environment)
        url = environment["DATABASE_URL"].replace("+psycopg", "", 1)
        self._environment["BENCH_LEDGER"] = url

    def start(self) -> None:
        """Make the tables, and start processes: the work is one event loop's in each."""
        env = {**os.environ, **self._environment}
        output(self._python, self.script, "schema", env=env, cwd=PEERS)
        for _ in range(self.workers):
            super().start()

    def done(self) -> int:
        """Count the jobs that are done: they stay in the table."""
        statement = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'"
        with self._wiring.database.read() as session:
            return int(session.scalar(sa.text(statement)) or 0)


def enqueue(wiring: Wiring, tasks: Sequence[tuple[str, str]]) -> None:
    """Enqueue jobs for many tasks, with more patience than one request's time limit allows."""
    settings = wiring.settings
    with worker_client(settings.redis_url) as redis:
        queue = JobQueue(redis, settings.queue_name, timeout_s=settings.task_timeout_s)
        for first in range(0, len(tasks), ENQUEUED_AT_ONCE):
            queue.enqueue(tasks[first : first + ENQUEUED_AT_ONCE])
