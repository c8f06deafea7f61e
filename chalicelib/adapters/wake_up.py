"""A wake-up hint through Redis: whoever waits for it looks earlier, and nothing depends on it."""

import logging
from typing import cast

from redis import Redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

LOOK_INTERVAL_S = 5.0
"""How often those who wait look by themselves."""

SEND = """
redis.call('LPUSH', KEYS[1], 1)
redis.call('LTRIM', KEYS[1], 0, 0)
"""
"""Many hints are as good as one, so the list never holds more."""


class WakeUp:
    """One hint, which wakes one of those who wait.

    Args:
        redis: A client; those who wait need one whose time limit is above theirs.
        key: Where the hint lies.
    """

    def __init__(self, redis: Redis, key: str) -> None:
        self._redis = redis
        self._key = key

    def send(self) -> None:
        """Wake one of those who wait; while Redis does not respond they look by themselves."""
        try:
            self._redis.eval(SEND, 1, self._key)
        except RedisError:
            log.warning("no hint sent", extra={"action": "wake_up"}, exc_info=True)

    def wait(self, timeout_s: float) -> bool:
        """Wait for a hint.

        Returns:
            Whether one came.

        Raises:
            RedisError: Redis does not respond.
        """
        # Fractions of a second are fine: Redis has taken them since version 6.
        return self._redis.blpop([self._key], timeout=cast("int", timeout_s)) is not None
