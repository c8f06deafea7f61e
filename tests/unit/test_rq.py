"""Everything of RQ that the worker builds on and that RQ may change, with what to look at then.

RQ is pinned exactly. When it moves, what fails here names the places of ours that were written with
the old source in mind: read the new one beside them, then note the new digest.
"""

import hashlib
import inspect
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq import Queue, Worker, command, suspension, worker_registration
from rq.defaults import RQ_KEY_PREFIX
from rq.executions import Execution
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job
from rq.registry import BaseRegistry, FinishedJobRegistry
from rq.serializers import JSONSerializer
from rq.worker import BaseWorker, WorkerStatus
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

ROOT = Path(__file__).parents[2]

RUNNER, HORSE, QUEUE = "worker/runner.py", "worker/work_horse.py", "adapters/job_queue.py"

INTERNALS: list[tuple[Any, str, str]] = [
    # What is overridden, or written anew.
    (Worker.execute_job, "1168b29f090d", f"{RUNNER}: execute_job does without the execution"),
    (
        Worker.fork_work_horse,
        "64c7e5ad4fae",
        f"{RUNNER}: fork_work_horse, a process group",
    ),
    (BaseWorker.main_work_horse, "f337e45c2e14", f"{RUNNER}: main_work_horse"),
    (Worker.monitor_work_horse, "f12143082368", f"{RUNNER}: monitor_work_horse"),
    (Worker.kill_horse, "932d0193dcb7", f"{RUNNER}: kill_horse, which would kill group 0"),
    (Worker.wait_for_horse, "92a92fd4a909", f"{RUNNER}: _horse_end waits in its stead"),
    (
        BaseWorker.heartbeat,
        "a1065035816d",
        f"{RUNNER}: heartbeat, also in a pipeline",
    ),
    (BaseWorker.run_maintenance_tasks, "228666fd675c", f"{RUNNER}: run_maintenance_tasks"),
    (BaseWorker.handle_warm_shutdown_request, "52e06d0a4c38", f"{RUNNER}: it signals the horse"),
    (BaseWorker.request_stop, "7db9bedac977", f"{RUNNER}: what it calls inside a signal handler"),
    (BaseWorker.request_force_stop, "a44777359a8a", f"{RUNNER}: request_force_stop does nothing"),
    (BaseWorker.register_death, "392f35933c95", f"{RUNNER}: register_death"),
    (BaseWorker.setup_work_horse_signals, "08bebd68b93f", f"{RUNNER}: setup_work_horse_signals"),
    (BaseWorker.get_current_executions, "c7cd5370651b", f"{RUNNER}: get_current_executions"),
    (
        BaseWorker.handle_job_failure,
        "61759f706bab",
        f"{RUNNER}: _recover_from_horse",
    ),
    (BaseWorker._finalize_failure, "80ed3a96261b", f"{HORSE}: _perform"),
    (BaseWorker.prepare_execution, "95fdd8d8e30e", f"{HORSE}: _begin writes what it would"),
    (BaseWorker.prepare_job_execution, "03d73fd73640", f"{HORSE}: _begin writes what it would"),
    (BaseWorker.handle_job_success, "c498b4dd8267", f"{HORSE}: _end writes what it would"),
    (BaseWorker.cleanup_execution, "50d41fd9719c", f"{HORSE}: _end, {RUNNER}: _recover_from_horse"),
    (command.handle_stop_job_command, "316d842b5d23", f"{RUNNER}: a stopped job cancels its task"),
    (Queue.dequeue_any, "e96c8d13bf28", f"{RUNNER}: one queue; {HORSE}: _next does the same"),
    (Queue.lmove, "227a86200d4d", f"{QUEUE}: TextQueue.lmove"),
    (Queue.create_job, "1afe6060c394", f"{QUEUE}: _job"),
    (Queue.enqueue_job, "4ce9a8e2cc8b", f"{QUEUE}: ENQUEUE does what it would"),
    (Job.fetch, "d10fabc0192c", f"{QUEUE}: RegisteredJob.fetch"),
    (
        Job.restore,
        "51d515a10c4d",
        f"{QUEUE}: RegisteredJob.restore",
    ),
    (Job._execute, "b7574627d75e", f"{QUEUE}: RegisteredJob._execute"),
    (Job.perform, "989e1e195f70", f"{HORSE}: _perform takes its result for the outcome"),
    (Job.to_dict, "aad28e5a899d", f"{QUEUE}: _job"),
    (Job.prepare_for_execution, "110f2918c75b", f"{HORSE}: _begin"),
    (Execution.create, "b3810e33ae4f", f"{HORSE}: _begin"),
    (Execution.delete, "26b14a146236", f"{HORSE}: _end"),
    (Execution.heartbeat, "6cad3fe8d4b9", f"{RUNNER}: _watch_horse"),
    (
        IntermediateQueue.get_intermediate_queue_key,
        "be7e1bd7b269",
        f"{QUEUE}: lmove, {HORSE}: _begin",
    ),
    (IntermediateQueue.get_first_seen_key, "1260401fe2d9", f"{HORSE}: _begin"),
    (BaseRegistry.add, "57aef3455449", f"{HORSE}: _end"),
    (FinishedJobRegistry.cleanup, "09c3d955c3e3", f"{RUNNER}: run_maintenance_tasks"),
    (worker_registration.register, "0fcd5557d2e7", f"{RUNNER}: _register_again"),
    (suspension.is_suspended, "70f3a464e067", f"{RUNNER}: execute_job; {HORSE}: _next"),
]
"""What, the digest of its source, and what of ours to look at."""


