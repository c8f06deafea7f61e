"""For authors of tasks: run a task's function against a ledger in memory, by a clock of the test's.

No server is needed, and nothing waits. What a worker does with a task is real: claims, progress,
checkpoints and outcomes are written by the same code. A test of one's own reads like this::

    with MemoryLedger() as ledger:
        susan = ledger.add_user("susan")
        ...  # put into `ledger.database` what the task works on
        run = ledger.run(COUNT_WORDS, user_id=susan)
        assert run.result == {"posts": 2, "words": 5}
        assert_resumable(COUNT_WORDS, ledger=ledger, user_id=susan)
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any, Self
from uuid import uuid4

import msgspec
import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.accounts.passwords import NOBODY
from chalicelib.adapters.job_queue import JobQueue, Workers
from chalicelib.db.engine import Database, connect, db_clock
from chalicelib.db.models import Base, Task, User
from chalicelib.errors import CancelRequested, SliceOver
from chalicelib.settings import Settings
from chalicelib.tasks.leases import Lease
from chalicelib.tasks.registry import TASKS, TaskKind
from chalicelib.tasks.requests import TaskRequest, cancel_task, launch_task
from chalicelib.wiring import Wiring
from worker.attempts import REQUEUED, Attempt, FailedAttemptError, Heartbeat, perform

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
"""What the clock shows at first."""

MAX_ATTEMPTS = 10_000
"""More than a test kills."""

REQUIRED = {
    "DATABASE_URL": "sqlite:///memory",
    "REDIS_URL": "redis://nowhere/0",
    "EXPORT_BUCKET": "nowhere",
    "MAIL_SENDER": "carryout@example.com",
    "PUBLIC_URL": "https://example.com",
}
"""Settings without which there are none; nothing of it is ever connected to."""


class Killed(BaseException):
    """The end of a process: nothing catches it."""


@dataclass
class Clock:
    """A clock that stands still until it is told to go on.

    Attributes:
        passed_s: How far it went since `START`, in seconds.
    """

    passed_s: float = 0.0

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.passed_s += seconds

    def now(self) -> datetime:
        """The time."""
        return START + timedelta(seconds=self.passed_s)


@dataclass(frozen=True)
class Step:
    """What a function told of itself.

    Attributes:
        done: How much was done.
        total: Of how much.
        checkpoint: Where to go on; None with mere progress.
    """

    done: int
    total: int
    checkpoint: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Run:
    """What came of a run.

    Attributes:
        task: The task as it stands.
        outcome: Of the last attempt, as the log has it; None when it was killed.
        steps: All that the function told, in all attempts of the run.
        percents: What the ledger showed after each of them.
    """

    task: Task
    outcome: str | None
    steps: tuple[Step, ...]
    percents: tuple[int, ...]

    @property
    def status(self) -> str:
        """The task's status, such as `succeeded`."""
        return self.task.status

    @property
    def result(self) -> dict[str, Any] | None:
        """What the function returned."""
        return self.task.result

    @property
    def error_code(self) -> str | None:
        """Why it failed."""
        return self.task.error_code

    @property
    def progress(self) -> list[tuple[int, int]]:
        """How far it told to be: pairs of done and total."""
        return [(step.done, step.total) for step in self.steps]

    @property
    def checkpoints(self) -> list[Mapping[str, Any]]:
        """Where it noted to go on."""
        return [step.checkpoint for step in self.steps if step.checkpoint is not None]


@dataclass
class _Observed(Attempt):
    """An attempt that tells a test what its function does."""

    observe: Callable[[Step], None] = field(kw_only=True)

    def progress(self, done: int, total: int) -> None:
        """As ever; written each time, for the clock stands still."""
        self.check()
        self._report(done, total)
        self.observe(Step(done, total))

    def checkpoint(
        self,
        done: int,
        total: int,
        state: dict[str, Any],
        *,
        write: Callable[[so.Session], None] | None = None,
    ) -> None:
        """As ever."""
        step = Step(done, total, state)
        try:
            super().checkpoint(done, total, state, write=write)
        except SliceOver:  # it is written, and the last thing that this attempt does
            self.observe(step)
            raise
        self.observe(step)


class _StillHeart(Heartbeat):
    """A heartbeat that learns what the test tells it: no thread, and nothing to wait for."""

    def start(self) -> None:
        """There is no thread."""

    def stop(self) -> None:
        """There is no thread."""


