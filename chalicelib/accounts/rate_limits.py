"""How often users may do something: counters with an expiry in Redis.

While Redis does not respond there are no limits, but for failed sign-ins, which are then counted in
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
from chalicelib.db.models import FailedLogin
from chalicelib.errors import TooMany, TooManyAttempts, Unauthenticated

WINDOW_S = 900
PER_ACCOUNT = 10
"""Wrong passwords for one account in a window."""

PER_ADDRESS = 100
"""Wrong passwords from one address in a window: a household or an office shares an address."""


@dataclass(frozen=True)
class Rate:
    """A number of uses in a window of time.

    Attributes:
        name: What is counted.
        most: How many uses a window allows.
        window_s: The length of a window in seconds; it begins with the first use.
    """

    name: str
    most: int
    window_s: int


REQUESTS_PER_TOKEN = Rate("requests:token", 600, 60)
REQUESTS_PER_ADDRESS = Rate("requests:address", 1200, 60)
EXPORTS_PER_USER = Rate("exports:user", 30, 3600)
IMPORTS_PER_USER = Rate("imports:user", 30, 3600)
EMAILS_PER_USER = Rate("emails:user", 20, 3600)
"""Emails that users request: an export's again, to confirm an address, to reset a password."""


SPEND = """
local answers = {}
for at, key in ipairs(KEYS) do
    redis.call('SET', key, 0, 'EX', ARGV[at], 'NX')
    answers[at] = {redis.call('INCR', key), redis.call('TTL', key)}
end
return answers
"""
"""Counts a use at each key, and returns the counts and the seconds until their windows end."""

UNCOUNT = """
for _, key in ipairs(KEYS) do
    if redis.call('EXISTS', key) == 1 then redis.call('DECR', key) end
end
"""
"""Takes a use back; a window that has ended meanwhile stays ended."""

LONG_POLLS_PER_TOKEN = 6
"""Long polls that one token may have at a time. Each occupies a thread of the server, or a Lambda,
for up to 20 s: by its rate alone one token could have 200 of them."""

GRACE_S = 5
"""How much longer than its request a slot stays occupied when its server has died, in seconds."""

OCCUPY_SLOT = """
for at, key in ipairs(KEYS) do
    if redis.call('SET', key, 1, 'EX', ARGV[1], 'NX') then return at end
end
"""
"""Occupies the first of these keys that is free, and says which."""

Use = tuple[Rate, object]
"""A rate and whose use it is: an id, a token, an address; only digests are kept."""


class RateLimiter:
    """Counts uses in Redis; without limits, and while Redis is away, everything is allowed.

    Args:
        redis: A client that gives up quickly.
        scope: The deployment's name, so that two on one Redis do not count each other's users.
        enabled: Whether there are limits.
    """

    def __init__(self, redis: Redis, *, scope: str, enabled: bool = True) -> None:
        self.redis = redis
        self.enabled = enabled
        self._scope = scope

    def key(self, name: str, who: object) -> str:
        """What a counter is called in Redis."""
        return f"carryout:{self._scope}:{name}:{_digest(str(who))}"

    def spend(self, *uses: Use) -> None:
        """Count a use of each rate, in one round trip.

        Raises:
            TooMany: It is one too many for one of them; with the time until its window ends.
        """
        if not (self.enabled and uses):
            return
        try:
            keys = [self.key(rate.name, who) for rate, who in uses]
            windows = [rate.window_s for rate, _ in uses]
            answers = cast("list[list[int]]", self.redis.eval(SPEND, len(keys), *keys, *windows))
        except RedisError:
            return
        for (rate, _), (count, ttl_s) in zip(uses, answers, strict=True):
            if count > rate.most:
                raise TooMany(ttl_s)

    def refund(self, *uses: Use) -> None:
        """Take back what `spend` has counted, because nothing came of it."""
        if self.enabled and uses:
            keys = [self.key(rate.name, who) for rate, who in uses]
            with suppress(RedisError):
                self.redis.eval(UNCOUNT, len(keys), *keys)

    @contextmanager
    def counted(self, *uses: Use) -> Iterator[None]:
        """Count uses for what is done inside; what is refused there costs nothing.

        Raises:
            TooMany: As `spend`.
        """
        self.spend(*uses)
        try:
            yield
        except BaseException:
            self.refund(*uses)
            raise

    @contextmanager
    def long_poll_slot(self, token: str, *, wait_s: float) -> Iterator[bool]:
        """Occupy a slot among the long polls of a token.

        Args:
            token: The request's token; only a digest is kept.
            wait_s: How long the request may wait.

        Yields:
            Whether a slot was free; True while Redis does not respond.
        """
        key = self.key("long-poll", token)
        keys = [f"{key}:{slot}" for slot in range(LONG_POLLS_PER_TOKEN if self.enabled else 0)]
        seconds = math.ceil(wait_s) + GRACE_S
        try:
            at = cast(
                "int | None",
                self.redis.eval(OCCUPY_SLOT, len(keys), *keys, seconds) if keys else 0,
            )
        except RedisError:
            at = 0
        try:
            yield at is not None
        finally:
            if at:
                with suppress(RedisError):
                    self.redis.delete(keys[at - 1])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


