"""The long-running worker: RQ's, on one queue, that notices a death within a minute.

The parent process listens; a forked work horse does a job and those that come right after it;
three more children run the reconciler, the outbox's sender, and deliveries to webhooks. The parent
has no thread in SQL when it forks, and shares no connection with its children.
"""

import logging
import os
import random
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from rq import Queue, Worker, worker_registration
from rq.exceptions import NoSuchJobError, StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.suspension import is_suspended
from rq.utils import import_attribute, now
from rq.worker import WorkerStatus

from chalicelib.adapters.job_queue import QueueError, RegisteredJob, TextQueue
from chalicelib.db.engine import ANSWER_S
from chalicelib.errors import CancelRequested, ClaimLost
from chalicelib.tasks import leases
from chalicelib.tasks.leases import Lease
from chalicelib.tasks.registry import TASKS
from chalicelib.wiring import Wiring
from worker import alive, child_process, liveness
from worker.child_process import ChildProcess, exit_with
from worker.job_notes import EXECUTION_TTL_S, put_back
from worker.liveness import Watch, Work
from worker.outbox import email_message
from worker.outbox.sender_process import send_for_ever
from worker.outbox.webhook_process import deliver_for_ever
from worker.process import process_wiring, request_stop
from worker.protection import protected
from worker.reconciler_process import reconcile_for_ever
from worker.work_horse import WorkHorse

log = logging.getLogger(__name__)

WORKER_TTL_S = 20
"""When Redis forgets a silent worker. RQ listens for 15 s less at a time, so that an idle worker
shows a sign of life every 5 s; its own expiry, a minute more, is too long for an honest page."""

ORPHAN_GRACE_S = 5
"""How long a work horse without a parent has to release its task."""

MONITORING_INTERVAL_S = 5
"""How often the parent shows a sign of life while a work horse works."""

MAINTENANCE_INTERVAL_S = 60
"""How often RQ tidies its registries; for tasks it does not matter, they have the reconciler."""

LISTEN_S = 0.25
"""How long the parent listens to its work horse at a time."""

OVERTIME_S = 2
"""How long after its time limit an attempt is killed that swallows the alarm or does not hear it:
the contract gives it 5 s until its task has an outcome."""

STOP_GRACE_S = 5
"""How long after SIGTERM an attempt is killed that has not released its task: `make run` waits for
10 s, and AWS for its `StopTimeout`, before they kill the parent as well."""

Recovered = tuple[str, str, bool]
"""A task's id, its kind's name, and whether it was released."""

HORSE_DIED = "The work horse ended before the job did."


@dataclass(frozen=True)
class Verdict:
    """Why a work horse was killed, and what it worked on.

    Attributes:
        cause: `silent`, `out_of_time`, `stopped` (this worker must stop) or `stop_job` (somebody
            stopped the job with RQ's tools).
        work: As far as is known.
        job_id: The job that was stopped.
    """

    cause: str
    work: Work | None = None
    job_id: str | None = None

    def concerns(self, lease: Lease) -> bool:
        """Whether it was because of this attempt, or the task that it is at."""
        if self.work is None:
            return self.job_id == lease.task_id
        return is_about(self.work, lease)


def is_about(work: Work, lease: Lease) -> bool:
    """Whether what a horse worked on is what it had this lease for."""
    return (work.task_id, work.claim) == (lease.task_id, lease.claim)