class _Queue(JobQueue):
    """A queue that nobody listens to."""

    def __init__(self) -> None:
        self.contended = False

    def enqueue(self, tasks: Iterable[tuple[str, str]]) -> Workers:
        return Workers(len(dict(tasks)))

    def save_progress(self, task_id: str, percent: int) -> None:
        pass

    def is_contended(self) -> bool:
        return self.contended


class _Wiring(Wiring):
    """Wiring whose time is the test's."""

    def now(self) -> datetime:
        clock: Clock = vars(self)["clock"]
        return clock.now()


class MemoryLedger:
    """A ledger in memory, and a worker that makes an attempt when it is told to.

    Args:
        settings: Settings of one's own, by the names in `.env.example`.
        clients: What takes the place of a client in the wiring, such as `object_store`.

    Attributes:
        database: The ledger.
        clock: The time of attempts; the database's own clock goes on.
        wiring: What functions get.
    """

    def __init__(self, settings: Mapping[str, str] | None = None, **clients: Any) -> None:
        url = f"sqlite:///file:{uuid4().hex}?mode=memory&cache=shared&uri=true"
        self.database: Database = connect(url, pool_size=0)
        self.clock = Clock()
        self.wiring = _Wiring(Settings.from_mapping({**REQUIRED, **(settings or {})}))
        self._queue = _Queue()
        own = {"database": self.database, "queue": self._queue, "clock": self.clock}
        vars(self.wiring).update(own | clients)
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        # It is there for as long as somebody is connected.
        self._closing.enter_context(self.database.engine.connect())
        Base.metadata.create_all(self.database.engine)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()
        self.database.close()

    def add_user(self, username: str = "susan") -> int:
        """Somebody whom no password lets in; returns their number."""
        facts = {"password_hash": NOBODY, "language": "en", "created_at": self.clock.now()}
        user = User(username=username, email=f"{username}@example.com", **facts)
        with self.database.write() as session:
            session.add(user)
        return user.id

    def launch(
        self, kind: TaskKind, params: Mapping[str, Any] | None = None, *, user_id: int
    ) -> str:
        """Request a task as the API does; returns its id.

        Raises:
            msgspec.ValidationError: The kind takes no such parameters.
        """
        stored = kind.store(msgspec.convert(dict(params or {}), kind.model))
        request = TaskRequest(kind=kind, params=stored, max_attempts=MAX_ATTEMPTS)
        with self.database.write() as session:
            return launch_task(session, user_id, request, now=self.clock.now()).task.id

    def run(
        self,
        kind: TaskKind,
        params: Mapping[str, Any] | None = None,
        *,
        user_id: int,
        cancel_at: int | None = None,
        late_at: int | None = None,
        others_wait: bool = False,
    ) -> Run:
        """Request a task and make attempts at it until one has an outcome for good.

        Args:
            kind: The kind.
            params: Its parameters.
            user_id: Whose task it is.
            cancel_at: At which step, counted from 1, its user cancels it.
            late_at: At which step of the first attempt its time is over.
            others_wait: Whether it has to make room at each checkpoint, if it is resumable.
        """
        task_id = self.launch(kind, params, user_id=user_id)
        events: dict[int, Callable[[Attempt], None]] = {}
        if cancel_at is not None:
            events[cancel_at] = self._cancel
        if late_at is not None:
            events[late_at] = self._be_late
        with self._others(waiting=others_wait, user_id=user_id):
            run = self.attempt(kind, task_id, events)
            while run.outcome in REQUEUED:
                following = self.attempt(kind, task_id)
                steps, percents = run.steps + following.steps, run.percents + following.percents
                run = Run(following.task, following.outcome, steps, percents)
        return run

    def attempt(
        self,
        kind: TaskKind,
        task_id: str,
        events: Mapping[int, Callable[[Attempt], None]] | None = None,
    ) -> Run:
        """Make one attempt at a task.

        Args:
            kind: Its kind, which need not be registered.
            task_id: The task, which must be due.
            events: What happens right after which step, counted from 1.
        """
        steps: list[Step] = []
        percents: list[int] = []

        def observe(attempt: Attempt, step: Step) -> None:
            steps.append(step)
            percents.append(self.task(task_id).percent)
            if events and len(steps) in events:
                events[len(steps)](attempt)

        outcome: str | None
        with _registered(kind):
            try:
                outcome = perform(task_id, self.wiring, begin=partial(self._begin, observe))
            except FailedAttemptError:
                outcome = "failed"
            except Killed:
                outcome = None
        return Run(self.task(task_id), outcome, tuple(steps), tuple(percents))

    def recover(self, task_id: str) -> None:
        """Do what others do when a worker was killed, and skip the pause after it."""
        claim = self.task(task_id).claim
        Lease(self.database, task_id, claim, self.wiring.settings.lease_s).recover(
            now=self.clock.now()
        )
        with self.database.write() as session:
            due = sa.update(Task).where(Task.id == task_id).values(due_at=db_clock(-1))
            session.execute(due)

    def task(self, task_id: str) -> Task:
        """A task as it stands."""
        with self.database.read() as session:
            return session.get_one(Task, task_id)

    def _begin(
        self, observe: Callable[[Attempt, Step], None], task: Task, kind: TaskKind, *rest: Any
    ) -> Attempt:
        facts, wiring, lease = rest
        attempt = _Observed(
            task,
            kind,
            facts,
            wiring,
            lease,
            _StillHeart(lease, interval_s=1),
            clock=lambda: self.clock.passed_s,
            observe=lambda step: observe(attempt, step),
        )
        return attempt

    def _cancel(self, attempt: Attempt) -> None:
        with self.database.write() as session:
            lease_s = self.wiring.settings.lease_s
            cancel_task(session, attempt.task.id, lease_s=lease_s, now=self.clock.now())
        attempt.heartbeat.reason = CancelRequested

    def _be_late(self, attempt: Attempt) -> None:
        self.clock.advance(attempt.time_limit_s + 1)

    @contextmanager
    def _others(self, *, waiting: bool, user_id: int) -> Iterator[None]:
        """Have another task wait while every slice is over, or not."""
        if not waiting:
            yield
            return
        kind = TaskKind(name="waiting", title="Waiting")
        other = self.launch(kind, user_id=user_id)
        settings, self._queue.contended = self.wiring.settings, True
        vars(self.wiring)["settings"] = replace(settings, fair_slice_s=0)
        yield
        vars(self.wiring)["settings"], self._queue.contended = settings, False
        with self.database.write() as session:
            session.execute(sa.delete(Task).where(Task.id == other))


