"""How often users may do something: counters with an expiry in Redis.

While Redis does not respond there are no limits, but for failed sign-ins, which are then counted in
the ledger.
"""

import hashlib
import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

import sqlalchemy as sa
from redis import Redis
from redis.exceptions import RedisError

from chalicelib.db.engine import Database
from chalicelib.db.locks import lock_names
from chalicelib.db.models import FailedLogin
from chalicelib.errors import TooMany, TooManyAttempts, Unauthenticated

WINDOW_S = 900
PER_ACCOUNT = 10
"""Wrong passwords for one account from one network in a window."""

PER_ADDRESS = 100
"""Wrong passwords from one network in a window: a household or an office shares an address."""

ANYWHERE = 20
"""Wrong passwords for one account, from networks where nobody has signed in to it lately, after
which each has to wait for twice as long as the one before. A lock would let strangers lock its
owner out."""

LONGEST_PAUSE_S = 60

KNOWN_S = 30 * 24 * 3600
"""How long a network is known as one where an account was signed in to, in seconds."""


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
REQUESTS_PER_USER = Rate("requests:user", 600, 60)
"""With all of the user's tokens together; by token only while a process does not know its owner."""

REQUESTS_PER_ADDRESS = Rate("requests:address", 1200, 60)
EXPORTS_PER_USER = Rate("exports:user", 30, 3600)
TASKS_PER_USER = Rate("tasks:user", 300, 3600)
"""Of whatever kind: the end of each is delivered to up to 20 webhooks, at whatever addresses."""

DELIVERIES_PER_USER = Rate("deliveries:user", 30, 3600)
"""Deliveries to webhooks that users request: of a test, or once more."""

IMPORTS_PER_USER = Rate("imports:user", 30, 3600)
HASHES_PER_NETWORK = Rate("hashes:network", 120, 60)
"""Passwords that are hashed for one network, right ones too: each costs 19 MiB and 20 ms."""

SIGN_UPS_PER_NETWORK = Rate("sign-ups:network", 100, 3600)
"""Accounts that are created: a school or an office may sign up in an hour."""

RESETS_PER_NETWORK = Rate("resets:network", 20, 3600)
"""Resets of a password that somebody without a session requests, for whatever address."""

EMAILS_PER_USER = Rate("emails:user", 20, 3600)
"""Emails that users request: an export's again, to confirm an address."""


REFUSALS_S = 24 * 3600
"""How long it is known who was refused, in seconds."""

MOST_REFUSED = 1000
"""So many of those who were refused in an hour are known; of others, only how many there were."""

NOTE = f"""
local function note(key, name, who)
    local field = name .. '|' .. who
    if redis.call('HEXISTS', key, field) == 0 and redis.call('HLEN', key) >= {MOST_REFUSED} then
        field = name .. '|'
    end
    redis.call('HINCRBY', key, field, 1)
    redis.call('EXPIRE', key, {REFUSALS_S + 3600})
end
"""
"""Counts a refusal in its hour."""

SPEND = f"""
{NOTE}
local answers = {{}}
for at = 1, #KEYS - 1 do
    local window, most, name, who = unpack(ARGV, at * 4 - 3, at * 4)
    redis.call('SET', KEYS[at], 0, 'EX', window, 'NX')
    local count = redis.call('INCR', KEYS[at])
    answers[at] = {{count, redis.call('TTL', KEYS[at])}}
    if count > tonumber(most) then note(KEYS[#KEYS], name, who) end
end
return answers
"""
"""Counts a use at each key but the last, which notes who is refused; returns the counts and the
seconds until their windows end."""

UNCOUNT = """
for _, key in ipairs(KEYS) do
    if redis.call('EXISTS', key) == 1 then redis.call('DECR', key) end
end
"""
"""Takes a use back; a window that has ended meanwhile stays ended."""

LONG_POLLS_PER_USER = 12
"""Long polls that one user may have at a time, with whatever tokens: two devices with six each.
Each occupies a thread of the server, or a Lambda, for up to 20 s."""

LONG_POLLS_PER_NETWORK = 60
"""The same, of all users behind one address."""

GRACE_S = 5
"""How much longer than its request a slot stays occupied when its server has died, in seconds."""

