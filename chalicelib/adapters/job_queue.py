"""The edge to Redis: RQ as a wake-up hint.

A job says "there may be something to do for this task" and nothing else: its id is the task's,
its one argument too. Losing it delays a task until the reconciler's next pass, repeating it changes
nothing, because an attempt begins by winning a claim in SQL.
"""

import json
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Self, cast

from redis import Redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer
from rq.suspension import WORKERS_SUSPENDED
from rq.utils import now, utcformat, utcparse
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from chalicelib import logs
from chalicelib.adapters import tracing
from chalicelib.adapters.redis_primary import leaving_replicas
from chalicelib.adapters.secrets_manager import Secret, SecretError

log = logging.getLogger(__name__)

FUNCTION = "worker.attempts.run"
"""The only function that a job may name; it asks the ledger what kind of task it is."""

JOB_TTL_S = 500
"""How long RQ remembers a finished or failed job; the ledger remembers the task for good."""

API_TIMEOUT_S = 1.0
"""Time limit of connecting to Redis and of each answer, where an answer to a user waits for it."""

WORKER_TIMEOUT_S = 30.0
"""Time limit of each answer for a worker, above the 15 s for which it listens."""

ALIVE = """
local alive = 0
for _, worker in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    alive = alive + redis.call('EXISTS', worker)
end
"""
"""Counts workers, one by one: `unpack` breaks at some 8,000, which others can put there."""

COUNT_ALIVE = f"""
{ALIVE}
return {{alive, redis.call('EXISTS', KEYS[2])}}
"""

CONTENDED = """
for _, worker in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    if redis.call('HGET', worker, 'state') == 'idle' then return 0 end
end
return redis.call('LLEN', KEYS[2])
"""
"""How many jobs wait while no worker is idle; 0 when one is, for it is about to take the next."""

ENQUEUE = (
    """
local width, since, now, at = tonumber(ARGV[1]), ARGV[2], ARGV[3], 4
local enqueued = 0
local moments = {queued = 'enqueued_at', started = 'started_at'}
local function is_on_its_way(job)
    local moment = moments[redis.call('HGET', job, 'status')]
    local at = moment and redis.call('HGET', job, moment)
    return at and since <= at and at <= now
end
redis.call('SADD', KEYS[4], KEYS[3])
for job = 5, #KEYS do
    if not is_on_its_way(KEYS[job]) then
        redis.call('DEL', KEYS[job])
        redis.call('HSET', KEYS[job], unpack(ARGV, at + 1, at + 2 * width))
        redis.call('RPUSH', KEYS[3], ARGV[at])
        enqueued = enqueued + 1
    end
    at = at + 1 + 2 * width
end
"""
    + ALIVE
    + """
return {alive, redis.call('EXISTS', KEYS[2]), enqueued}
"""
)
"""What `Queue.enqueue` does, for many jobs of as many fields each, in one command and so at a third
of what RQ's own pipeline costs. Each job is deleted first: a finished one of the same id would hand
its expiry on to the new one. A job that is on its way from the queue to its task's claim can be
left as it is: a second one would take its status, its trace and its worker's name away."""

