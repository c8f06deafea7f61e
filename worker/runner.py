"""The long-running worker: RQ's, on one queue, that notices a death within a minute.

The parent process listens; a forked work horse does each job; a second child sweeps. The parent
has no thread in SQL when it forks, and shares no connection with its children.
"""

import logging
import os
import signal
import socket
import threading
import time
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir
from typing import Any
from uuid import uuid4

from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue, Worker, worker_registration
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import import_attribute

from chalicelib import claims
from chalicelib.claims import Holder
from chalicelib.job_queue import QueueError, RegisteredJob, patient
from chalicelib.registry import TASKS
from chalicelib.wiring import Wiring
from worker import attempts, postman, stopping
from worker.protection import protected

log = logging.getLogger(__name__)

WORKER_TTL_S = 20
"""When Redis forgets a silent worker. RQ listens for 15 s less at a time, so that an idle worker
shows a sign of life every 5 s; its own expiry, a minute more, is too long for an honest page."""

HEALTHY_S = 180
"""How old a sign of life may be for a container's health check: a worker that waits for Redis to
come back is well, and starting it anew would not help."""

ORPHAN_GRACE_S = 5
"""How long a work horse without a parent has to hand its task back."""

MONITORING_INTERVAL_S = 5
"""How often the parent shows a sign of life while a work horse works."""

MAINTENANCE_INTERVAL_S = 60
"""How often RQ tidies its registries; for tasks it does not matter, they have the sweeper."""


PARENT_CHECK_INTERVAL_S = 0.5
"""How often a child looks whether its parent still lives."""


