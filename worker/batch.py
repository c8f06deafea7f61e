"""Short tasks that a work horse claims in one statement, does one by one, and ends in one.

A horse takes several jobs at a time where their kinds have lately been short, and no worker is
idle (`adapters.job_queue.TAKE`). Each task has its own claim, attempt, outcome, notification and
log line. Nobody waits for a task that turns out to be long: after `LONGEST_S` those before it are
written down, and those behind it go back to the head of the queue, whatever it is about.

What is missed by a batch that does not come to its end is repeated, each task once at most: a task
that has failed before is claimed alone, and one that its dead horse had not begun is released.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime

from rq.executions import Execution
from rq.job import Job
from rq.utils import now as utc_now

from chalicelib.adapters.job_queue import RegisteredJob
from chalicelib.errors import CancelRequested, ClaimLost
from chalicelib.logs import bound
from chalicelib.tasks import batches
from chalicelib.tasks.leases import Claimed, Lease
from chalicelib.tasks.registry import TASKS
from chalicelib.wiring import Wiring
from worker import attempts
from worker.attempts import PENDING, REQUEUED, Attempt, FailedAttemptError
from worker.job_notes import JobNotes

log = logging.getLogger(__name__)

AHEAD_S = 0.05
"""How much work a horse takes at a time, by what such jobs have lately taken."""

MOST = 32
"""How many jobs it takes at most: beyond, a statement for all costs about as much as several."""

LONGEST_S = 0.1
"""After so long the tasks that are not begun go back, and those that are done are written down."""


def are_possible(wiring: Wiring) -> bool:
    """Whether tasks can be claimed together.

    Not on SQLite, which has no statement for it and is no round trip away; and not while traces
    are wanted, where an attempt's span holds its claim and its end.
    """
    return wiring.database.is_postgresql and wiring.tracer is None


class Member:
    """One job of a batch, and the attempt at its task.

    Args:
        batch: The others.
        job: The job.
        claimed: Its task.

    Attributes:
        attempt: Once it has begun.
        execution: What RQ was told of it, if anything.
    """

    def __init__(self, batch: "Batch", job: Job, claimed: Claimed) -> None:
        self._batch = batch
        self.job = job
        self.claimed = claimed
        self.attempt: Attempt | None = None
        self.execution: Execution | None = None

    def begin(self, attempt: Attempt) -> None:
        """Start no heartbeat, unless the others are gone: a thread costs more than a short task."""
        self.attempt = attempt
        self._batch.begin(self)

    def defer(self) -> bool:
        """Have the others' statement write the success, unless they are gone."""
        return self._batch.defer(self)


