"""Who waits for news: what wakes them, and what is not lost."""

import time
from collections.abc import Callable, Collection
from queue import Empty, Queue
from threading import Event
from typing import Any

import pytest

from chalicelib.tasks import watchers as module
from chalicelib.tasks.watchers import Watch, Watchers

EVERYBODY = 0
LONG_S = 60.0
DEADLINE_S = 10.0


class FakeFeed:
    """News that a test says; a user is listened for as soon as somebody asks."""

    def __init__(self) -> None:
        self.words: Queue[tuple[bool, int]] = Queue()
        self._followed: set[int] = set()

    @property
    def followed(self) -> frozenset[int]:
        return frozenset(self._followed)

    def follow(self, user_ids: Collection[int]) -> None:
        self._followed |= set(user_ids)

    def unfollow(self, user_ids: Collection[int]) -> None:
        self._followed -= set(user_ids)

    def next(self, timeout_s: float) -> tuple[bool, int] | None:
        try:
            return self.words.get(timeout=max(timeout_s, 0.001))
        except Empty:
            return None

    def close(self) -> None:
        self._followed.clear()


class Ledger:
    """The notification numbers of users, and how often they were read."""

    def __init__(self) -> None:
        self.numbers = {1: 5, 2: 7}
        self.looks = 0
        self.workers = 1

    def __call__(self, user_ids: Collection[int]) -> dict[int, int]:
        self.looks += 1
        return {user: self.numbers[user] for user in user_ids if user in self.numbers}


@pytest.fixture
def feed() -> FakeFeed:
    return FakeFeed()


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def watchers(feed: FakeFeed, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Watchers:
    """Watchers that look by themselves only where a test says so."""
    monkeypatch.setattr(module, "LOOK_INTERVAL_S", LONG_S)
    return Watchers(feed, ledger, lambda: ledger.workers, everybody=EVERYBODY)


@pytest.fixture
def wait(watchers: Watchers) -> Callable[..., Event]:
    """Begins to wait for a user's news."""

    def begin(
        user_id: int, seq: int, *, since: int | None = None, for_s: float = LONG_S, **more: Any
    ) -> Event:
        woken = Event()
        until = time.monotonic() + for_s
        watch = Watch(user_id=user_id, seq=seq, until=until, wake=woken.set, **more)
        watchers.watch(watch, since=watchers.mark() if since is None else since)
        return woken

    return begin


def settled(ledger: Ledger) -> None:
    """Wait until the first look is over, so that what wakes after it is news."""
    deadline = time.monotonic() + DEADLINE_S
    while not ledger.looks and time.monotonic() < deadline:
        Event().wait(0.01)
    assert ledger.looks


def test_news_wake_those_of_their_user(
    wait: Callable[..., Event], feed: FakeFeed, watchers: Watchers, ledger: Ledger
) -> None:
    """All who wait for the user are woken, and nobody else is."""
    mine, mine_too, other = wait(1, 5), wait(1, 5), wait(2, 7)
    settled(ledger)
    feed.words.put((True, 1))
    assert mine.wait(DEADLINE_S)
    assert mine_too.wait(DEADLINE_S)
    assert not other.is_set()
    assert watchers.count() == 1


def test_news_for_everybody(wait: Callable[..., Event], feed: FakeFeed) -> None:
    """A pause is news for whoever waits."""
    waiting = [wait(1, 5), wait(2, 7)]
    feed.words.put((True, EVERYBODY))
    assert all(one.wait(DEADLINE_S) for one in waiting)


def test_news_between_the_look_and_the_wait(
    wait: Callable[..., Event], feed: FakeFeed, watchers: Watchers
) -> None:
    """What is heard after somebody looked and before they wait wakes them at once."""
    before = watchers.mark()
    first = wait(1, 5)
    feed.words.put((True, 1))
    assert first.wait(DEADLINE_S)
    assert wait(1, 5, since=before).is_set()
    assert not wait(2, 7, since=before).is_set()


def test_news_before_anybody_listens(
    wait: Callable[..., Event], feed: FakeFeed, ledger: Ledger
) -> None:
    """Once a user is listened for, the ledger is looked at: earlier news were said to nobody."""
    waiting = wait(1, 5)
    settled(ledger)
    ledger.numbers[1] = 6
    feed.words.put((False, 1))
    assert waiting.wait(DEADLINE_S)


def test_lost_news(
    wait: Callable[..., Event], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any word a changed number is noticed, for all users by one statement."""
    monkeypatch.setattr(module, "LOOK_INTERVAL_S", 0.05)
    waiting = [wait(1, 5), wait(2, 7)]
    ledger.numbers = {1: 6}  # the other one's account is erased
    assert all(one.wait(DEADLINE_S) for one in waiting)


def test_workers_that_come(
    wait: Callable[..., Event], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for a queued task is told about workers, others are not."""
    monkeypatch.setattr(module, "LOOK_INTERVAL_S", 0.05)
    first = wait(1, 5, by_workers=True)
    assert first.wait(DEADLINE_S)  # nobody knew how many there are
    queued, running = wait(1, 5, by_workers=True), wait(1, 5)
    ledger.workers = 0
    assert queued.wait(DEADLINE_S)
    assert not running.is_set()


def test_the_end_of_a_wait(wait: Callable[..., Event], watchers: Watchers) -> None:
    """Nobody waits for longer than they wanted, and nothing is left of them."""
    assert wait(1, 5, for_s=0.05).wait(DEADLINE_S)
    assert watchers.count() == 0


def test_who_leaves_is_not_woken(watchers: Watchers) -> None:
    """Leaving says whether it came before the news."""
    woken = Event()
    watch = Watch(user_id=1, seq=5, until=time.monotonic() + LONG_S, wake=woken.set)
    watchers.watch(watch, since=watchers.mark())
    assert watchers.leave(watch)
    assert not watchers.leave(watch)
    assert not woken.is_set()


def test_a_ledger_that_is_away(feed: FakeFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    """News are heard, and waits end, while nobody can look at the ledger."""
    monkeypatch.setattr(module, "LOOK_INTERVAL_S", 0.01)

    def fail(_user_ids: Collection[int]) -> dict[int, int]:
        raise OSError("away")

    watchers = Watchers(feed, fail, lambda: None, everybody=EVERYBODY)
    woken = [Event(), Event()]
    for user_id, until in ((1, LONG_S), (2, 0.1)):
        end, wake = time.monotonic() + until, woken[user_id - 1].set
        watchers.watch(Watch(user_id=user_id, seq=1, until=end, wake=wake), since=0)
    assert woken[1].wait(DEADLINE_S)
    feed.words.put((True, 1))
    assert woken[0].wait(DEADLINE_S)