TAKE = """
if redis.call('EXISTS', KEYS[3]) == 1 then return {1} end
local taken, left = {0}, tonumber(ARGV[2])
local most, costs = 1, {}
for at = 4, #ARGV, 2 do costs[ARGV[at]] = tonumber(ARGV[at + 1]) end

local function share()
    local alive = 0
    for _, worker in ipairs(redis.call('SMEMBERS', KEYS[4])) do
        local state = redis.pcall('HGET', worker, 'state')
        if state == 'idle' then return 1 end
        if type(state) == 'string' then alive = alive + 1 end
    end
    return math.ceil(redis.call('LLEN', KEYS[1]) / math.max(alive, 1))
end

local function cost(job)
    local description = redis.pcall('HGET', job, 'description')
    local name = type(description) == 'string' and string.match(description, '^([%l%d_]+)%(')
    return name and costs[name]
end

local function fields(job)
    local all, filled = redis.pcall('HGETALL', job), {}
    for at = 1, #all, 2 do
        if all[at + 1] ~= '' then
            table.insert(filled, all[at])
            table.insert(filled, all[at + 1])
        end
    end
    return filled
end

while #taken < 2 * most do
    local id = redis.call('LINDEX', KEYS[1], 0)
    if not id then break end
    local job = ARGV[1] .. id
    if #ARGV > 3 then
        local spent = cost(job)
        if #taken > 1 and (not spent or spent > left) then break end
        if #taken == 1 and spent then most = math.min(tonumber(ARGV[3]), share()) end
        left = left - (spent or 0)
    end
    redis.call('LMOVE', KEYS[1], KEYS[2], 'LEFT', 'RIGHT')
    table.insert(taken, id)
    table.insert(taken, fields(job))
end
return taken
"""
"""What `BLMOVE` and a look at the job do, where one waits, in one step.

Of kinds that are known to be short it takes several jobs: as many as the microseconds that each
takes fit into those that are given, at most a number that is given, no more than this worker's
share of what waits, and one alone while another worker is idle, which is about to take the next. It
takes them from the head of the queue, in their order, up to the first one that is not short. Fields
that are empty, as half of them are, are left out: RQ reads them as if they were not there."""

END_TOGETHER = """
for at = 4, #KEYS do
    local job, id, meta = KEYS[at], ARGV[2 * at - 1], ARGV[2 * at]
    redis.call('LREM', KEYS[1], 1, id)
    redis.call('DEL', KEYS[1] .. ':first_seen:' .. id)
    if redis.call('TYPE', job).ok == 'hash' then
        redis.call('HSET', job, 'status', 'finished', 'started_at', ARGV[2], 'ended_at', ARGV[3],
            'worker_name', ARGV[1], 'meta', meta)
        redis.call('EXPIRE', job, ARGV[4])
        redis.call('ZADD', KEYS[2], ARGV[5], id)
    end
end
redis.call('HINCRBY', KEYS[3], 'successful_job_count', #KEYS - 3)
redis.call('HINCRBYFLOAT', KEYS[3], 'total_working_time', ARGV[6])
"""
"""RQ's own notes about jobs that succeeded, in one command. Nobody can have seen them begin: until
then they are, for RQ, on their way to the worker."""

ON_ITS_WAY_S = 5
"""How long a job may take from the queue to its task's claim until the reconciler enqueues another:
some milliseconds are usual, and a worker that dies in between delays its task by so much."""

ENQUEUE_BATCH = 1000
"""How many jobs one script enqueues: it blocks Redis for some milliseconds."""

SHOW_META = """
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'meta', ARGV[1]) end
"""
"""In one step: a job that vanished before its `meta` was written would be a key for ever."""

QueueError = RedisError
"""What the methods of `JobQueue` raise when Redis does not respond."""