class Batch:
    """Some jobs that were taken from the queue at once.

    Args:
        wiring: Clients and settings.
        notes: Tells Redis.
        jobs: The jobs, in their order.
        perform: Does one that could not be claimed with the others.
        must_stop: Whether this process has to end.
        note: Called with each job that was done.

    Attributes:
        is_spent: Whether something was interrupted, or goes on, that only ends with this process.
    """

    def __init__(
        self,
        wiring: Wiring,
        notes: JobNotes,
        jobs: Sequence[Job],
        *,
        perform: Callable[[Job], object],
        must_stop: Callable[[], bool],
        note: Callable[[Job], None],
    ) -> None:
        self._wiring = wiring
        self._notes = notes
        self._perform_alone = perform
        self._must_stop = must_stop
        self._note = note
        self.is_spent = False
        self._jobs = jobs
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Job, Member | None]] = deque()
        self._current: Member | None = None
        self._done: list[Member] = []
        self._is_together = True
        self._parted = threading.Event()
        self._leases: list[Lease] = []
        self._overseer = threading.Thread(target=self._oversee, daemon=True, name="batch")
        self._began_at = utc_now()

    def work(self) -> None:
        """Do the jobs."""
        try:
            claimed = self._claim()
        except Exception:
            self._notes.put_back(self._jobs)
            raise
        for job in self._jobs:
            task = claimed.pop(job.id, None)
            self._waiting.append((job, Member(self, job, task) if task else None))
        self._overseer.start()
        try:
            while (following := self._next()) is not None:
                self._perform(*following)
            self._part()
        except BaseException:
            self._parted.set()
            raise
        finally:
            self._overseer.join()

    def begin(self, member: Member) -> None:
        """An attempt has begun."""
        with self._lock:
            self._current = member
            if self._is_together:
                return
        self._leave(member)

    def defer(self, member: Member) -> bool:
        """An attempt's function has returned; whether its success is written later."""
        with self._lock:
            self._current = None
            if self._is_together:
                self._done.append(member)
            return self._is_together

    def _claim(self) -> dict[str, Claimed]:
        names = {job.id: name for job in self._jobs if (name := _plain_name(job))}
        return batches.claim(
            self._wiring.database,
            names,
            worker=attempts.worker_name(),
            lease_s=self._wiring.settings.lease_s,
            now=self._wiring.now(),
        )

    def _next(self) -> tuple[Job, Member | None] | None:
        with self._lock:
            if not self._waiting or self._must_stop():
                return None
            return self._waiting.popleft()

    def _perform(self, job: Job, member: Member | None) -> None:
        if member is None:
            self._perform_alone(job)
            return
        try:
            with attempts.in_company(member):
                outcome = job.perform()
        except Exception as error:  # noqa: BLE001 - RQ records it, as it does for its own workers
            self._notes.fail(job, self._execution_of(member))
            self.is_spent |= isinstance(error, FailedAttemptError) and error.timed_out
            return
        self._note(job)
        if outcome != PENDING:
            self._notes.end(job, self._execution_of(member), requeued=outcome in REQUEUED)
            self.is_spent |= outcome == "out_of_time"

    def _execution_of(self, member: Member) -> Execution:
        """What RQ is told of a task that ends otherwise than with the others."""
        with self._lock:
            self._current, parted = None, not self._is_together
        if parted:
            self._overseer.join()  # it may be about to tell
        return member.execution or self._notes.begin(member.job)

    def _oversee(self) -> None:
        """Part when a task takes long, and renew the leases while what follows has to wait."""
        if self._parted.wait(LONGEST_S):
            return
        parting = threading.Thread(target=self._part_early, daemon=True, name="batch")
        parting.start()
        while not self._parted.wait(attempts.heartbeat_interval_s(self._wiring)):
            self._renew()
        parting.join()

    def _part_early(self) -> None:
        try:
            self._part()
        except Exception:
            # The leases end by themselves, and the reconciler sees to the tasks.
            log.warning("could not part", extra={"action": "work"}, exc_info=True)

    def _part(self) -> None:
        """Write down what is done, release what has not begun; what has begun is on its own.

        First come those for whom a statement for all is enough. The others, whose user somebody
        else has locked, may have to wait for long; so may these statements, for a single row.
        """
        with self._lock:
            if not self._is_together:
                return
            self._is_together = False
            current, done, left = self._current, self._done, list(self._waiting)
            self._done, self._waiting = [], deque()
            begun = [member for _, member in left if member is not None]
            self._leases = [member.claimed.lease for member in (*done, *begun)]
        try:
            if current is not None:
                self._leave(current)
            unwritten = self._write_down(done)
            unreleased = self._release(left)
            self._conclude_all(unwritten, attempts.succeed_alone)
            for job, lease in reversed(unreleased):
                _release_alone(lease, now=self._wiring.now())
                self._notes.put_back([job])
        finally:
            self._parted.set()

    def _renew(self) -> None:
        with self._lock:
            leases = self._leases
        try:
            batches.renew(self._wiring.database, leases)
        except Exception:
            log.warning("could not renew", extra={"action": "renew"}, exc_info=True)

    def _leave(self, member: Member) -> None:
        """Have a task go on that takes long, or that has no others any more."""
        if member.attempt is not None:
            member.attempt.heartbeat.start()
        member.execution = self._notes.begin(member.job)

    def _release(self, left: Sequence[tuple[Job, Member | None]]) -> list[tuple[Job, Lease]]:
        """Give up what has not begun; return what could not be released with the others."""
        leases = {job.id: member.claimed.lease for job, member in left if member is not None}
        now = self._wiring.now()
        released = (
            batches.release(self._wiring.database, leases.values(), now=now) if leases else ()
        )
        unreleased = leases.keys() - released
        self._notes.put_back(job for job, _ in left if job.id not in unreleased)
        return [(job, leases[job.id]) for job, _ in left if job.id in unreleased]

    def _write_down(self, done: Sequence[Member]) -> list[Member]:
        """End the tasks that are done; return those that could not be ended with the others."""
        ended = self._succeed(done) if done else set()
        together = [member for member in done if member.job.id in ended]
        self._conclude_all(together, lambda attempt: attempts.conclude(attempt, "succeeded"))
        return [member for member in done if member.job.id not in ended]

    def _succeed(self, done: Sequence[Member]) -> set[str]:
        facts = [
            (one.claimed.lease, one.attempt.result, one.attempt.total)
            for one in done
            if one.attempt is not None
        ]
        try:
            return batches.succeed(self._wiring.database, facts, now=self._wiring.now())
        except Exception:
            # A result that cannot be stored, or a database that was away: each tells for itself.
            log.warning("could not end together", extra={"action": "work"}, exc_info=True)
            return set()

    def _conclude_all(self, done: Sequence[Member], conclude: Callable[[Attempt], str]) -> None:
        succeeded = [member.job for member in done if self._conclude(member, conclude)]
        if succeeded:
            self._notes.end_together(succeeded, since=self._began_at)

    def _conclude(self, member: Member, conclude: Callable[[Attempt], str]) -> bool:
        """Say what became of a task that is done; whether it succeeded."""
        attempt = member.attempt
        if attempt is None:
            return False
        with bound(request_id=attempts.request_id_of(member.job.meta), task_id=attempt.task.id):
            try:
                outcome = conclude(attempt)
            except FailedAttemptError:
                self._notes.fail(member.job, self._notes.begin(member.job))
                return False
            if outcome == "succeeded":
                self._wiring.queue.note_success(member.job)
                return True
        self._notes.end(member.job, self._notes.begin(member.job), requeued=outcome in REQUEUED)
        return False


def _plain_name(job: Job) -> str | None:
    """Of what kind a job's task probably is, if it can be claimed with others."""
    if not isinstance(job, RegisteredJob):
        return None
    try:
        job.refuse_others()
    except Exception:  # noqa: BLE001 - whatever it is, it is refused where it is alone
        return None
    name = job.probable_name
    return name if name in TASKS and batches.is_plain(TASKS[name]) else None


def _release_alone(lease: Lease, *, now: datetime) -> None:
    """Release a task that was not released with the others, unless it is over, or its user's."""
    try:
        lease.release(now=now)
    except CancelRequested:
        lease.cancel(now=now)
    except ClaimLost:
        pass