def digest(function: Any) -> str:
    """Of the source, whatever its layout; the same in every version of Python."""
    lines = [line.strip() for line in inspect.getsource(function).splitlines()]
    return hashlib.sha256("\n".join(filter(None, lines)).encode()).hexdigest()[:12]


@pytest.mark.parametrize(
    ("internal", "known", "look_at"), INTERNALS, ids=[one[0].__qualname__ for one in INTERNALS]
)
def test_internals(internal: Any, known: str, look_at: str) -> None:
    """Each part of RQ is what it was when ours was written."""
    name = f"{internal.__module__}.{internal.__qualname__}"
    assert digest(internal) == known, f"{name} of RQ has changed: look at {look_at}"


def test_the_pin() -> None:
    """The version is the one that these digests are of, in the lock and wherever it is declared."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (pin,) = [one for one in declared if one.startswith("rq")]
    assert pin == f"rq=={version('rq')}"
    for lock in ("requirements.txt", "requirements-dev.txt"):
        assert f"\n{pin} " in (ROOT / lock).read_text(), lock


ATTRIBUTES = {
    "_stopped_job_id": f"{RUNNER}: _recover_from_horse",
    "_horse_pid": f"{RUNNER}: monitor_work_horse",
    "_is_horse": f"{RUNNER}: main_work_horse, heartbeat",
    "_stop_requested": f"{RUNNER}: fork_work_horse",
    "last_cleaned_at": f"{RUNNER}: run_maintenance_tasks",
    "connection": f"{RUNNER}: _show_signs_of_life takes another one for a moment",
    "key": f"{RUNNER}: _register_again",
    "death_penalty_class": "worker/time_limit.py: its alarm is put back",
}
"""What a worker has, and where ours uses it."""


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes(name: str) -> None:
    """What ours sets or reads of a worker is there."""
    worker = Worker(["q"], connection=Redis(), name="w", prepare_for_work=False)
    assert hasattr(worker, name), f"RQ's worker has no {name}: look at {ATTRIBUTES[name]}"


FIELDS = [
    (Job, ("timeout", "meta", "ended_at", "webhooks", "repeats_left", "retries_left")),
    (Job, ("_success_callback_name", "_failure_callback_name", "_stopped_callback_name")),
    (Job, ("_dependency_ids", "args", "kwargs", "instance", "func_name")),
]


@pytest.mark.parametrize(("kind", "names"), FIELDS, ids=lambda one: str(one)[:40])
def test_fields_of_a_job(kind: type[Job], names: tuple[str, ...]) -> None:
    """What `RegisteredJob` takes away from a job is what a job has."""
    job = kind.create(
        "worker.attempts.run", args=("x",), connection=Redis(), serializer=JSONSerializer
    )
    missing = [name for name in names if not hasattr(job, name)]
    assert not missing, f"RQ's job has no {missing}: look at {QUEUE}: RegisteredJob.restore"


def test_names_in_redis() -> None:
    """The keys that scripts of ours touch begin as RQ's own do."""
    prefix = RQ_KEY_PREFIX
    assert (
        Job.key_for("x"),
        Queue("q", connection=Redis()).key,
        Queue.redis_queues_keys,
        WORKERS_BY_QUEUE_KEY % "q",
        IntermediateQueue.get_intermediate_queue_key(f"{prefix}:queue:q"),
    ) == (
        f"{prefix}:job:x",
        f"{prefix}:queue:q",
        f"{prefix}:queues",
        f"{prefix}:workers:q",
        f"{prefix}:queue:q:intermediate",
    ), f"RQ's keys have other names: look at {QUEUE}, tests and infra/aws/queue users"
    assert (WorkerStatus.IDLE.value, WorkerStatus.BUSY.value) == ("idle", "busy"), (
        f"RQ's states have other names: look at {QUEUE}: CONTENDED"
    )
