"""Who waits for news of a user, and what wakes them.

A process has one thread for all of them. It hears what the transitions announce; it looks at the
users' notification numbers every `LOOK_INTERVAL_S`, in one statement for all, because a word may be
lost; and it wakes whoever has waited long enough.
"""

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

log = logging.getLogger(__name__)

LOOK_INTERVAL_S = 5.0
"""How often the ledger is looked at, for words that were lost."""

TICK_S = 0.05
"""How late the end of a wait may be noticed, and a user be listened for."""

LINGER_S = 30.0
"""How long the thread listens for a user whom nobody watches now: a page asks again at once."""

MOST_REMEMBERED = 10_000
"""Of how many users it is known when something last happened to them."""


class Feed(Protocol):
    """What `NewsFeed` offers."""

    @property
    def followed(self) -> frozenset[int]: ...  # noqa: D102
    def follow(self, user_ids: Collection[int]) -> None: ...  # noqa: D102
    def unfollow(self, user_ids: Collection[int]) -> None: ...  # noqa: D102
    def next(self, timeout_s: float) -> tuple[bool, int] | None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


@dataclass(eq=False, kw_only=True)
class Watch:
    """Somebody who waits.

    Attributes:
        user_id: Whose news.
        seq: The user's notification number, as read before the last look.
        until: When to wake at the latest, by the monotonic clock.
        wake: Called once, by a thread that must not be kept.
        by_workers: Whether workers that come or go are news, too.
    """

    user_id: int
    seq: int
    until: float
    wake: Callable[[], None] = field(repr=False)
    by_workers: bool = False


class Watchers:
    """All who wait in this process.

    Args:
        feed: Where news are heard.
        numbers: The notification numbers of users, by their ids; those who are gone are left out.
        workers: What waiting tasks depend on; a change of it is news for `by_workers`.
        everybody: What the feed calls news for all.
    """

    def __init__(
        self,
        feed: Feed,
        numbers: Callable[[Collection[int]], Mapping[int, int]],
        workers: Callable[[], object],
        *,
        everybody: int,
    ) -> None:
        self._feed = feed
        self._numbers = numbers
        self._workers = workers
        self._everybody = everybody
        self._changed = threading.Condition()
        self._watches: dict[int, set[Watch]] = {}
        self._ends: list[tuple[float, int, Watch]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        # When something last happened, by user: what came between a look and its watch is not lost.
        self._heard = 0
        self._last: dict[int, int] = {}
        self._forgotten = 0
        self._fresh: set[int] = set()
        self._left: dict[int, float] = {}
        self._seen_workers: object = None

    def mark(self) -> int:
        """A moment; `watch` wants to know the one before the look that found nothing."""
        with self._changed:
            return self._heard

    def watch(self, watch: Watch, *, since: int) -> None:
        """Have somebody woken by the next news after a moment that `mark` gave."""
        with self._changed:
            last = max(self._last.get(watch.user_id, 0), self._last.get(self._everybody, 0))
            if since >= max(last, self._forgotten):
                self._watches.setdefault(watch.user_id, set()).add(watch)
                heapq.heappush(self._ends, (watch.until, next(self._order), watch))
                self._begin()
                self._changed.notify()
                return
        watch.wake()

    def leave(self, watch: Watch) -> bool:
        """Wake somebody no longer; whether that was still to be done."""
        with self._changed:
            return self._remove(watch)

    def count(self) -> int:
        """How many wait."""
        with self._changed:
            return sum(map(len, self._watches.values()))

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="watchers", daemon=True)
            self._thread.start()

    def _remove(self, watch: Watch) -> bool:
        watches = self._watches.get(watch.user_id, set())
        found = watch in watches
        watches.discard(watch)
        if found and not watches:
            del self._watches[watch.user_id]
            self._left[watch.user_id] = time.monotonic()
        return found

    def _run(self) -> None:
        look_at = 0.0
        while True:
            self._rest()
            try:
                self._keep_up()
                self._hear()
                if time.monotonic() >= look_at:
                    self._look_at_workers()
                    self._look(self._watched())
                    look_at = time.monotonic() + LOOK_INTERVAL_S
            except Exception:  # the ledger is away; those who wait have their end all the same
                look_at = time.monotonic() + LOOK_INTERVAL_S
                log.warning("nobody looked for news", extra={"action": "watch"}, exc_info=True)
            self._end()

    def _rest(self) -> None:
        """Sleep while nobody waits; after a while also stop listening."""
        with self._changed:
            if self._changed.wait_for(lambda: bool(self._watches), LINGER_S):
                return
            self._feed.close()
            self._left.clear()
            self._changed.wait_for(lambda: bool(self._watches))

    def _watched(self) -> set[int]:
        with self._changed:
            return set(self._watches)

    def _keep_up(self) -> None:
        """Listen for those who are watched, and for a while for those who were."""
        with self._changed:
            now = time.monotonic()
            old = {one for one, at in self._left.items() if now - at > LINGER_S}
            old -= self._watches.keys()
            self._left = {one: at for one, at in self._left.items() if now - at <= LINGER_S}
            new = {self._everybody, *self._watches} - self._feed.followed
        self._feed.unfollow(old)
        self._feed.follow(new)

    def _hear(self) -> None:
        word = self._feed.next(0 if self._fresh else TICK_S)
        if word is None:
            fresh, self._fresh = self._fresh, set()
            self._look(fresh)
        elif word[0]:
            self._tell(word[1])
        else:
            self._fresh.add(word[1])

    def _tell(self, user_id: int) -> None:
        with self._changed:
            self._heard += 1
            if len(self._last) >= MOST_REMEMBERED:
                self._last.clear()
                self._forgotten = self._heard
            self._last[user_id] = self._heard
            users = list(self._watches) if user_id == self._everybody else [user_id]
            woken = [watch for user in users for watch in self._watches.get(user, ())]
        self._wake(woken)

    def _wake(self, watches: Collection[Watch]) -> None:
        with self._changed:
            woken = [watch for watch in watches if self._remove(watch)]
        for watch in woken:
            watch.wake()

    def _look(self, user_ids: Collection[int]) -> None:
        """Wake those to whose users something happened that they do not know."""
        with self._changed:
            watched = [watch for user in user_ids for watch in self._watches.get(user, ())]
        if not watched:
            return
        numbers = self._numbers({watch.user_id for watch in watched})
        self._wake([one for one in watched if numbers.get(one.user_id) != one.seq])

    def _look_at_workers(self) -> None:
        with self._changed:
            watched = [one for them in self._watches.values() for one in them if one.by_workers]
        if not watched:
            return
        before, self._seen_workers = self._seen_workers, self._workers()
        if before != self._seen_workers:
            self._wake(watched)

    def _end(self) -> None:
        now = time.monotonic()
        over = []
        with self._changed:
            while self._ends and self._ends[0][0] <= now:
                over.append(heapq.heappop(self._ends)[2])
        self._wake(over)