class Runner(Worker):
    """RQ's worker, with ways of its own to stop, to be seen, and to learn of a dead work horse.

    Args:
        wiring: Clients and settings.
        alive: A file that every sign of life touches.
    """

    def __init__(self, wiring: Wiring, *, alive: Path) -> None:
        self._wiring = wiring
        self._alive = alive
        self._children = [
            ChildProcess(lambda: reconcile_for_ever(_beside_tasks(wiring, 1))),
            ChildProcess(lambda: send_for_ever(_beside_tasks(wiring, 1))),
            ChildProcess(lambda: deliver_for_ever(_beside_tasks(wiring, 2))),
        ]
        self._horse_status = 0
        self._pipe = -1, -1
        self._stop_at = float("inf")
        self._verdict: Verdict | None = None
        self._last_work: Work | None = None
        super().__init__(
            [wiring.settings.queue_name],
            name=f"{socket.gethostname().replace(':', '-')}.{os.getpid()}.{uuid4().hex[:8]}",
            connection=wiring.worker_redis,
            serializer=JSONSerializer,
            job_class=RegisteredJob,
            queue_class=TextQueue,
            worker_ttl=WORKER_TTL_S,
            job_monitoring_interval=MONITORING_INTERVAL_S,
            maintenance_interval=MAINTENANCE_INTERVAL_S,
            log_job_description=False,
        )

    def run(self) -> None:
        """Work until a signal says stop."""
        # Children inherit what is imported and made by now: a work horse starts in milliseconds.
        for kind in TASKS.values():
            for name in filter(None, (kind.function, kind.follow_up)):
                import_attribute(name)
        forget_dead(self._wiring)
        self._wiring.read_secrets()
        process_wiring().object_store.warm_up()
        process_wiring().email_service.warm_up()
        email_message.warm_up()
        self._keep_children_alive()
        try:
            self.work(logging_level="WARNING")
        finally:
            # An ending interpreter takes its handlers back: a second signal would kill it.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
            log.info("stopping", extra={"action": "stop"})
            self._terminate_children()
            deadline = time.monotonic() + child_process.STOP_GRACE_S  # of all together
            for child in self._children:
                child.stop(deadline=deadline)
            self._alive.unlink(missing_ok=True)

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Show a sign of life, to Redis and to `python -m worker health`."""
        del timeout
        super().heartbeat(WORKER_TTL_S, pipeline)
        self._alive.touch()
        if self._is_horse:
            return
        self._keep_children_alive()
        if pipeline is None and not self.connection.hexists(self.key, "birth"):
            self._register_again()

    def _keep_children_alive(self) -> None:
        if self._stop_at == float("inf"):
            for child in self._children:
                child.keep_alive()

    def _terminate_children(self) -> None:
        for child in self._children:
            child.terminate()

    def run_maintenance_tasks(self) -> None:
        """Have RQ tidy its registries, and go on when something in them is not RQ's."""
        try:
            super().run_maintenance_tasks()  # type: ignore[no-untyped-call]
        except (RedisConnectionError, RedisTimeoutError, StopRequested):
            raise  # RQ's handler of signals raises wherever it finds the worker, here too
        except Exception:
            log.warning("could not tidy", extra={"action": "tidy"}, exc_info=True)
            self.last_cleaned_at = now()  # type: ignore[assignment]

    def _register_again(self) -> None:
        """Redis lost its data or was away for longer than `WORKER_TTL_S`."""
        with self.connection.pipeline() as pipeline:
            pipeline.hset(self.key, mapping={**self.serialize(), "state": self.get_state()})
            pipeline.expire(self.key, WORKER_TTL_S)
            worker_registration.register(self, pipeline)
            pipeline.execute()

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Have a work horse do a job and those that follow, protected from scale-in meanwhile."""
        # RQ asks before it listens, and `rq suspend` may come while it does.
        if is_suspended(self.connection):
            put_back(queue, job.id)
            return
        with protected(os.environ.get("ECS_AGENT_URI")):
            self.set_state(WorkerStatus.BUSY)
            self.fork_work_horse(job, queue)
            self.monitor_work_horse(job, queue)
            self.set_state(WorkerStatus.IDLE)
        if self._horse_status:
            self._recover_from_horse(queue)

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Fork, with SIGTERM held until both sides know what to do about it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        self._verdict = None
        self._pipe = os.pipe()
        super().fork_work_horse(job, queue)
        os.close(self._pipe[1])
        if self._stop_requested:
            os.kill(self.horse_pid, signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """Be the work horse, and do not outlive the parent: Redis alone may be waited for long."""
        random.seed()
        self.setup_work_horse_signals()
        self._is_horse = True
        parent, status = self.pid or os.getppid(), 1
        exit_with(parent, grace_s=ORPHAN_GRACE_S)
        os.close(self._pipe[0])
        liveness.report_to(self._pipe[1])
        try:
            WorkHorse(self, queue, wiring=process_wiring(), parent=parent).work(job)
            status = 0
        except Exception:
            log.exception("work horse broke down", extra={"action": "work"})
        finally:
            os._exit(status)

    def monitor_work_horse(self, job: Job, queue: Queue, execution: Any = None) -> None:
        """Wait for the work horse's end, and show signs of life for both meanwhile."""
        del job, execution  # it does others, too
        watch, shown_at = Watch(self._pipe[0]), time.monotonic()
        while (status := self._horse_end()) is None:
            watch.listen(LISTEN_S)
            if self._verdict is None and (verdict := self._judge(watch)):
                self._verdict = verdict
                self.kill_horse()
            if time.monotonic() - shown_at >= MONITORING_INTERVAL_S:
                self._show_signs_of_life(queue)
                shown_at = time.monotonic()
        watch.listen(0)
        watch.close()
        self._last_work = watch.work
        self._horse_pid = 0
        self._horse_status = status

    def _horse_end(self) -> int | None:
        """How the work horse ended, as `wait` tells; None while it lives."""
        try:
            pid, status = os.waitpid(self.horse_pid, os.WNOHANG)
        except ChildProcessError:
            return 0
        if not pid:
            return None
        # What a task forked and left behind would work on, unseen, with what it inherited.
        with suppress(ProcessLookupError):
            os.killpg(self.horse_pid, signal.SIGKILL)
        return status

    def _judge(self, watch: Watch) -> Verdict | None:
        """Why the work horse must not go on, if so; SIGKILL reaches one that is stopped, too."""
        now = time.monotonic()
        if watch.silent_s > self._wiring.settings.lease_s:
            return Verdict("silent", watch.work)
        if watch.work and now > watch.work.deadline + OVERTIME_S:
            return Verdict("out_of_time", watch.work)
        if watch.work and now > self._stop_at:
            return Verdict("stopped", watch.work)
        return None

    def _show_signs_of_life(self, queue: Queue) -> None:
        """For both, to Redis; while it does not respond, the work horse is watched all the same."""
        patient, self.connection = self.connection, self._wiring.queue.redis
        try:
            self._watch_horse(queue)
        except QueueError:
            self._alive.touch()
            log.debug("Redis was not told", extra={"action": "work"})
        finally:
            self.connection = patient

    def _watch_horse(self, queue: Queue) -> None:
        self.heartbeat()
        executions = self.get_current_executions()
        if not executions:
            return
        # It does one job at a time. Older executions were left over; Redis forgets silent ones.
        execution = max(executions, key=lambda one: one.created_at)
        with self.connection.pipeline() as pipeline:
            registry = queue.started_job_registry
            execution.heartbeat(registry, EXECUTION_TTL_S, pipeline=pipeline)
            pipeline.execute()

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Kill the work horse, if there is one: RQ would take its own process group for its."""
        if self.horse_pid:
            super().kill_horse(sig)

    def get_current_executions(self, refresh: bool = True) -> list[Execution]:
        """What Redis knows now: the work horse does other jobs than it did before."""
        del refresh
        return super().get_current_executions(refresh=True)

    def handle_warm_shutdown_request(self) -> None:
        """Have the work horse checkpoint and release its task, instead of waiting for its end.

        RQ calls it inside its signal handler, where nothing may take a lock: no line is logged.
        """
        # What is left to say to Redis is not worth a wait: it would find out by itself.
        patient = self._wiring.worker_redis
        patient.connection_pool.connection_kwargs |= {
            "socket_timeout": 1,
            "socket_connect_timeout": 1,
        }
        patient.set_retry(Retry(NoBackoff(), 0))
        self._stop_at = min(self._stop_at, time.monotonic() + STOP_GRACE_S)
        if self.horse_pid:
            os.kill(self.horse_pid, signal.SIGTERM)
        self._terminate_children()  # while the work horse stops: 10 s are all there is

    def set_shutdown_requested_date(self) -> None:
        """Say nothing to Redis inside a signal handler: nobody reads it, and it may hang."""

    def register_death(self) -> None:
        """Take leave of Redis, if it is there."""
        try:
            super().register_death()  # type: ignore[no-untyped-call]
        except QueueError:
            log.warning("Redis was not told", extra={"action": "stop"})

    def request_force_stop(self, signum: int, frame: Any) -> None:
        """Wait as long after a second signal as after the first: stopping takes a second or two."""
        del signum, frame

    def setup_work_horse_signals(self) -> None:
        """In the work horse, SIGTERM sets a flag that the attempt looks at."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, request_stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def _recover_from_horse(self, queue: Queue) -> None:
        """The work horse is dead: its task goes on at once instead of when the lease is over."""
        verdict = self._verdict
        if verdict is None and self._stopped_job_id:
            verdict = Verdict("stop_job", job_id=self._stopped_job_id)
        recovered = recover(
            self._wiring,
            worker=self.name,
            status=self._horse_status,
            verdict=verdict,
            work=self._last_work,
        )
        self._forget_taken(queue, recovered)
        for execution in self.get_current_executions():
            try:
                job = RegisteredJob.fetch(
                    execution.job_id, connection=self.connection, serializer=JSONSerializer
                )
            except NoSuchJobError:  # then nobody has a use for the news either
                self.connection.delete(execution.key)
                continue
            job.ended_at = now()
            self.handle_job_failure(job, queue, exc_string=HORSE_DIED, execution=execution)
        for task_id, name, is_released in recovered:
            if is_released:
                self._wiring.queue.hint(task_id, name)

    def _forget_taken(self, queue: Queue, recovered: list[Recovered]) -> None:
        """Take jobs off RQ's list of those that are on their way: nobody brings them any more."""
        with self.connection.pipeline(transaction=False) as pipeline:
            for task_id, *_ in recovered:
                pipeline.lrem(queue.intermediate_queue_key, 0, task_id)
            pipeline.execute()


