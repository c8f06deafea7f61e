"""The work horse: a forked process that does one job after another while there are some.

RQ forks for every job, which costs more than most jobs do. Here a horse that is done listens for
the next job, for a moment, and ends when none comes or when it reaches one of its `Limits`; its
parent listens then, and forks the next one. What a job breaks still dies with the horse alone.
"""

import json
import os
import resource
import sys
import time
from dataclasses import dataclass
from typing import Any, cast

from rq import Queue, Worker
from rq.exceptions import NoSuchJobError
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.suspension import WORKERS_SUSPENDED
from rq.utils import now, utcformat
from rq.worker import WorkerStatus

from chalicelib.adapters.job_queue import JOB_TTL_S, TAKE, RegisteredJob
from worker.attempts import REQUEUED, FailedAttemptError
from worker.process import stop_requested

LISTEN_S = 0.5
"""How long one request for a job waits; also how soon an idle horse notices that it must end."""

LISTEN_TIMES = 4
"""After so many requests in vain the horse ends."""

EXECUTION_TTL_S = 65
"""When Redis forgets a silent execution: RQ's minute beside the parent's 5 s between two signs."""


Taken = tuple[bool, bytes | None, list[bytes]]
"""Whether workers are suspended; the id of a job that was taken, if any; its fields, if known."""


@dataclass(frozen=True)
class Limits:
    """When a work horse makes room for a fresh one, however much there is to do.

    Attributes:
        jobs: After so many: whatever a task or a library leaks is bounded.
        age_s: After so many seconds: its parent renews the protection of its container, tidies
            RQ's registries.
        rss_bytes: When its memory has ever been larger; an export peaks at half of it.
    """

    jobs: int = 1000
    age_s: float = 60
    rss_bytes: int = 256 << 20


LIMITS = Limits()


def put_back(queue: Queue, job_id: bytes | str) -> None:
    """Give up a job that was taken from the queue: it is the next one again."""
    with queue.connection.pipeline() as pipeline:
        pipeline.lrem(queue.intermediate_queue_key, 1, cast("str", job_id))
        pipeline.lpush(queue.key, job_id)
        pipeline.execute()


class WorkHorse:
    """Does jobs in a process of its own.

    Args:
        worker: RQ's worker, in whose name it works.
        queue: Where the jobs come from.
        parent: The process that recovers what it leaves behind.
        limits: When it ends.
    """

    def __init__(
        self,
        worker: Worker,
        queue: Queue,
        *,
        parent: int,
        limits: Limits = LIMITS,
    ) -> None:
        self._worker = worker
        self._queue = queue
        self._redis = worker.connection
        self._parent = parent
        self._left = limits.jobs
        self._limits = limits
        self._ends_at = time.monotonic() + limits.age_s

    def work(self, job: Job | None) -> None:
        """Do a job and those that follow."""
        while job is not None:
            self._perform(job)
            self._left -= 1
            job = None if self._is_spent() else self._next()

    def _perform(self, job: Job) -> None:
        execution = self._begin(job)
        try:
            outcome = job.perform()
        except Exception as error:  # noqa: BLE001 - RQ records it, as it does for its own workers
            self._worker._finalize_failure(job, self._queue, execution, sys.exc_info())  # noqa: SLF001
            if isinstance(error, FailedAttemptError) and error.timed_out:
                self._left = 0
        else:
            self._end(job, execution, requeued=outcome in REQUEUED)
            # Whatever was interrupted, or was forked and goes on, ends with this process.
            if outcome == "out_of_time":
                self._left = 0

    def _begin(self, job: Job) -> Execution:
        """Tell Redis what is being done: RQ's own notes, in one round trip."""
        with self._redis.pipeline(transaction=False) as pipeline:
            execution = Execution.create(
                job, EXECUTION_TTL_S, pipeline=pipeline, worker_name=self._worker.name
            )
            self._worker.set_state(WorkerStatus.BUSY, pipeline=pipeline)
            job.prepare_for_execution(self._worker.name, pipeline=pipeline)
            pipeline.persist(job.key)
            pipeline.lrem(self._queue.intermediate_queue_key, 1, job.id)
            # RQ's note that it lay there; with it, RQ would give the same id up the next time.
            pipeline.delete(self._queue.intermediate_queue.get_first_seen_key(job.id))
            pipeline.execute()
        return execution

    def _end(self, job: Job, execution: Execution, *, requeued: bool) -> None:
        """Tell Redis that it is done, in one round trip; a hint has no result to keep.

        A task that was released has the same job in the queue again: that one is not over.
        """
        job.ended_at = now()
        with self._redis.pipeline(transaction=False) as pipeline:
            self._worker.increment_successful_job_count(pipeline=pipeline)
            self._worker.increment_total_working_time(job.ended_at - execution.created_at, pipeline)
            if not requeued:
                facts: Any = {
                    "status": JobStatus.FINISHED.value,
                    "ended_at": utcformat(job.ended_at),
                }
                if job.meta.get("progress") == 100:  # noqa: PLR2004 - percent
                    facts["meta"] = json.dumps(job.meta)
                pipeline.hset(job.key, mapping=facts)
                job.finished_job_registry.add(job, JOB_TTL_S, pipeline)
                pipeline.expire(job.key, JOB_TTL_S)
            execution.delete(job=job, pipeline=pipeline)
            self._worker.set_state(WorkerStatus.IDLE, pipeline=pipeline)
            pipeline.execute()

    def _is_spent(self) -> bool:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak_bytes = peak if sys.platform == "darwin" else peak << 10
        is_old = self._left <= 0 or time.monotonic() >= self._ends_at
        return is_old or peak_bytes > self._limits.rss_bytes

    def _next(self) -> Job | None:
        """The next job, or None when none comes for a while."""
        for _ in range(LISTEN_TIMES):
            if self._must_end():
                return None
            suspended, job_id, fields = self._take()
            if job_id is None and not suspended:
                suspended, job_id, fields = self._listen()
            if suspended or self._must_end():
                if job_id is not None:
                    put_back(self._queue, job_id)
                return None
            if job_id is not None and (job := self._read(job_id, fields)):
                return job
        return None

    def _take(self) -> Taken:
        """The next job, if one waits, in one step."""
        queue = self._queue
        keys = (queue.key, queue.intermediate_queue_key, WORKERS_SUSPENDED)
        prefix = self._worker.job_class.redis_job_namespace_prefix
        suspended, *taken = self._redis.eval(TAKE, len(keys), *keys, prefix)
        job_id, fields = taken or (None, [])
        return bool(suspended), job_id, fields

    def _listen(self) -> Taken:
        """Wait for a job."""
        with self._redis.pipeline(transaction=False) as pipeline:
            # Fractions of a second are fine: Redis has taken them since version 6.
            key, intermediate = self._queue.key, self._queue.intermediate_queue_key
            pipeline.blmove(key, intermediate, cast("int", LISTEN_S))
            # Asked after the wait: `rq suspend` may have come meanwhile.
            pipeline.exists(WORKERS_SUSPENDED)
            raw, suspended = pipeline.execute()
        return bool(suspended), raw, []

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
