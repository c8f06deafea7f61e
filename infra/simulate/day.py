"""A simulated day: requests, a queue, workers that come and go, and emails.

Discrete events in order of time; the same seed gives the same day. An export waits in one queue,
oldest first. Each worker does one task at a time, as RQ's does, and sends the email at its end.
"""

import heapq
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from chalicelib.operations.scaling import PERIOD_S, backlog_per_worker
from chalicelib.outbox.messages import MAX_TRIES
from infra.simulate.assumptions import DAY_S, Assumptions, Draw
from infra.simulate.autoscaling import Autoscaling
from worker.outbox.sender import MAX_PAUSE_S

BURST_S = 600
LONGEST_DRAIN_S = 7 * DAY_S
"""For how long after the last request the queue may take to empty."""

BILLED_AT_LEAST_S = 60
"""Fargate bills a minute for a worker that lived for less."""

INFINITY = math.inf


@dataclass(slots=True, eq=False)
class Export:
    """A request in the queue; once `emailing`, only its email is left to do."""

    asked_s: float
    posts: float
    begun: bool = False
    in_s3: float = 0.0
    emailing: bool = False
    email_tries: int = 0


@dataclass(slots=True, eq=False)
class Worker:
    """A Fargate task from its launch to its end."""

    launched_s: float
    on_spot: bool
    listens: bool = False
    alive: bool = True
    does: Export | None = None
    began_s: float = 0.0
    ends_s: float = INFINITY


@dataclass
class Outcome:
    """What became of a day; it may be a shortened one, see `simulate`.

    Attributes:
        days: How many whole days it stands for, or the part of one.
        asked, succeeded: Exports.
        waits_s: From each request to its first attempt.
        watched_s: For how long the exports were watched, if somebody watches each, together.
        busy_s: Of all workers together.
        workers_s, spot_s: Workers that were paid for: on demand, and on Spot.
        most_workers: At once.
        launches, interruptions, released: Of workers; of tasks.
        emails_sent, emails_refused, emails_failed: SES's answers; failed after the last try.
        unfinished: What was left when it was given up.
    """

    days: float
    asked: int = 0
    succeeded: int = 0
    waits_s: list[float] = field(default_factory=list)
    watched_s: float = 0.0
    busy_s: float = 0.0
    workers_s: float = 0.0
    spot_s: float = 0.0
    most_workers: int = 0
    launches: int = 0
    interruptions: int = 0
    released: int = 0
    emails_sent: int = 0
    emails_refused: int = 0
    emails_failed: int = 0
    unfinished: int = 0

    @property
    def mean_workers(self) -> float:
        """Paid for at any moment, on average."""
        return (self.workers_s + self.spot_s) / (self.days * DAY_S)

    def waited_s(self, part: float) -> float:
        """The time within which this part of the exports was begun."""
        ordered = sorted(self.waits_s)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


Kind = Literal["listens", "ends", "warned", "measure", "decide", "email"]