class RegisteredJob(Job):
    """A job that runs one function only.

    Whoever can write to Redis can name any function that Python can import, and a callback or a
    webhook besides; this class refuses all but `FUNCTION` with the task's id.

    Attributes:
        took_s: How long the task's own function took in this process, in seconds; None if it was
            not called.
    """

    took_s: float | None = None

    @classmethod
    def fetch(cls, id: str, connection: Redis | None = None, serializer: Any = None) -> Job:  # noqa: A002 - RQ's
        """Read a job.

        Raises:
            NoSuchJobError: There is none, or no job can be called so, or something else stands in
                its place; a worker passes over it, and would end otherwise.
        """
        try:
            return super().fetch(id, connection, serializer)
        except ValueError as error:
            raise NoSuchJobError("no job is called so") from error
        except ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
            raise NoSuchJobError("something else stands in its place") from error

    @classmethod
    def made_of(cls, job_id: str, fields: list[bytes], *, connection: Redis) -> Job:
        """A job as `TAKE` has read it.

        Raises:
            NoSuchJobError: As `fetch`.
        """
        if not fields:
            return cls.fetch(job_id, connection, JSONSerializer)
        try:
            job = cls(job_id, connection=connection, serializer=JSONSerializer)
        except ValueError as error:
            raise NoSuchJobError("no job is called so") from error
        job.restore(dict(zip(fields[::2], fields[1::2], strict=True)))
        return job

    def restore(self, raw_data: Any) -> Any:
        """Read the job from Redis, and take away all that a hint has no need of.

        Raises:
            NoSuchJobError: It cannot be read; a worker passes over it, and would end otherwise.
        """
        try:
            restored = super().restore(raw_data)
        except Exception as error:
            raise NoSuchJobError("this job is not in the form of one") from error
        self._success_callback_name = self._failure_callback_name = None
        self._stopped_callback_name = None
        self.webhooks = []
        self._dependency_ids = []
        self.repeats_left = None
        self.retries_left = None
        return restored

    def refuse_others(self) -> None:
        """Refuse a job that is no hint.

        Raises:
            NoSuchJobError: It names another function, or another task.
        """
        if self.func_name != FUNCTION or self.instance or self.kwargs:
            raise NoSuchJobError("this job names another function")
        if list(self.args) != [self.id]:
            raise NoSuchJobError("this job does not carry its task's id")

    @property
    def probable_name(self) -> str | None:
        """Of what kind its task is, if it says the truth; see `JobQueue.hint`."""
        return self.description.partition("(")[0] if self.description else None

    def _execute(self) -> Any:
        self.refuse_others()
        return super()._execute()


class TextQueue(Queue):
    """A queue that passes over ids that are no text, which would end a worker."""

    @classmethod
    def lmove(
        cls, connection: Redis, queue_key: str, timeout: int | None
    ) -> tuple[str, bytes] | None:
        """Move the next id to the intermediate list; one that is no text vanishes."""
        found = cast("tuple[str, bytes] | None", super().lmove(connection, queue_key, timeout))
        if found is None or _is_text(found[1]):
            return found
        taken = IntermediateQueue.get_intermediate_queue_key(queue_key)
        connection.lrem(taken, 1, cast("str", found[1]))
        return queue_key, b""  # what no job is called


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


@dataclass(frozen=True)
class WorkerInfo:
    """What Redis knows of a worker."""

    name: str
    hostname: str
    pid: int
    state: str
    current_task: str | None
    started_at: datetime
    last_seen_at: datetime


class Workers(int):
    """How many workers are alive.

    Attributes:
        suspended: Whether `rq suspend` keeps them from taking jobs.
    """

    suspended: bool

    def __new__(cls, alive: int, *, suspended: bool = False) -> Self:
        """Count them."""
        made = super().__new__(cls, alive)
        made.suspended = suspended
        return made