OCCUPY_SLOTS = """
local function free(first, last)
    for at = first, last do
        if redis.call('EXISTS', KEYS[at]) == 0 then return at end
    end
end
local mine, ours = free(1, tonumber(ARGV[2])), free(tonumber(ARGV[2]) + 1, #KEYS)
if not (mine and ours) then return false end
redis.call('SET', KEYS[mine], 1, 'EX', ARGV[1])
redis.call('SET', KEYS[ours], 1, 'EX', ARGV[1])
return {mine, ours}
"""
"""Occupies the first free slot of the user and of the network, and says which, if both have one."""

Use = tuple[Rate, object]
"""A rate and whose use it is: an id, a token, an address; a counter's key has the digest alone."""


@dataclass(frozen=True)
class Refusal:
    """How often a limit refused somebody within a day.

    Attributes:
        limit: Its name: what is counted, and by what.
        who: A user's number or a network; empty where there were too many, and for tokens.
        count: How often.
        last: The hour of the last one.
    """

    limit: str
    who: str
    count: int
    last: datetime


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
        # The braces are a hash tag: a cluster runs a script only if all its keys are in one slot.
        return f"carryout:{{{self._scope}}}:{name}:{_digest(str(who))}"

    def spend(self, *uses: Use) -> None:
        """Count a use of each rate, in one round trip.

        Raises:
            TooMany: It is one too many for one of them; with the time until its window ends.
        """
        if not (self.enabled and uses):
            return
        try:
            keys = [*(self.key(rate.name, who) for rate, who in uses), self.refusals_key()]
            args = [
                argument
                for rate, who in uses
                for argument in (rate.window_s, rate.most, rate.name, _shown(rate, who))
            ]
            answers = cast("list[list[int]]", self.redis.eval(SPEND, len(keys), *keys, *args))
        except RedisError:
            return
        for (rate, _), (count, ttl_s) in zip(uses, answers, strict=True):
            if count > rate.most:
                raise TooMany(ttl_s)

    def refusals_key(self, hour: int | None = None) -> str:
        """Where the refusals of an hour (counted from 1970, by default this one) are noted."""
        at = int(time.time() // 3600) if hour is None else hour
        return f"carryout:{{{self._scope}}}:refused:{at}"

    def refusals(self) -> list[Refusal]:
        """Who was refused by which limit within a day, most often first; for operators.

        Raises:
            RedisError: Redis does not respond.
        """
        this_hour = int(time.time() // 3600)
        hours = range(this_hour, this_hour - REFUSALS_S // 3600, -1)
        with self.redis.pipeline(transaction=False) as pipeline:
            for hour in hours:
                pipeline.hgetall(self.refusals_key(hour))
            found = pipeline.execute()
        counts: Counter[str] = Counter()
        last: dict[str, datetime] = {}
        for hour, fields in zip(hours, found, strict=True):
            for field, count in fields.items():
                counts[field.decode()] += int(count)
                last.setdefault(field.decode(), datetime.fromtimestamp(hour * 3600, UTC))
        return [
            Refusal(field.partition("|")[0], field.partition("|")[2], count, last[field])
            for field, count in counts.most_common()
        ]

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
    def long_poll_slot(self, user_id: int, network: str, *, wait_s: float) -> Iterator[bool]:
        """Occupy a slot among the long polls of a user, and one of a network.

        Args:
            user_id: Whose request it is.
            network: Where it comes from; only a digest is kept.
            wait_s: How long the request may wait.

        Yields:
            Whether there was room; True while Redis does not respond.
        """
        keys = self._slots(user_id, network) if self.enabled else []
        args = (math.ceil(wait_s) + GRACE_S, LONG_POLLS_PER_USER)
        occupied: list[int] | None = []
        with suppress(RedisError):
            if keys:
                answer = self.redis.eval(OCCUPY_SLOTS, len(keys), *keys, *args)
                occupied = cast("list[int] | None", answer)
        try:
            yield occupied is not None
        finally:
            if occupied:
                with suppress(RedisError):
                    self.redis.delete(*(keys[at - 1] for at in occupied))

    def long_poll_caps(self, user_id: int, network: str) -> list[tuple[object, int]]:
        """How many long polls one process holds: so much is known while Redis is away, too."""
        if not self.enabled:
            return []
        return [(user_id, LONG_POLLS_PER_USER), (network, LONG_POLLS_PER_NETWORK)]

    def _slots(self, user_id: int, network: str) -> list[str]:
        user = self.key("long-poll:user", user_id)
        place = self.key("long-poll:network", network)
        return [
            *(f"{user}:{slot}" for slot in range(LONG_POLLS_PER_USER)),
            *(f"{place}:{slot}" for slot in range(LONG_POLLS_PER_NETWORK)),
        ]


class TokenOwners:
    """Whose tokens a process has seen, so that their requests are counted by user.

    A token never changes its owner, so nothing here can be wrong; what it may do is looked up with
    every request.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._owners: dict[bytes, int] = {}

    def get(self, token_digest: bytes) -> int | None:
        """The user's id, if the token was seen."""
        return self._owners.get(token_digest)

    def note(self, token_digest: bytes, user_id: int) -> None:
        """Remember a token that was valid; of too many, begin anew."""
        if len(self._owners) >= self._most:
            self._owners.clear()
        self._owners[token_digest] = user_id


def _shown(rate: Rate, who: object) -> str:
    """Whom operators see: never a token, nor its digest."""
    return "" if rate is REQUESTS_PER_TOKEN else str(who)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


COUNT = f"""
{NOTE}
local names = {{'wrong-passwords:pair', 'wrong-passwords:network'}}
for at = 1, 2 do
    if tonumber(redis.call('GET', KEYS[at]) or 0) >= tonumber(ARGV[at + 1]) then
        note(KEYS[6], names[at], ARGV[6])
        return redis.call('TTL', KEYS[at])
    end
end
local known = redis.call('EXISTS', KEYS[5]) == 1
if not known and redis.call('EXISTS', KEYS[4]) == 1 then
    note(KEYS[6], 'wrong-passwords:account', ARGV[6])
    return redis.call('TTL', KEYS[4])
end
local count
for at = 1, 3 do
    redis.call('SET', KEYS[at], 0, 'EX', ARGV[1], 'NX')
    count = redis.call('INCR', KEYS[at])
end
local beyond = count - tonumber(ARGV[4])
if beyond > 0 and not known then
    redis.call('SET', KEYS[4], 1, 'EX', math.min(tonumber(ARGV[5]), 2 ^ math.min(beyond, 16)))
end
"""
"""Counts an attempt, or returns for how long there may be none.

The keys count by account and network, by network, and by account; the fourth is the pause of the
account, the fifth says that the network is known; the last notes which network is refused.
"""


class SignInLimit:
    """Counts wrong passwords by account and network, by network, and by account.

    An attempt counts before its password is checked, or a client could make as many at once as the
    server has threads. A successful one is uncounted afterwards.

    Args:
        limiter: Where they are counted.
        database: The ledger, which counts while Redis does not answer.
        username: The account's name, in whatever case, whether or not it exists.
        address: The client's network.
    """

    def __init__(
        self, limiter: RateLimiter, database: Database, *, username: str, address: str
    ) -> None:
        self._limiter = limiter
        self._database = database
        self._address = address
        name = username.lower()
        pair = f"{address} {name}"
        self._keys = [
            limiter.key("sign-in:pair", pair),
            limiter.key("sign-in:network", address),
            limiter.key("sign-in:account", name),
            limiter.key("sign-in:pause", name),
            limiter.key("sign-in:known", pair),
        ]
        # The ledger is one deployment's own.
        self._subjects = {
            f"sign-in:pair:{_digest(pair)}": PER_ACCOUNT,
            f"sign-in:network:{_digest(address)}": PER_ADDRESS,
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
        self._remember()

    def clear(self) -> None:
        """Forget the account's wrong passwords: its owner has just set another one."""
        pair, _, account, pause, _ = self._keys
        with suppress(RedisError):
            self._limiter.redis.delete(pair, account, pause)
        self._remember()

    def _remember(self) -> None:
        with suppress(RedisError):
            self._limiter.redis.set(self._keys[4], 1, ex=KNOWN_S)

    def _count(self, now: datetime) -> None:
        limits = (WINDOW_S, PER_ACCOUNT, PER_ADDRESS, ANYWHERE, LONGEST_PAUSE_S, self._address)
        keys = [*self._keys, self._limiter.refusals_key()]
        try:
            answer = self._limiter.redis.eval(COUNT, len(keys), *keys, *limits)
        except RedisError:
            self._count_in_ledger(now)
            return
        if answer is not None:
            raise TooManyAttempts(cast("int", answer))

    def _count_in_ledger(self, now: datetime) -> None:
        since = now - timedelta(seconds=WINDOW_S)
        failed = [FailedLogin(subject=subject, at=now) for subject in self._subjects]
        with self._database.write() as session:
            lock_names(session, self._subjects)
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
            self._limiter.redis.eval(UNCOUNT, 3, *self._keys[:3])
            self._limiter.redis.delete(self._keys[3])
