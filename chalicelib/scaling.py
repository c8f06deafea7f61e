"""How many workers there should be.

The sweeper publishes `backlog_per_worker` each minute; Application Auto Scaling keeps it at a
target ("target tracking") by the arithmetic of `desired_workers`. Zero workers times anything is
zero, so the first one is a rule of its own (a step policy). The numbers here are those of
`infra/aws/app.yaml`, or of AWS where the template cannot choose; a test compares the former.
"""

import math
from dataclasses import dataclass

PERIOD_S = 60
"""How often the backlog is published, and the period of the alarms on it, in seconds."""

OUT_PERIODS = 3
"""For how many periods in a row the target is exceeded before workers are added (AWS chooses)."""

IN_PERIODS = 15
"""For how many periods in a row the backlog is low before workers are taken away (AWS chooses)."""

IN_BELOW = 0.9
"""The part of the target below which the backlog counts as low (AWS chooses)."""

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
        target: How many unfinished tasks there should be for each worker, the running one included.
        least: The fewest workers, 0 allowed.
        most: The most workers.
    """

    target: float = 10
    least: int = 0
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
