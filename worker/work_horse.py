"""The work horse: a forked process that does one job after another while there are some.

RQ forks for every job, which costs more than most jobs do. Here a horse that is done listens for
the next job, for a moment, and ends when none comes or when it reaches one of its `Limits`; its
parent listens then, and forks the next one. What a job breaks still dies with the horse alone.
Of short jobs it takes several at a time; see `batch`.
"""

import os
import resource
import sys
import time
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

from rq import Queue, Worker
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.suspension import WORKERS_SUSPENDED
from rq.worker import WorkerStatus
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from chalicelib.adapters.job_queue import TAKE, RegisteredJob
from chalicelib.tasks import batches
from chalicelib.tasks.registry import TASKS
from chalicelib.wiring import Wiring
from worker import batch
from worker.attempts import REQUEUED, FailedAttemptError
from worker.batch import Batch
from worker.job_notes import JobNotes, put_back
from worker.process import stop_requested

LISTEN_S = 0.5
"""How long one request for a job waits; also how soon an idle horse notices that it must end."""

LISTEN_TIMES = 4
"""After so many requests in vain the horse ends."""

Taken = tuple[bool, list[tuple[bytes, list[bytes]]]]
"""Whether workers are suspended; ids of the jobs that were taken, and their fields, if known."""


@dataclass(frozen=True)
class Limits:
    """When a work horse makes room for a fresh one, however much there is to do.

    Attributes:
        jobs: After so many: whatever a task or a library leaks is bounded. A fresh horse connects
            to the database anew and takes tens of milliseconds to become as fast as the last one.
        age_s: After so many seconds: its parent renews the protection of its container, tidies
            RQ's registries.
        rss_bytes: When its memory has ever been larger; an export peaks at half of it.
    """

    jobs: int = 10_000
    age_s: float = 60
    rss_bytes: int = 256 << 20


LIMITS = Limits()


class Pace:
    """How long jobs have lately taken, by the kinds that they name: moving averages."""

    WEIGHT = 0.2
    """Of the last job in its kind's average."""

    def __init__(self) -> None:
        self._averages: dict[str, float] = {}

    def note(self, job: Job) -> None:
        """A job is done."""
        if not isinstance(job, RegisteredJob) or job.took_s is None:
            return
        name = job.probable_name
        if name in TASKS:
            average = self._averages.get(name, job.took_s)
            self._averages[name] = average + self.WEIGHT * (job.took_s - average)

    def short(self) -> dict[str, int]:
        """The microseconds that a job takes, of kinds of which several may be taken at a time."""
        return {
            name: max(1, int(average * 1_000_000))
            for name, average in self._averages.items()
            if average <= batch.AHEAD_S and batches.is_plain(TASKS[name])
        }


class WorkHorse:
    """Does jobs in a process of its own.

    Args:
        worker: RQ's worker, in whose name it works.
        queue: Where the jobs come from.
        wiring: Clients and settings.
        parent: The process that recovers what it leaves behind.
        limits: When it ends.
    """

    def __init__(
        self,
        worker: Worker,
        queue: Queue,
        *,
        wiring: Wiring,
        parent: int,
        limits: Limits = LIMITS,
    ) -> None:
        self._worker = worker
        self._queue = queue
        self._redis = worker.connection
        self._wiring = wiring
        self._parent = parent
        self._workers_key = WORKERS_BY_QUEUE_KEY % queue.name
        self._left = limits.jobs
        self._limits = limits
        self._ends_at = time.monotonic() + limits.age_s
        self._notes = JobNotes(worker, queue)
        self._pace = Pace()

    def work(self, job: Job | None) -> None:
        """Do a job and those that follow."""
        jobs = [] if job is None else [job]
        while jobs:
            if len(jobs) == 1:
                self._perform(jobs[0])
            else:
                self._perform_together(jobs)
            self._left -= len(jobs)
            jobs = [] if self._is_spent() else self._next()

    def _perform(self, job: Job) -> None:
        execution = self._notes.begin(job)
        try:
            outcome = job.perform()
        except Exception as error:  # noqa: BLE001 - RQ records it, as it does for its own workers
            self._notes.fail(job, execution)
            if isinstance(error, FailedAttemptError) and error.timed_out:
                self._left = 0
        else:
            self._notes.end(job, execution, requeued=outcome in REQUEUED)
            self._pace.note(job)
            # Whatever was interrupted, or was forked and goes on, ends with this process.
            if outcome == "out_of_time":
                self._left = 0

    def _perform_together(self, jobs: list[Job]) -> None:
        together = Batch(
            self._wiring,
            self._notes,
            jobs,
            perform=self._perform,
            must_stop=self._must_end,
            note=self._pace.note,
        )
        together.work()
        if together.is_spent:
            self._left = 0

    def _is_spent(self) -> bool:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak_bytes = peak if sys.platform == "darwin" else peak << 10
        is_old = self._left <= 0 or time.monotonic() >= self._ends_at
        return is_old or peak_bytes > self._limits.rss_bytes

    def _next(self) -> list[Job]:
        """The next job, or several short ones; none when none comes for a while."""
        for _ in range(LISTEN_TIMES):
            if self._must_end():
                return []
            suspended, taken = self._take()
            if not taken and not suspended:
                suspended, taken = self._listen()
            if suspended or self._must_end():
                put_back(self._queue, *(job_id for job_id, _ in taken))
                return []
            if jobs := [job for one in taken if (job := self._read(*one))]:
                return jobs
        return []

    def _take(self) -> Taken:
        """What waits, if anything does, in one step."""
        queue = self._queue
        keys = (queue.key, queue.intermediate_queue_key, WORKERS_SUSPENDED, self._workers_key)
        prefix = self._worker.job_class.redis_job_namespace_prefix
        limits: list[Any] = [prefix, int(batch.AHEAD_S * 1_000_000), min(batch.MOST, self._left)]
        if batch.are_possible(self._wiring):
            limits += chain.from_iterable(self._pace.short().items())
        suspended, *taken = self._redis.eval(TAKE, len(keys), *keys, *limits)
        return bool(suspended), list(zip(taken[::2], taken[1::2], strict=True))

    def _listen(self) -> Taken:
        """Wait for a job."""
        with self._redis.pipeline(transaction=False) as pipeline:
            self._worker.set_state(WorkerStatus.IDLE, pipeline=pipeline)
            # Fractions of a second are fine: Redis has taken them since version 6.
            key, intermediate = self._queue.key, self._queue.intermediate_queue_key
            pipeline.blmove(key, intermediate, cast("int", LISTEN_S))
            # Asked after the wait: `rq suspend` may have come meanwhile.
            pipeline.exists(WORKERS_SUSPENDED)
            _, raw, suspended = pipeline.execute()
        return bool(suspended), [] if raw is None else [(raw, [])]

    def _must_end(self) -> bool:
        return stop_requested() or os.getppid() != self._parent

    def _read(self, job_id: bytes, fields: list[bytes]) -> Job | None:
        """A job that Redis forgot, or that is not in the form of one, is passed over."""
        name = job_id.decode(errors="replace")
        try:
            return RegisteredJob.made_of(name, fields, connection=self._redis)
        except NoSuchJobError:
            self._redis.lrem(self._queue.intermediate_queue_key, 1, cast("str", job_id))
            return None
