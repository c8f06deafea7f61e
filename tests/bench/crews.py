"""Two worker processes of some kind, and how many tasks a second they do.

The queue is filled while the workers stand still (SIGSTOP); the clock runs from when they go on
until the last task is done and its result is kept.
"""

import contextlib
import os
import signal
import subprocess
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

from chalicelib.models import ACTIVE, Task
from tests.bench import seeds
from tests.bench.ground import Ground, stop
from tests.servers import wait_until

PEERS = Path(__file__).parent / "peers"
WORKERS = 2
DONE_WITHIN_S = 300.0
LEAST = 4
"""Tasks of a measurement, however slow they are: two for each worker."""

KEPT_S = 3600
"""How long RQ keeps results: longer than a run takes."""


class Crew(ABC):
    """Workers that run all the time.

    Attributes:
        name: What a row calls them.
    """

    name: str

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._processes: list[subprocess.Popen[bytes]] = []
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
        """End the processes."""
        self._signal(signal.SIGCONT)
        for process in self._processes:
            stop(process)

    def warm_up(self) -> None:
        """Do a few tasks, and learn how many a measurement takes."""
        self.measure(0)
        self.measure(0)
        self.measure(0.2)

    def measure(self, window_s: float) -> float:
        """Do as many tasks as take about this long; return how many were done a second."""
        self._signal(signal.SIGSTOP)
        self._filled += self.fill(max(LEAST, int(self._rate * window_s)))
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
        self._processes.append(self._ground.start(command, env=env, folder=folder))

    def _signal(self, number: int) -> None:
        for process in self._processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                one = psutil.Process(process.pid)
                for member in [one, *one.children(recursive=True)]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        member.send_signal(number)


class Ours(Crew):
    """Carryout's workers, on the ledger.

    Args:
        ground: Servers and processes.
        environment: The settings.
        task: What they do: `example` or `export_posts`.
        users: Whose tasks; more are made when they are too few, unless they have posts.
    """

    def __init__(
        self,
        ground: Ground,
        environment: Mapping[str, str],
        *,
        task: str = "example",
        users: Sequence[int] = (),
    ) -> None:
        super().__init__(ground)
        self.name = "Carryout"
        self._environment = environment
        self._wiring = ground.wiring(environment)
        self._task = task
        self._users = list(users)

    def start(self) -> None:
        """Start the workers, and wait until they listen."""
        command = [sys.executable, "-m", "worker", "run"]
        for _ in range(WORKERS):
            self._start(command, env=self._environment, folder=PEERS.parents[2])
        queue = self._wiring.queue
        wait_until(lambda: queue.workers_alive() == WORKERS, "the workers listen", within_s=60)

    def fill(self, count: int) -> int:
        """Insert tasks, one for each user, and ring for all in one round trip."""
        if self._task == "example" and count > len(self._users):
            more = count - len(self._users)
            self._users += seeds.make_users(self._wiring.database, more)
        task_ids = seeds.queue_tasks(self._wiring.database, self._users[:count], self._task)
        self._wiring.queue.ring((task_id, self._task) for task_id in task_ids)
        return len(task_ids)

    def done(self) -> int:
        """Count the tasks that are over, and whose mail is out if they have one."""
        going_on = sa.or_(Task.status.in_(ACTIVE), Task.mail_state.in_(("pending", "sending")))
        with self._wiring.database.read() as session:
            left = session.scalar(sa.select(sa.func.count()).select_from(Task).where(going_on))
        return self._filled - (left or 0)


class RQ(Crew):
    """RQ's own pool of workers.

    Args:
        ground: Servers and processes.
        worker: RQ's name for the kind of worker, which forks for each job or does not.
    """

    def __init__(self, ground: Ground, *, worker: str) -> None:
        super().__init__(ground)
        self.name = f"RQ {worker} × {WORKERS}"
        self._worker = worker
        self._url = ground.redis_url()
        self._redis = Redis.from_url(self._url)
        self._queue = Queue("bench", connection=self._redis)

    def start(self) -> None:
        """Start the pool."""
        command = [sys.executable, "-m", "rq.cli", "worker-pool", "bench", "--url", self._url]
        command += ["--num-workers", str(WORKERS), "--worker-class", f"rq.worker.{self._worker}"]
        self._start([*command, "--quiet"], env={"PYTHONPATH": str(PEERS)})

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


class Peer(Crew):
    """Workers of another library, from an environment of their own.

    Args:
        ground: Servers and processes.
        python: The Python of that environment.
    """

    script: str
    command: tuple[str, ...]

    def __init__(self, ground: Ground, python: Path) -> None:
        super().__init__(ground)
        self._python = str(python)
        urls = {"BENCH_BROKER": ground.redis_url(), "BENCH_RESULTS": ground.redis_url()}
        self._environment = {"PYTHONPATH": str(PEERS), **urls}
        self._results = Redis.from_url(urls["BENCH_RESULTS"])
        self._broker = Redis.from_url(urls["BENCH_BROKER"])

    def start(self) -> None:
        """Start the library's own command."""
        self._start([self._python, "-m", *self.command], env=self._environment)

    def fill(self, count: int) -> int:
        """Send messages, as the library does it."""
        subprocess.run(
            [self._python, str(PEERS / self.script), str(count)],
            env={**os.environ, **self._environment},
            cwd=PEERS,
            check=True,
            capture_output=True,
        )
        return count

    def done(self) -> int:
        """Count the results."""
        return int(self._results.dbsize())


class Celery(Peer):
    """Celery's prefork pool."""

    name = f"Celery prefork × {WORKERS}"
    script = "celery_noop.py"
    command = ("celery", "-A", "celery_noop", "worker", "--concurrency", str(WORKERS),
               "--loglevel", "ERROR")  # fmt: skip


class Dramatiq(Peer):
    """Dramatiq, one thread a process: more of them are slower when there is nothing to wait for."""

    name = f"Dramatiq × {WORKERS}"
    script = "dramatiq_noop.py"
    command = ("dramatiq", "dramatiq_noop", "--processes", str(WORKERS), "--threads", "1")


class SAQ(Peer):
    """SAQ: asyncio."""

    name = f"SAQ × {WORKERS}"
    script = "saq_noop.py"
    command = ("saq", "saq_noop.settings", "--workers", str(WORKERS), "--quiet")

    def done(self) -> int:
        """Count what is not incomplete: SAQ keeps results with the jobs."""
        return self._filled - int(self._broker.zcard("saq:default:incomplete"))