class JobQueue:
    """One RQ queue, seen from the side that enqueues."""

    def __init__(self, redis: Redis, name: str, *, timeout_s: int) -> None:
        self.redis = redis
        self.name = name
        self._timeout_s = timeout_s
        self.rq = Queue(name, connection=redis, serializer=JSONSerializer, job_class=RegisteredJob)
        self._workers_key = WORKERS_BY_QUEUE_KEY % name

    def enqueue(self, tasks: Iterable[tuple[str, str]]) -> Workers:
        """Put a job for each task into the queue, a thousand in a round trip.

        Args:
            tasks: Pairs of a task's id and its name.

        Returns:
            How many workers are alive.

        Raises:
            QueueError: Redis does not respond.
        """
        answers = self._enqueue(tasks, on_its_way_s=None)
        return _seen(answers[-1]) if answers else self.workers_alive()

    def enqueue_again(self, tasks: Iterable[tuple[str, str]]) -> int:
        """Put a job for each task into the queue whose own is not on its way to a worker.

        Returns:
            How many: left out are those whose job was enqueued or begun a moment ago, see
            `ON_ITS_WAY_S`.

        Raises:
            QueueError: Redis does not respond.
        """
        return sum(answer[2] for answer in self._enqueue(tasks, on_its_way_s=ON_ITS_WAY_S))

    def hint(self, task_id: str, name: str) -> Workers:
        """Enqueue a job for a task that is committed; else the reconciler does so, a little later.

        Returns:
            How many workers are alive, as far as anybody knows: while Redis does not respond, one
            is assumed to be.
        """
        try:
            return self.enqueue([(task_id, name)])
        except QueueError:
            facts = {"action": "enqueue", "task_id": task_id}
            log.warning("could not enqueue", extra=facts, exc_info=True)
            return Workers(1)

    def _enqueue(
        self, tasks: Iterable[tuple[str, str]], *, on_its_way_s: float | None
    ) -> list[tuple[int, int, int]]:
        """Enqueue jobs; of each round trip workers, whether they are suspended, and jobs."""
        named = list(dict(tasks).items())
        answers = []
        for first in range(0, len(named), ENQUEUE_BATCH):
            batch = dict(named[first : first + ENQUEUE_BATCH])
            with tracing.span("enqueue", kind=tracing.Kind.PRODUCER, carryout__jobs=len(batch)):
                answers.append(self._enqueue_batch(batch, on_its_way_s))
        return answers

    def _enqueue_batch(
        self, names: dict[str, str], on_its_way_s: float | None
    ) -> tuple[int, int, int]:
        jobs = [self._job(task_id, name) for task_id, name in names.items()]
        keys = [self._workers_key, WORKERS_SUSPENDED, self.rq.key, Queue.redis_queues_keys]
        keys += [RegisteredJob.key_for(task_id) for task_id in names]
        moment = now()
        since = "" if on_its_way_s is None else utcformat(moment - timedelta(seconds=on_its_way_s))
        arguments: list[Any] = [len(jobs[0]), since, utcformat(moment) if since else ""]
        for task_id, fields in zip(names, jobs, strict=True):
            arguments += [task_id, *chain.from_iterable(fields.items())]
        alive, suspended, enqueued = self.redis.eval(ENQUEUE, len(keys), *keys, *arguments)
        return alive, suspended, enqueued

    def _job(self, task_id: str, name: str) -> dict[str, Any]:
        """What stands in Redis of a job, in RQ's own words."""
        job = self.rq.create_job(
            FUNCTION,
            args=(task_id,),
            job_id=task_id,
            timeout=self._timeout_s,
            result_ttl=JOB_TTL_S,
            failure_ttl=JOB_TTL_S,
            description=f"{name}({task_id})",
            meta=_origin() or None,
            status=JobStatus.QUEUED,
        )
        job.enqueued_at = now()
        return job.to_dict()

    def traceparent_of(self, task_id: str) -> str | None:
        """The span that a task's job comes from or is worked on in, while Redis remembers it."""
        try:
            raw = self.redis.hget(RegisteredJob.key_for(task_id), "meta")
            found = json.loads(cast("bytes", raw)).get("traceparent") if raw else None
        except (QueueError, ValueError, AttributeError):
            return None
        return found if isinstance(found, str) else None

    def waiting_ids(self) -> set[str]:
        """The ids of all tasks with a job in the queue."""
        ids = cast("list[bytes]", self.redis.lrange(self.rq.key, 0, -1))
        return {raw.decode(errors="replace") for raw in ids}

    def depth(self) -> int:
        """How many jobs are in the queue."""
        return self.redis.llen(self.rq.key)

    def workers(self) -> list[WorkerInfo]:
        """Every worker that listens on this queue and is alive, by name.

        What is not in the form of one is left out.
        """
        keys = sorted(cast("set[bytes]", self.redis.smembers(self._workers_key)))
        with self.redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.hgetall(key)
                pipeline.smembers(key + b":executions")
            answers = pipeline.execute()
        found = zip(keys, answers[::2], answers[1::2], strict=True)
        workers = (_worker(key, facts, running) for key, facts, running in found)
        return [worker for worker in workers if worker is not None]

    def is_contended(self) -> bool:
        """Whether jobs wait and no worker is idle.

        Raises:
            QueueError: Redis does not respond.
        """
        return bool(self.redis.eval(CONTENDED, 2, self._workers_key, self.rq.key))

    def workers_alive(self) -> Workers:
        """How many workers are alive; a dead one counts until its key expires."""
        return _seen(self.redis.eval(COUNT_ALIVE, 2, self._workers_key, WORKERS_SUSPENDED))

    @staticmethod
    def note_success(job: Job) -> None:
        """Have RQ's tools see in the job, once it is over, that its task succeeded."""
        job.meta |= {"progress": 100, **_origin()}

    def save_progress(self, task_id: str, percent: int) -> None:
        """Show a percentage in the job's `meta`, for RQ's own tools; the truth is in SQL."""
        meta = json.dumps({"progress": percent, **_origin()})
        self.redis.eval(SHOW_META, 1, RegisteredJob.key_for(task_id), meta)


