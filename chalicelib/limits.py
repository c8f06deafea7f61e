"""How often somebody may try: counters with an expiry in Redis."""

import hashlib

from redis import Redis
from redis.exceptions import RedisError

from chalicelib.errors import TooManyAttempts

WINDOW_S = 900
PER_ACCOUNT = 10
"""Wrong passwords for one account in a window."""

PER_ADDRESS = 100
"""Wrong passwords from one address in a window: a household or an office shares an address."""


class SignInLimit:
    """Counts wrong passwords by account and by address.

    While Redis does not answer nobody is refused.

    Args:
        redis: A client that gives up quickly.
        username: Whose account; exists or not, in whatever case.
        address: Where the attempt comes from.
    """

    def __init__(self, redis: Redis, *, username: str, address: str) -> None:
        self._redis = redis
        account = hashlib.sha256(username.lower().encode("utf-8", "surrogatepass")).hexdigest()
        place = hashlib.sha256(address.encode()).hexdigest()
        self._counters = {
            f"carryout:sign-in:account:{account}": PER_ACCOUNT,
            f"carryout:sign-in:address:{place}": PER_ADDRESS,
        }

    def check(self) -> None:
        """Refuse an attempt that comes after too many wrong ones.

        Raises:
            TooManyAttempts: With the time until the window ends.
        """
        try:
            with self._redis.pipeline() as pipeline:
                for key in self._counters:
                    pipeline.get(key)
                    pipeline.ttl(key)
                answers = pipeline.execute()
        except RedisError:
            return
        for limit, count, ttl_s in zip(
            self._counters.values(), answers[::2], answers[1::2], strict=True
        ):
            if int(count or 0) >= limit:
                raise TooManyAttempts(ttl_s)

    def count_failure(self) -> None:
        """Count a wrong password; the window begins with the first."""
        try:
            with self._redis.pipeline() as pipeline:
                for key in self._counters:
                    pipeline.set(key, 0, ex=WINDOW_S, nx=True)
                    pipeline.incr(key)
                pipeline.execute()
        except RedisError:
            return