@contextmanager
def _registered(kind: TaskKind) -> Iterator[None]:
    """Have the kernel know a kind."""
    known = TASKS.get(kind.name)
    TASKS[kind.name] = kind
    try:
        yield
    finally:
        if known is None:
            del TASKS[kind.name]
        else:
            TASKS[kind.name] = known


def assert_resumable(
    kind: TaskKind,
    params: Mapping[str, Any] | None = None,
    *,
    ledger: MemoryLedger,
    user_id: int,
) -> None:
    """Kill the task right after each of its checkpoints: whatever goes on ends as one left alone.

    Raises:
        AssertionError: It notes no checkpoint, has another result, goes backwards, or does again
            what a checkpoint covered.
    """
    whole = ledger.run(kind, params, user_id=user_id)
    _require(whole.status == "succeeded", f"{kind.name} does not succeed: {whole.error_code}")
    _require(whole.checkpoints, f"{kind.name} notes no checkpoint")
    for number, step in enumerate(whole.steps, start=1):
        if step.checkpoint is not None:
            task_id = ledger.launch(kind, params, user_id=user_id)
            killed = ledger.attempt(kind, task_id, {number: _kill})
            ledger.recover(task_id)
            resumed = ledger.attempt(kind, task_id)
            where = f"{kind.name}, killed at step {number} with {dict(step.checkpoint)}"
            _compare(whole, killed, resumed, where)


def _compare(whole: Run, killed: Run, resumed: Run, where: str) -> None:
    _require(killed.outcome is None, f"{where}: it does not come as far again")
    error = f"{resumed.status}, {resumed.error_code}"
    _require(resumed.status == "succeeded", f"{where}: {error}")
    _require(resumed.result == whole.result, f"{where}: {resumed.result}, not {whole.result}")
    percents = killed.percents + resumed.percents
    falls = any(one > other for one, other in pairwise(percents))
    _require(not falls, f"{where}: it goes backwards")
    done = killed.steps[-1].done
    again = [one for one in resumed.steps if one.checkpoint and one.done < done]
    _require(not again, f"{where}: it does again what was done: {again}")


def _require(condition: object, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _kill(_attempt: Attempt) -> None:
    raise Killed
