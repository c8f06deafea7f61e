"""Two weeks of a family that uses everything a lot: no limit is in their way."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from chalicelib.accounts import rate_limits
from chalicelib.accounts.rate_limits import (
    EMAILS_PER_USER,
    EXPORTS_PER_USER,
    HASHES_PER_NETWORK,
    IMPORTS_PER_USER,
    REQUESTS_PER_ADDRESS,
    REQUESTS_PER_USER,
    RESETS_PER_NETWORK,
    SignInLimit,
)
from chalicelib.errors import TooMany, WrongCredentials
from chalicelib.outbox import allowances
from chalicelib.outbox.allowances import Cause
from chalicelib.web.lists import POLL_AFTER_S
from chalicelib.wiring import Wiring
from tests.conftest import Rewire
from tests.harness.ledgers import now

NETWORK = "192.0.2.1"
FAMILY = ("susan", "david", "rita", "maria")
DEVICES = 2
DAYS = 14
EXPORTS = 30
LONG_S = 60
SHORT_S = 5
"""How long an export takes, in which each device asks as often as it is told to: each week a long
one. A minute is the window of most limits; more of them show no more."""

EVENING_MINUTES = 10
"""How long pages are open in an evening without anything going on."""

PAGE_REQUESTS = 8
"""A page with its scripts, styles and pictures, when nothing is in the browser's cache."""

PASS = """
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
    local left = redis.call('PTTL', key) - tonumber(ARGV[2])
    if left > 0 then redis.call('PEXPIRE', key, left) else redis.call('DEL', key) end
end
"""
"""Lets time go by for all counters: each of them has an expiry."""


@dataclass
class Household:
    """A family behind one address, whose time goes by when we say so.

    Attributes:
        wiring: With limits, and counters of its own.
        at: What time it is for them.
    """

    wiring: Wiring
    at: datetime = field(default_factory=now)

    def wait(self, seconds: float) -> None:
        """Let time go by."""
        self.at += timedelta(seconds=seconds)
        pattern = self.wiring.rate_limiter.key("", "").partition("}")[0] + "}*"
        self.wiring.queue.redis.eval(PASS, 0, pattern, int(seconds * 1000))

    def ask(self, user: str, *uses: rate_limits.Use, times: int = 1) -> None:
        """Send requests."""
        for _ in range(times):
            self.wiring.rate_limiter.spend(
                (REQUESTS_PER_ADDRESS, NETWORK), (REQUESTS_PER_USER, user), *uses
            )

    def sign_in(self, user: str, *, wrongly: bool = False) -> None:
        """Sign in, or mistype the password."""
        self.ask(user, (HASHES_PER_NETWORK, NETWORK), times=1)
        limit = SignInLimit(
            self.wiring.rate_limiter, self.wiring.database, username=user, address=NETWORK
        )
        with mistyped() if wrongly else ExitStack(), limit.attempt(now=self.at):
            if wrongly:
                raise WrongCredentials

    def get_email(self, user: str, *, confirmed: bool) -> None:
        """Have an email about the account sent."""
        cause = Cause(NETWORK, FAMILY.index(user))
        with self.wiring.database.write() as session:
            wait_s = allowances.wait_for(
                session, f"{user}@example.com", cause, confirmed=confirmed, now=self.at
            )
        assert wait_s == 0

    def join(self) -> None:
        """All sign up, and confirm their addresses; one needs a second email for that."""
        for user in FAMILY:
            self.ask(user, (HASHES_PER_NETWORK, NETWORK))
            self.get_email(user, confirmed=False)
            self.ask(user, times=2 * PAGE_REQUESTS)
        self.ask("rita", (EMAILS_PER_USER, "rita"))
        self.get_email("rita", confirmed=False)
        self.wait(60)
        for user in FAMILY:
            for _ in range(DEVICES):
                self.sign_in(user, wrongly=True)
                self.sign_in(user)

    def export(self, seconds: int) -> None:
        """All ask for an export at the same time, and watch it on each device."""
        for user in FAMILY:
            self.ask(user, (EXPORTS_PER_USER, user))
        every_s = int(POLL_AFTER_S)
        for _ in range(0, seconds, every_s):
            self.wait(every_s)
            for user in FAMILY:
                self.ask(user, times=DEVICES)
        for user in FAMILY:
            self.ask(user, (EMAILS_PER_USER, user))

    def evening(self) -> None:
        """All open the pages, and leave them open."""
        for user in FAMILY:
            self.ask(user, times=DEVICES * PAGE_REQUESTS)
        for _ in range(EVENING_MINUTES):
            self.wait(60)
            for user in FAMILY:
                self.ask(user, times=DEVICES)


@contextmanager
def mistyped() -> Iterator[None]:
    with pytest.raises(WrongCredentials):
        yield


@pytest.fixture
def household(rewire: Rewire) -> Household:
    return Household(rewire(LIMITS="on", QUEUE_NAME="household"))


def test_two_weeks_meet_no_limit(household: Household) -> None:
    """30 exports each, two devices each, one address, asking as often as the answers say."""
    household.join()
    for day in range(DAYS):
        for number in range(EXPORTS // DAYS + (day < EXPORTS % DAYS)):
            household.export(SHORT_S if day % 7 or number else LONG_S)
        household.evening()
        if day % 7 == 3:  # somebody has forgotten a password, and imports what another site kept
            household.ask("susan", (RESETS_PER_NETWORK, NETWORK))
            household.get_email("susan", confirmed=True)
            household.ask("susan", (HASHES_PER_NETWORK, NETWORK))
            for _ in range(5):
                household.ask("susan", (IMPORTS_PER_USER, "susan"), times=1)
        household.wait(12 * 3600)
    assert household.wiring.rate_limiter.refusals() == []


def test_all_devices_may_wait_for_news(household: Household) -> None:
    """Each device holds a request in each of three tabs; there is room for all of them."""
    slot = household.wiring.rate_limiter.long_poll_slot
    with ExitStack() as held:
        for number in range(len(FAMILY) * DEVICES * 3):
            user_id = number % len(FAMILY)
            assert held.enter_context(slot(user_id, NETWORK, wait_s=20))


def test_the_simulation_meets_limits_that_there_are(household: Household) -> None:
    """A client that asks without a pause is refused, until its minute is over."""
    with pytest.raises(TooMany):
        household.ask("susan", times=REQUESTS_PER_USER.most + 1)
    (refusal,) = household.wiring.rate_limiter.refusals()
    assert (refusal.limit, refusal.who, refusal.count) == ("requests:user", "susan", 1)
    household.wait(REQUESTS_PER_USER.window_s)
    household.ask("susan")
