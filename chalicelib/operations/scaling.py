"""How many workers there should be.

The reconciler publishes `backlog_per_worker` each minute; Application Auto Scaling adds workers
until it is at a target ("target tracking") by the arithmetic of `desired_workers`. It would also
take away all that are too many at once, and then wait for minutes until it misses them, so taking
away is a rule of its own: a part at a time. Zero workers times anything is zero, so the first one
is a rule, too. The numbers here are those of `infra/aws/app.yaml`, or of AWS where the template
cannot choose; a test compares the former.
"""

import math
from dataclasses import dataclass

PERIOD_S = 60
"""How often the backlog is published, and the period of the alarms on it, in seconds."""

OUT_PERIODS = 3
"""For how many periods in a row the target is exceeded before workers are added (AWS chooses)."""

IN_PERIODS = 15
"""For how many periods in a row workers are too many before some are taken away."""

IN_PART = 0.25
"""Which part of the workers is taken away at once, but one always can be."""

IN_BELOW = 1 - IN_PART
"""The part of the target below which workers are too many: those who stay have room for it all."""

FIRST_PERIODS = 1
"""For how many periods something waits where nobody works before the first worker is started."""

OUT_COOLDOWN_S = 120
"""For how long workers that were just added count as working; they take about a minute to start."""

IN_COOLDOWN_S = 300
"""How long after taking workers away no more are taken."""


@dataclass(frozen=True)
class Limits:
    """What a deployment chooses.

    Attributes:
        target: How many unfinished tasks there should be for each worker, running ones included;
            below 1 it is the part of the time that workers are busy.
        least: The fewest workers, 0 allowed.
        most: The most workers.
    """

    target: float = 0.7
    least: int = 1
    most: int = 20


def backlog_per_worker(unfinished: int, workers: int) -> float:
    """How much there is to do for each worker.

    Args:
        unfinished: Tasks that run or could run now. Running ones count: a service that is busy
            and has an empty queue is no smaller for that.
        workers: Workers that are alive. With none, everything is the first one's.
    """
    return unfinished / max(workers, 1)


def desired_workers(capacity: int, backlog: float, limits: Limits) -> int:
    """How many workers there should be.

    Args:
        capacity: How many the service wants now.
        backlog: What `backlog_per_worker` said.
        limits: What the deployment chose.
    """
    wanted = (
        math.ceil(capacity * backlog / limits.target) if capacity else min(1, math.ceil(backlog))
    )
    return min(limits.most, max(limits.least, wanted))
