"""Application Auto Scaling as the template uses it: when the formula is applied, and how.

The numbers and the formula are those of `chalicelib.operations.scaling`, by which the reconciler
publishes. The rest follows the Application Auto Scaling user guide, "Target tracking scaling
policies".
"""

from dataclasses import dataclass

from chalicelib.operations.scaling import (
    FIRST_PERIODS,
    IN_BELOW,
    IN_COOLDOWN_S,
    IN_PERIODS,
    OUT_COOLDOWN_S,
    OUT_PERIODS,
    Limits,
    desired_workers,
)


@dataclass
class Autoscaling:
    """A policy and its memory.

    Attributes:
        limits: What the deployment chose.
        capacity: How many workers the service should have.
        in_part: At most this part of them is taken away at once, but one always can be.
    """

    limits: Limits
    capacity: int
    in_part: float = 1.0
    _high: int = 0
    _low: int = 0
    _waiting: int = 0
    _before: int = 0
    _out_until_s: float = 0.0
    _in_until_s: float = 0.0

    def observe(self, now_s: float, backlog: float) -> int:
        """Take note of a period's backlog per worker.

        Returns:
            The capacity from now on.
        """
        target = self.limits.target
        self._high = self._high + 1 if backlog > target else 0
        self._low = self._low + 1 if backlog < IN_BELOW * target else 0
        self._waiting = self._waiting + 1 if backlog > 0 and not self.capacity else 0
        if self._waiting >= FIRST_PERIODS or self._high >= OUT_PERIODS:
            self._add(now_s, backlog)
        elif self._low >= IN_PERIODS and now_s >= self._in_until_s:
            self._take_away(now_s, backlog)
        return self.capacity

    def _add(self, now_s: float, backlog: float) -> None:
        # What was added a moment ago has not worked yet, so it does not multiply what is wanted.
        before = self._before if now_s < self._out_until_s else self.capacity
        wanted = desired_workers(before, backlog, self.limits)
        if wanted > self.capacity:
            self._before, self._out_until_s = before, now_s + OUT_COOLDOWN_S
            self.capacity = wanted

    def _take_away(self, now_s: float, backlog: float) -> None:
        most = max(1, int(self.capacity * self.in_part))
        wanted = max(desired_workers(self.capacity, backlog, self.limits), self.capacity - most)
        if wanted < self.capacity:
            self._in_until_s = now_s + IN_COOLDOWN_S
            self.capacity = wanted
