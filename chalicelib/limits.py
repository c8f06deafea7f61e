"""How often somebody may do something: counters with an expiry in Redis.

While Redis does not answer nobody is refused, but who guesses passwords: that is then counted in
the ledger.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import sqlalchemy as sa
from redis import Redis
from redis.exceptions import RedisError

from chalicelib.db import Database
from chalicelib.errors import TooMany, TooManyAttempts
from chalicelib.models import Guess

WINDOW_S = 900
PER_ACCOUNT = 10
"""Wrong passwords for one account in a window."""

PER_ADDRESS = 100
"""Wrong passwords from one address in a window: a household or an office shares an address."""


@dataclass(frozen=True)
class Rate:
    """So many times in so long.

    Attributes:
        name: What is counted.
        most: How often it may be done in a window.
        window_s: The window in seconds; it begins with the first time.
    """

    name: str
    most: int
    window_s: int


REQUESTS_PER_TOKEN = Rate("requests:token", 600, 60)
REQUESTS_PER_ADDRESS = Rate("requests:address", 1200, 60)
EXPORTS_PER_USER = Rate("exports:user", 30, 3600)
MAILS_PER_USER = Rate("mails:user", 20, 3600)
"""Mails that somebody asks for: again for an export, to confirm an address, to reset a password."""


SPEND = """
local answers = {}
for at, key in ipairs(KEYS) do
    redis.call('SET', key, 0, 'EX', ARGV[at], 'NX')
    answers[at] = {redis.call('INCR', key), redis.call('TTL', key)}
end
return answers
"""
"""Counts at each key, in windows of so many seconds, and tells the count and what is left of it."""


def spend(redis: Redis, *uses: tuple[Rate, object]) -> None:
    """Count a use of each rate by somebody, in one round trip.

    Args:
        redis: A client that gives up quickly.
        uses: Rates, and who uses them: a number, a token, an address; only digests are kept.

    Raises:
        TooMany: It is one too many for one of them; with the time until its window ends.
    """
    try:
        keys = [f"carryout:{rate.name}:{_digest(str(who))}" for rate, who in uses]
        windows = [rate.window_s for rate, _ in uses]
        answers = cast("list[list[int]]", redis.eval(SPEND, len(keys), *keys, *windows))
    except RedisError:
        return
    for (rate, _), (count, ttl_s) in zip(uses, answers, strict=True):
        if count > rate.most:
            raise TooMany(ttl_s)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class SignInLimit:
    """Counts wrong passwords by account and by address.

    Args:
        redis: A client that gives up quickly.
        database: The ledger, which counts while Redis does not answer.
        username: Whose account; exists or not, in whatever case.
        address: Where the attempt comes from.
    """

    def __init__(self, redis: Redis, database: Database, *, username: str, address: str) -> None:
        self._redis = redis
        self._database = database
        self._counters = {
            f"carryout:sign-in:account:{_digest(username.lower())}": PER_ACCOUNT,
            f"carryout:sign-in:address:{_digest(address)}": PER_ADDRESS,
        }

    def check(self, *, now: datetime) -> None:
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
            self._check_ledger(now)
            return
        for limit, count, ttl_s in zip(
            self._counters.values(), answers[::2], answers[1::2], strict=True
        ):
            if int(count or 0) >= limit:
                raise TooManyAttempts(ttl_s)

    def _check_ledger(self, now: datetime) -> None:
        since = now - timedelta(seconds=WINDOW_S)
        for key, limit in self._counters.items():
            statement = sa.select(sa.func.count(), sa.func.min(Guess.at)).where(
                Guess.subject == key, Guess.at > since
            )
            with self._database.read() as session:
                count, first = session.execute(statement).one()
            if count >= limit:
                raise TooManyAttempts(round((first - since).total_seconds()))

    def count_failure(self, *, now: datetime) -> None:
        """Count a wrong password; the window begins with the first."""
        try:
            with self._redis.pipeline() as pipeline:
                for key in self._counters:
                    pipeline.set(key, 0, ex=WINDOW_S, nx=True)
                    pipeline.incr(key)
                pipeline.execute()
        except RedisError:
            with self._database.write() as session:
                session.add_all(Guess(subject=key, at=now) for key in self._counters)
