"""What a work horse tells Redis of the jobs that it does, in RQ's own words."""

import json
import sys
from collections.abc import Iterable
from datetime import datetime
from typing import Any, cast

from rq import Queue, Worker
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.utils import current_timestamp, now, utcformat
from rq.worker import WorkerStatus

from chalicelib.adapters.job_queue import END_TOGETHER, JOB_TTL_S

EXECUTION_TTL_S = 65
"""When Redis forgets a silent execution: RQ's minute beside the parent's 5 s between two signs."""


def put_back(queue: Queue, *job_ids: bytes | str) -> None:
    """Give up jobs that were taken from the queue: they are the next ones again, in their order."""
    with queue.connection.pipeline() as pipeline:
        for job_id in reversed(job_ids):
            pipeline.lrem(queue.intermediate_queue_key, 1, cast("str", job_id))
            pipeline.lpush(queue.key, job_id)
        pipeline.execute()


class JobNotes:
    """Tells Redis.

    Args:
        worker: RQ's worker, in whose name the jobs are done.
        queue: Where they come from.
    """

    def __init__(self, worker: Worker, queue: Queue) -> None:
        self._worker = worker
        self._queue = queue
        self._redis = worker.connection

    def begin(self, job: Job) -> Execution:
        """Note what is being done, in one round trip."""
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

    def end(self, job: Job, execution: Execution, *, requeued: bool) -> None:
        """Note that it is done, in one round trip; a hint has no result to keep.

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
            pipeline.execute()

    def fail(self, job: Job, execution: Execution) -> None:
        """Note that it raised the present exception, as RQ does for its own workers."""
        self._worker._finalize_failure(job, self._queue, execution, sys.exc_info())  # noqa: SLF001

    def end_together(self, jobs: Iterable[Job], *, since: datetime) -> None:
        """Note that jobs succeeded of whose beginning nothing was noted, in one command."""
        done, moment = list(jobs), now()
        registry = self._queue.finished_job_registry.key
        keys = [self._queue.intermediate_queue_key, registry, self._worker.key]
        arguments: list[Any] = [self._worker.name, utcformat(since), utcformat(moment), JOB_TTL_S]
        arguments += [current_timestamp() + JOB_TTL_S, (moment - since).total_seconds()]
        for job in done:
            keys.append(job.key)
            arguments += [job.id, json.dumps(job.meta)]
        self._redis.eval(END_TOGETHER, len(keys), *keys, *arguments)

    def put_back(self, jobs: Iterable[Job]) -> None:
        """Give up jobs of whose beginning nothing was noted."""
        if ids := [job.id for job in jobs]:
            put_back(self._queue, *ids)