class Day:
    """The world of one simulated day.

    Args:
        assumed: How it works.
        per_day: Exports a day.
        days: How many days, or which part of one, into which the daily curve is pressed.
        seed: Of all that is left to chance.
        draw: Of sizes; the assumptions' own when None.
    """

    def __init__(
        self, assumed: Assumptions, *, per_day: float, days: float, seed: int, draw: Draw | None
    ) -> None:
        self._assumed = assumed
        self._per_s = per_day / DAY_S
        self._curve_s = DAY_S * min(1.0, days)
        self._until_s = DAY_S * days
        self._chance = Random(seed)  # noqa: S311 - replayable, no secret  # nosec B311
        self._draw = draw or assumed.draw_posts
        self._overhead_s, self._each_s = assumed.overhead_s, assumed.each_post_s
        self._events: list[tuple[float, int, Kind, Worker | Export | float | None]] = []
        self._number = 0
        self._queue: deque[Export] = deque()
        self._idle: list[Worker] = []
        self._workers: set[Worker] = set()
        self._listening = 0
        self._busy = 0
        self._on_spot = 0
        self._email_credit, self._email_credit_s, self._emails_today = 0.0, 0.0, 0
        self._policy = Autoscaling(assumed.limits, self._first_capacity(), assumed.in_part)
        self.outcome = Outcome(days)

    def run(self) -> Outcome:
        """Live the day, and go on until the queue is empty."""
        for _ in range(self._policy.capacity):
            self._launch(0.0, listens_s=0.0)
        self._at(0.0, "measure")
        requests = self._requests()
        request_s = next(requests, INFINITY)
        while request_s < INFINITY or self._goes_on():
            if request_s <= self._events[0][0]:
                self._ask(request_s)
                request_s = next(requests, INFINITY)
            else:
                now_s, _, kind, about = heapq.heappop(self._events)
                getattr(self, f"_on_{kind}")(now_s, about)
        return self._close(max(self._until_s, self._events[0][0]))

    def rate_per_s(self, now_s: float) -> float:
        """Requests a second: least at midnight, most at noon, when a burst may come on top."""
        wave = (self._assumed.peak - 1) * math.cos(2 * math.pi * now_s / self._curve_s)
        noon = self._curve_s / 2
        burst = self._assumed.burst if noon <= now_s % self._curve_s < noon + BURST_S else 1.0
        return self._per_s * (1 - wave) * burst

    def _first_capacity(self) -> int:
        load, limits = self.rate_per_s(0) * self._assumed.mean_task_s, self._assumed.limits
        begun = math.ceil(load) if load > 0.5 else 0  # noqa: PLR2004 - a worker of its own
        return min(limits.most, max(limits.least, begun))

    def _requests(self) -> Iterator[float]:
        """Poisson arrivals whose rate is that of each minute's middle."""
        minute_s = 0.0
        while minute_s < self._until_s:
            end_s = min(minute_s + 60, self._until_s)
            rate = self.rate_per_s((minute_s + end_s) / 2)
            now_s = minute_s + self._chance.expovariate(rate)
            while now_s < end_s:
                yield now_s
                now_s += self._chance.expovariate(rate)
            minute_s = end_s

    def _goes_on(self) -> bool:
        done = self.outcome
        unsettled = done.asked - done.emails_sent - done.emails_failed
        return unsettled > 0 and self._events[0][0] < self._until_s + LONGEST_DRAIN_S

    def _close(self, now_s: float) -> Outcome:
        for worker in tuple(self._workers):
            self._stop(worker, now_s)
        self.outcome.unfinished = self.outcome.asked - self.outcome.succeeded
        return self.outcome

    def _at(self, at_s: float, kind: Kind, about: Worker | Export | float | None = None) -> None:
        self._number += 1  # of two events at once the older one comes first
        heapq.heappush(self._events, (at_s, self._number, kind, about))

    # --- Tasks ---

    def _ask(self, now_s: float) -> None:
        self.outcome.asked += 1
        self._queue.append(Export(now_s, self._draw(self._chance)))
        if self._idle:
            self._begin(self._idle.pop(), now_s)

    def _begin(self, worker: Worker, now_s: float) -> None:
        export = self._queue.popleft()
        if not export.begun:
            export.begun = True
            self.outcome.waits_s.append(now_s - export.asked_s)
        left = 0.0 if export.emailing else export.posts - export.in_s3
        worker.does, worker.began_s = export, now_s
        worker.ends_s = now_s + self._overhead_s + left * self._each_s
        self._busy += 1
        self._at(worker.ends_s, "ends", worker)

    def _on_ends(self, now_s: float, worker: Worker) -> None:
        export = worker.does
        if export is None or worker.ends_s != now_s:
            return  # it was released
        if not export.emailing:
            self.outcome.succeeded += 1
            self.outcome.watched_s += min(now_s - export.asked_s, self._assumed.patience_s)
            export.emailing = True
        self._email(export, now_s)
        self._let_go(worker, now_s)
        self._next(worker, now_s)

    def _let_go(self, worker: Worker, now_s: float) -> None:
        self.outcome.busy_s += now_s - worker.began_s
        self._busy -= 1
        worker.does, worker.ends_s = None, INFINITY

    def _next(self, worker: Worker, now_s: float) -> None:
        if len(self._workers) > self._policy.capacity:
            self._stop(worker, now_s)  # no longer protected from scale-in
        elif self._queue:
            self._begin(worker, now_s)
        else:
            self._idle.append(worker)

    # --- Mails ---

    def _email(self, export: Export, now_s: float) -> None:
        export.email_tries += 1
        if self._ses_takes(now_s):
            self.outcome.emails_sent += 1
        elif export.email_tries >= MAX_TRIES:
            self.outcome.emails_failed += 1
        else:
            self.outcome.emails_refused += 1
            pause_s = min(MAX_PAUSE_S, 2.0**export.email_tries) * self._chance.uniform(0.5, 1)
            self._at(now_s + pause_s, "email", export)

    def _ses_takes(self, now_s: float) -> bool:
        rate = self._assumed.emails_per_s
        earned = (now_s - self._email_credit_s) * rate
        self._email_credit = min(max(rate, 1.0), self._email_credit + earned)
        self._email_credit_s = now_s
        quota = self._assumed.emails_per_day * min(1.0, self.outcome.days)
        days_gone = now_s // self._curve_s
        if self._email_credit < 1 or self.outcome.emails_sent >= quota * (days_gone + 1):
            return False
        self._email_credit -= 1
        return True

    def _on_email(self, now_s: float, export: Export) -> None:
        self._queue.append(export)
        if self._idle:
            self._begin(self._idle.pop(), now_s)

    # --- Workers ---

    def _launch(self, now_s: float, *, listens_s: float | None = None) -> None:
        assumed = self._assumed
        beyond = max(0, len(self._workers) + 1 - assumed.base)
        on_spot = self._on_spot + 1 <= assumed.spot * beyond
        worker = Worker(now_s, on_spot)
        self._workers.add(worker)
        self._on_spot += on_spot
        self.outcome.launches += 1
        self.outcome.most_workers = max(self.outcome.most_workers, len(self._workers))
        start_s = self._chance.uniform(assumed.start_least_s, assumed.start_most_s)
        self._at(now_s + start_s if listens_s is None else listens_s, "listens", worker)
        if on_spot and assumed.interruptions_per_h:
            lives_s = self._chance.expovariate(assumed.interruptions_per_h / 3600)
            self._at(now_s + lives_s, "warned", worker)

    def _on_listens(self, now_s: float, worker: Worker) -> None:
        if worker.alive:
            worker.listens = True
            self._listening += 1
            self._next(worker, now_s)

    def _on_warned(self, now_s: float, worker: Worker) -> None:
        """Spot wants its capacity back: a task is released and goes on after its last part."""
        if not worker.alive:
            return
        self.outcome.interruptions += 1
        export = worker.does
        if export is not None:
            if not export.emailing:
                export.in_s3 = self._safe_posts(worker, export, now_s)
            self._let_go(worker, now_s)
            self.outcome.released += 1
            self._at(now_s + self._assumed.release_s, "email", export)
        self._stop(worker, now_s)
        self._adjust(now_s)

    def _safe_posts(self, worker: Worker, export: Export, now_s: float) -> float:
        worked_s = max(0.0, now_s - worker.began_s - self._overhead_s)
        written = export.in_s3 + worked_s / self._each_s if self._each_s else 0.0
        part = self._assumed.posts_per_part
        return max(export.in_s3, min(written, export.posts) // part * part)

    def _stop(self, worker: Worker, now_s: float) -> None:
        worker.alive = False
        self._workers.remove(worker)
        self._listening -= worker.listens
        self._on_spot -= worker.on_spot
        if worker in self._idle:
            self._idle.remove(worker)
        billed_s = max(BILLED_AT_LEAST_S, now_s - worker.launched_s)
        if worker.on_spot:
            self.outcome.spot_s += billed_s
        else:
            self.outcome.workers_s += billed_s

    # --- Scaling ---

    def _on_measure(self, now_s: float, _: None) -> None:
        backlog = backlog_per_worker(len(self._queue) + self._busy, self._listening)
        self._at(now_s + self._assumed.alarm_s, "decide", backlog)
        self._at(now_s + PERIOD_S, "measure")

    def _on_decide(self, now_s: float, backlog: float) -> None:
        self._policy.observe(now_s, backlog)
        self._adjust(now_s)

    def _adjust(self, now_s: float) -> None:
        """What ECS does: launch what is missing, stop what is too many and not protected."""
        for _ in range(self._policy.capacity - len(self._workers)):
            self._launch(now_s)
        too_many = len(self._workers) - self._policy.capacity
        for worker in self._idle[: max(0, too_many)]:
            self._stop(worker, now_s)


def simulate(
    assumed: Assumptions,
    per_day: float,
    *,
    seed: int,
    fewest: int = 20_000,
    most: int = 1_000_000,
    draw: Draw | None = None,
) -> Outcome:
    """Simulate days of so many exports.

    Args:
        assumed: How the world works.
        per_day: Exports a day.
        seed: The same seed and assumptions give the same outcome.
        fewest: Several days are simulated until there are about so many exports.
        most: A day with more is pressed into a part of it, at the same rates: its curve rises and
            falls that much more quickly, so scaling has it harder than on a real day.
        draw: Draws sizes instead of the assumptions' own distribution.
    """
    days = math.ceil(fewest / per_day) if per_day < fewest else min(1.0, most / per_day)
    return Day(assumed, per_day=per_day, days=days, seed=seed, draw=draw).run()