COUNT = """
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
"""Counts an attempt at each key, or returns for how long one of them allows no more."""


class SignInLimit:
    """Counts wrong passwords by account and by address.

    An attempt counts before its password is checked, or a client could make as many at once as the
    server has threads. A successful one is uncounted afterwards.

    Args:
        limiter: Where they are counted.
        database: The ledger, which counts while Redis does not answer.
        username: The account's name, in whatever case, whether or not it exists.
        address: The client's address.
    """

    def __init__(
        self, limiter: RateLimiter, database: Database, *, username: str, address: str
    ) -> None:
        self._redis = limiter.redis
        self._database = database
        counted = (
            ("sign-in:account", username.lower(), PER_ACCOUNT),
            ("sign-in:address", address, PER_ADDRESS),
        )
        self._counters = {limiter.key(name, who): most for name, who, most in counted}
        # The ledger is one deployment's own.
        self._subjects = {f"{name}:{_digest(who)}": most for name, who, most in counted}
        self._failed_logins: list[int] = []

    @contextmanager
    def attempt(self, *, now: datetime) -> Iterator[None]:
        """Check a password inside; the window begins with the first failure.

        Raises:
            TooManyAttempts: There were too many; with the time until the window ends.
        """
        self._count(now)
        try:
            yield
        except Unauthenticated:
            raise
        except BaseException:  # the password could not be checked
            self._uncount()
            raise
        self._uncount()

    def _count(self, now: datetime) -> None:
        keys, limits = list(self._counters), self._counters.values()
        try:
            ttl_s = cast("int | None", self._redis.eval(COUNT, len(keys), *keys, WINDOW_S, *limits))
        except RedisError:
            self._count_in_ledger(now)
            return
        if ttl_s is not None:
            raise TooManyAttempts(ttl_s)

    def _count_in_ledger(self, now: datetime) -> None:
        since = now - timedelta(seconds=WINDOW_S)
        failed = [FailedLogin(subject=subject, at=now) for subject in self._subjects]
        with self._database.write() as session:
            for subject, limit in self._subjects.items():
                statement = sa.select(sa.func.count(), sa.func.min(FailedLogin.at)).where(
                    FailedLogin.subject == subject, FailedLogin.at > since
                )
                count, first = session.execute(statement).one()
                if count >= limit:
                    raise TooManyAttempts(round((first - since).total_seconds()))
            session.add_all(failed)
            session.flush()
            self._failed_logins = [one.id for one in failed]

    def _uncount(self) -> None:
        if self._failed_logins:
            with self._database.write() as session:
                session.execute(
                    sa.delete(FailedLogin).where(FailedLogin.id.in_(self._failed_logins))
                )
            return
        with suppress(RedisError):
            self._redis.eval(UNCOUNT, len(self._counters), *self._counters)