def _beside_tasks(wiring: Wiring, pool_size: int) -> Wiring:
    """Clients of a process that must never wait long."""
    return Wiring(wiring.settings, pool_size, answer_s=ANSWER_S)


def recover(
    wiring: Wiring,
    *,
    worker: str,
    status: int,
    verdict: Verdict | None = None,
    work: Work | None = None,
) -> list[Recovered]:
    """Queue again, or end, the tasks that a dead work horse had leases on.

    Where it is known what it worked on, other tasks that it had claimed together with that one are
    released: they had not begun, or they were done and nobody knows.

    Args:
        wiring: Clients and settings.
        worker: The name that it worked under.
        status: How it ended, as `wait` tells.
        verdict: Why it was killed; None when it died by itself.
        work: What it worked on when it died, as far as it has told.

    Returns:
        Of each its id, its kind's name, and whether it was released and can be claimed at once.
    """
    cause = verdict.cause if verdict else "died"
    facts = {"action": "recover", "worker": worker, "wait": status, "cause": cause}
    log.warning("work horse died", extra=facts)
    fresh = _beside_tasks(wiring, 0)
    recovered = []
    try:
        with fresh.database.read() as session:
            leased = leases.leased_by(session, worker)
        for task_id, claim, name in leased:
            lease = Lease(fresh.database, task_id, claim, fresh.settings.lease_s)
            is_released = _settle(lease, verdict, work, now=fresh.now())
            recovered.append((task_id, name, is_released))
    except Exception:
        log.warning("left to the reconciler", extra={"action": "recover"}, exc_info=True)
    return recovered


