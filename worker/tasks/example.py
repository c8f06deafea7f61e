"""Counts seconds: the smallest task there is, to try things with."""

import time
from typing import Any

from worker.attempts import Attempt

STEP_S = 0.25


def example(attempt: Attempt, seconds: int) -> dict[str, Any]:
    """Wait for some seconds, and say how many have passed."""
    started = time.monotonic()
    while (passed := time.monotonic() - started) < seconds:
        attempt.progress(int(passed), seconds)
        time.sleep(min(STEP_S, seconds - passed))
    return {"seconds": seconds}