def _origin() -> dict[str, str]:
    """What a job says of where it comes from: the request, and the span that goes on."""
    origin = {"request_id": logs.request_id(), "traceparent": tracing.traceparent()}
    return {name: value for name, value in origin.items() if value is not None}


def _seen(answer: Any) -> Workers:
    alive, suspended = answer[:2]
    return Workers(alive, suspended=bool(suspended))


def _worker(key: bytes, facts: dict[bytes, bytes], running: Sequence[bytes]) -> WorkerInfo | None:
    with suppress(ValueError, KeyError):
        return _read_worker(key, facts, running)
    return None


def _read_worker(key: bytes, facts: dict[bytes, bytes], running: Sequence[bytes]) -> WorkerInfo:
    text = {name.decode(): value.decode() for name, value in facts.items()}
    return WorkerInfo(
        name=key.decode().rpartition(":")[2],
        hostname=text.get("hostname", ""),
        pid=int(text.get("pid") or 0),
        state=text.get("state", "unknown"),
        current_task=next((one.decode().partition(":")[0] for one in running), None),
        started_at=utcparse(text["birth"]),
        last_seen_at=utcparse(text["last_heartbeat"]),
    )


def get_rq_job(task_id: str, *, queue: JobQueue) -> Job | None:
    """The job of a task as RQ sees it, or None when Redis forgot it or does not respond."""
    try:
        return RegisteredJob.fetch(task_id, connection=queue.redis, serializer=JSONSerializer)
    except (RedisError, NoSuchJobError):
        return None


class _SecretCredentials(CredentialProvider):
    """Signs a connection in as the secret says."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    def get_credentials(self) -> tuple[str, str]:
        """User and password; redis-py asks with each new connection."""
        try:
            known = self._secret.read()
        except SecretError as error:
            raise RedisConnectionError("the secret with the credentials cannot be read") from error
        return known.username, known.password


def _credentials(secret: Secret | None) -> CredentialProvider | None:
    return _SecretCredentials(secret) if secret else None


def api_client(
    url: str, *, secret: Secret | None = None, timeout_s: float = API_TIMEOUT_S
) -> Redis:
    """A client for callers that cannot wait: short time limits and no second try."""
    client = Redis.from_url(
        url,
        credential_provider=_credentials(secret),
        socket_timeout=timeout_s,
        socket_connect_timeout=API_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=30,
    )
    return leaving_replicas(client)


def worker_client(url: str, *, secret: Secret | None = None) -> Redis:
    """A client for workers, which live through an outage: it tries again for minutes."""
    client = Redis.from_url(
        url,
        credential_provider=_credentials(secret),
        socket_timeout=WORKER_TIMEOUT_S,
        socket_connect_timeout=5,
        retry=Retry(ExponentialBackoff(cap=5, base=0.2), 60),
        health_check_interval=30,
    )
    return leaving_replicas(client)