def _settle(lease: Lease, verdict: Verdict | None, work: Work | None, *, now: datetime) -> bool:
    """Write down what becomes of a task whose work horse is dead; whether it was released."""
    cause = verdict.cause if verdict and verdict.concerns(lease) else "died"
    if cause == "died" and work is not None and not is_about(work, lease):
        cause = "waited"
    try:
        if cause in {"stopped", "waited"}:
            lease.release(now=now)
            return True
        if cause == "out_of_time" and verdict and verdict.work:
            return lease.time_out(verdict.work.time_limit_s, now=now) == "released"
        if cause == "stop_job":
            lease.cancel(now=now)
            return False
    except CancelRequested:
        lease.cancel(now=now)
        return False
    except ClaimLost:
        return False
    lease.recover(now=now)
    return False


def alive_file(wiring: Wiring) -> Path:
    """What this process touches with every sign of life, for `python -m worker health`."""
    return alive.file(_queue(wiring))


def forget_dead(wiring: Wiring) -> None:
    """Take away the signs of life of workers of this queue that were killed on this machine."""
    alive.forget_dead(_queue(wiring))


def is_alive(wiring: Wiring) -> bool:
    """Whether a worker of this queue showed a sign of life on this machine lately."""
    return alive.is_alive(_queue(wiring))


def _queue(wiring: Wiring) -> str:
    """A name for this queue that a file can have."""
    queue = f"{wiring.settings.redis_url} {wiring.settings.queue_name}"
    return sha256(queue.encode()).hexdigest()[:16]
