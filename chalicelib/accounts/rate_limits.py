"""How often somebody may do something: counters with an expiry in Redis.

While Redis does not answer nobody is refused, but who guesses passwords: that is then counted in
the ledger.
"""

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import sqlalchemy as sa
from redis import Redis
from redis.exceptions import RedisError

from chalicelib.db.engine import Database
from chalicelib.db.models import Guess
from chalicelib.errors import TooMany, TooManyAttempts, Unauthenticated

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


HELD_PER_TOKEN = 6
"""Requests of one token that may be held at a time. Each has a thread of the server, or a Lambda,
for up to 20 s: by its rate alone one token could have 200 of them."""

GRACE_S = 5
"""How much longer than its request a place is taken when nobody gives it back, in seconds."""

TAKE_PLACE = """
for at, key in ipairs(KEYS) do
    if redis.call('SET', key, 1, 'EX', ARGV[1], 'NX') then return at end
end
"""
"""Takes the first of these keys that is free, and tells which."""


@contextmanager
def held(redis: Redis, token: str, *, wait_s: float) -> Iterator[bool]:
    """Have a place among the held requests of a token.

    Args:
        redis: A client that gives up quickly.
        token: Whose request it is; only a digest is kept.
        wait_s: How long it may be held.

    Yields:
        Whether there is a place; also when Redis does not answer.
    """
    keys = [f"carryout:held:{_digest(token)}:{place}" for place in range(HELD_PER_TOKEN)]
    try:
        at = cast(
            "int | None", redis.eval(TAKE_PLACE, len(keys), *keys, math.ceil(wait_s) + GRACE_S)
        )
    except RedisError:
        yield True
        return
    try:
        yield at is not None
    finally:
        if at is not None:
            with suppress(RedisError):
                redis.delete(keys[at - 1])


TRY = """
for at, key in ipairs(KEYS) do
    if tonumber(redis.call('GET', key) or 0) >= tonumber(ARGV[at + 1]) then
        return redis.call('TTL', key)
    end
end
for _, key in ipairs(KEYS) do
    redis.call('SET', key, 0, 'EX', ARGV[1], 'NX')
    redis.call('INCR', key)
end
"""
"""Counts an attempt at each key, or tells for how long one of them takes no more."""

TAKE_BACK = """
for _, key in ipairs(KEYS) do
    if redis.call('EXISTS', key) == 1 then redis.call('DECR', key) end
end
"""
"""Counts an attempt no more; a window that is over meanwhile stays over."""


class SignInLimit:
    """Counts wrong passwords by account and by address.

    An attempt counts from before its password is looked at, or as many as the server has threads
    could be made at once. One that was right is taken back.

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
        self._guesses: list[int] = []

    @contextmanager
    def attempt(self, *, now: datetime) -> Iterator[None]:
        """Look at a password inside; the window begins with the first wrong one.

        Raises:
            TooManyAttempts: There were too many; with the time until the window ends.
        """
        self._count(now)
        try:
            yield
        except Unauthenticated:
            raise
        except BaseException:  # nobody could look at it
            self._take_back()
            raise
        self._take_back()

    def _count(self, now: datetime) -> None:
        keys, limits = list(self._counters), self._counters.values()
        try:
            ttl_s = cast("int | None", self._redis.eval(TRY, len(keys), *keys, WINDOW_S, *limits))
        except RedisError:
            self._count_in_ledger(now)
            return
        if ttl_s is not None:
            raise TooManyAttempts(ttl_s)

    def _count_in_ledger(self, now: datetime) -> None:
        since = now - timedelta(seconds=WINDOW_S)
        guesses = [Guess(subject=key, at=now) for key in self._counters]
        with self._database.write() as session:
            for key, limit in self._counters.items():
                statement = sa.select(sa.func.count(), sa.func.min(Guess.at)).where(
                    Guess.subject == key, Guess.at > since
                )
                count, first = session.execute(statement).one()
                if count >= limit:
                    raise TooManyAttempts(round((first - since).total_seconds()))
            session.add_all(guesses)
            session.flush()
            self._guesses = [guess.id for guess in guesses]

    def _take_back(self) -> None:
        if self._guesses:
            with self._database.write() as session:
                session.execute(sa.delete(Guess).where(Guess.id.in_(self._guesses)))
            return
        with suppress(RedisError):
            self._redis.eval(TAKE_BACK, len(self._counters), *self._counters)
