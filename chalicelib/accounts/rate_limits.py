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


def spend(redis: Redis, *uses: tuple[Rate, object]) -> None:
    """Count a use of each rate, in one round trip.

    Args:
        redis: A client that gives up quickly.
        uses: Each rate with its user: an id, a token, an address; only digests are kept.

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


@contextmanager
def long_poll_slot(redis: Redis, token: str, *, wait_s: float) -> Iterator[bool]:
    """Occupy a slot among the long polls of a token.

    Args:
        redis: A client that gives up quickly.
        token: The request's token; only a digest is kept.
        wait_s: How long the request may wait.

    Yields:
        Whether a slot was free; True while Redis does not respond.
    """
    keys = [f"carryout:long-poll:{_digest(token)}:{slot}" for slot in range(LONG_POLLS_PER_TOKEN)]
    try:
        at = cast(
            "int | None", redis.eval(OCCUPY_SLOT, len(keys), *keys, math.ceil(wait_s) + GRACE_S)
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

UNCOUNT = """
for _, key in ipairs(KEYS) do
    if redis.call('EXISTS', key) == 1 then redis.call('DECR', key) end
end
"""
"""Uncounts an attempt; a window that has ended meanwhile stays ended."""


class SignInLimit:
    """Counts wrong passwords by account and by address.

    An attempt counts before its password is checked, or a client could make as many at once as the
    server has threads. A successful one is uncounted afterwards.

    Args:
        redis: A client that gives up quickly.
        database: The ledger, which counts while Redis does not answer.
        username: The account's name, in whatever case, whether or not it exists.
        address: The client's address.
    """

    def __init__(self, redis: Redis, database: Database, *, username: str, address: str) -> None:
        self._redis = redis
        self._database = database
        self._counters = {
            f"carryout:sign-in:account:{_digest(username.lower())}": PER_ACCOUNT,
            f"carryout:sign-in:address:{_digest(address)}": PER_ADDRESS,
        }
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
        failed = [FailedLogin(subject=key, at=now) for key in self._counters]
        with self._database.write() as session:
            for key, limit in self._counters.items():
                statement = sa.select(sa.func.count(), sa.func.min(FailedLogin.at)).where(
                    FailedLogin.subject == key, FailedLogin.at > since
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