class Runner(Worker):
    """RQ's worker, with ways of its own to stop, to be seen, and to learn of a dead work horse.

    Args:
        wiring: Clients and settings.
        alive: A file that every sign of life touches.
    """

    def __init__(self, wiring: Wiring, *, alive: Path) -> None:
        self._wiring = wiring
        self._alive = alive
        self._sweeping = SweepingChild(wiring)
        self._horse_status = 0
        super().__init__(
            [wiring.settings.queue_name],
            name=f"{socket.gethostname().replace(':', '-')}.{os.getpid()}.{uuid4().hex[:8]}",
            connection=patient(wiring.settings.redis_url),
            serializer=JSONSerializer,
            job_class=RegisteredJob,
            worker_ttl=WORKER_TTL_S,
            job_monitoring_interval=MONITORING_INTERVAL_S,
            maintenance_interval=MAINTENANCE_INTERVAL_S,
            log_job_description=False,
        )

    def run(self) -> None:
        """Work until a signal says stop."""
        # Children inherit what is imported and made by now: a work horse starts in milliseconds.
        for task_type in TASKS.values():
            import_attribute(task_type.function)
        attempts.process_wiring().storage.warm_up()
        postman.ses(self._wiring.settings.aws_endpoint_url)
        self._sweeping.keep_alive()
        try:
            self.work(logging_level="WARNING")
        finally:
            self._sweeping.stop()
            self._alive.unlink(missing_ok=True)

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Show a sign of life, to Redis and to `python -m worker health`."""
        del timeout
        super().heartbeat(WORKER_TTL_S, pipeline)
        self._alive.touch()
        if self._is_horse:
            return
        self._sweeping.keep_alive()
        if pipeline is None and not self.connection.hexists(self.key, "birth"):
            self._register_again()

    def _register_again(self) -> None:
        """Redis lost its data or was away for longer than `WORKER_TTL_S`."""
        with self.connection.pipeline() as pipeline:
            pipeline.hset(self.key, mapping={**self.serialize(), "state": self.get_state()})
            pipeline.expire(self.key, WORKER_TTL_S)
            worker_registration.register(self, pipeline)
            pipeline.execute()

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Do a job in a work horse, protected from scale-in meanwhile."""
        with protected(os.environ.get("ECS_AGENT_URI")):
            super().execute_job(job, queue)
        # RQ's own handler is not called when the same job was done elsewhere meanwhile.
        if self._horse_status:
            self._bury(job, self._horse_status)

    def wait_for_horse(self) -> Any:
        """Wait for the work horse's end, and remember how it was."""
        ended = super().wait_for_horse()
        self._horse_status = ended[1] or 0
        return ended

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Fork, with SIGTERM held until both sides know what to do about it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        super().fork_work_horse(job, queue)
        if self._stop_requested:
            os.kill(self.horse_pid, signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """Do a job, and do not outlive the parent: RQ alone would wait for Redis for minutes."""
        parent = self.pid or os.getppid()
        threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()
        super().main_work_horse(job, queue)

    def handle_warm_shutdown_request(self) -> None:
        """Have the work horse checkpoint and hand its task back, instead of waiting for its end."""
        log.info("stopping", extra={"action": "stop"})
        # What is left to say to Redis is not worth a wait: it would find out by itself.
        pool = self.connection.connection_pool
        pool.connection_kwargs |= {"socket_timeout": 1, "socket_connect_timeout": 1}
        self.connection.set_retry(Retry(NoBackoff(), 0))
        if self.horse_pid:
            os.kill(self.horse_pid, signal.SIGTERM)

    def set_shutdown_requested_date(self) -> None:
        """Say nothing to Redis inside a signal handler: nobody reads it, and it may hang."""

    def register_death(self) -> None:
        """Take leave of Redis, if it is there."""
        try:
            super().register_death()  # type: ignore[no-untyped-call]
        except QueueError:
            log.warning("Redis was not told", extra={"action": "stop"})

    def request_force_stop(self, signum: int, frame: Any) -> None:
        """Be as patient with a second signal as with the first: stopping takes a second or two."""
        del signum, frame

    def setup_work_horse_signals(self) -> None:
        """In the work horse, SIGTERM sets a flag that the attempt looks at."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, stopping.request_stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def _bury(self, job: Job, status: int) -> None:
        """The work horse is dead: its task goes on at once instead of when the lease is over."""
        log.warning("work horse died", extra={"action": "bury", "task_id": job.id, "wait": status})
        wiring = Wiring(self._wiring.settings, pool_size=0)
        try:
            with wiring.database.read() as session:
                held = claims.held_by(session, self.name)
            for task_id, claim in held:
                Holder(wiring.database, task_id, claim, wiring.settings.lease_s).bury(
                    now=wiring.now()
                )
        except Exception:
            log.warning("left to the sweeper", extra={"action": "bury"}, exc_info=True)


def _exit_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_INTERVAL_S)
    time.sleep(ORPHAN_GRACE_S)
    os._exit(1)


class SweepingChild:
    """A child process that sweeps, for as long as its parent lives.

    A process, not a thread: a fork while another thread is inside SQLite or libpq can leave the
    child with a lock that nobody will ever release.
    """

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._pid = 0

    def keep_alive(self) -> None:
        """Start it, unless it runs."""
        if self._pid and os.waitpid(self._pid, os.WNOHANG) == (0, 0):
            return
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            try:
                sweep_for_ever(Wiring(self._wiring.settings, pool_size=1), parent=parent)
            finally:
                os._exit(0)

    def stop(self) -> None:
        """End it; a pass that is cut short is done by the next sweeper."""
        if self._pid:
            os.kill(self._pid, signal.SIGTERM)
            os.waitpid(self._pid, 0)
            self._pid = 0


def sweep_for_ever(wiring: Wiring, *, parent: int) -> None:
    """Sweep every `SWEEP_INTERVAL_S` seconds until the parent is gone."""
    next_at = time.monotonic()
    while os.getppid() == parent:
        if time.monotonic() >= next_at:
            next_at = time.monotonic() + wiring.settings.sweep_interval_s
            try:
                wiring.sweeper.sweep(now=wiring.now())
            except Exception:
                log.warning("a sweep failed", extra={"action": "sweep"}, exc_info=True)
        time.sleep(PARENT_CHECK_INTERVAL_S)


def alive_file(wiring: Wiring) -> Path:
    """What this process touches with every sign of life, for `python -m worker health`."""
    return _alive_folder(wiring) / str(os.getpid())


def is_alive(wiring: Wiring) -> bool:
    """Whether a worker of this queue showed a sign of life on this machine lately."""
    oldest = time.time() - HEALTHY_S
    return any(_touched_at(file) > oldest for file in _alive_folder(wiring).iterdir())


def _touched_at(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0  # its worker ended just now


def _alive_folder(wiring: Wiring) -> Path:
    queue = f"{wiring.settings.redis_url} {wiring.settings.queue_name}"
    folder = Path(gettempdir()) / f"carryout-{sha256(queue.encode()).hexdigest()[:16]}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
