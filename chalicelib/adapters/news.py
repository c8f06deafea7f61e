"""Word that something happened to a user, through Redis: who watches them looks at once.

Nothing depends on a word. One that is lost costs a delay, because who watches looks now and then
without one.
"""

import logging
import os
import threading
import time
from collections.abc import Iterable
from typing import Any, cast

from redis import Redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

REST_S = 5.0
"""How long a Redis that does not respond is left alone, in seconds: nobody waits for it twice."""


class Announcer:
    """Says that something happened to users, and waits for no answer.

    It has a connection of its own, on which Redis is told not to answer at all, so that a word
    costs those who say it no round trip.

    Args:
        redis: A client that gives up quickly.
        prefix: The beginning of the channels' names.
    """

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._connection: Any = None
        self._rests_until = 0.0
        self._pid = os.getpid()

    def announce(self, user_ids: Iterable[int]) -> None:
        """Say that something happened to users."""
        if self._pid != os.getpid():  # a fork shares neither the connection nor who holds the lock
            self._begin()
        with self._lock:
            if time.monotonic() < self._rests_until:
                return
            try:
                self._send(user_ids)
            except RedisError:
                self._connection, self._rests_until = None, time.monotonic() + REST_S
                log.warning("no news sent", extra={"action": "announce"}, exc_info=True)

    def _send(self, user_ids: Iterable[int]) -> None:
        if not self._is_silent():
            connection: Any = self._redis.connection_pool.make_connection()
            connection.connect()
            connection.send_command("CLIENT", "REPLY", "OFF", check_health=False)
            self._connection = connection
        words = [("PUBLISH", f"{self._prefix}{user_id}", 1) for user_id in user_ids]
        packed = self._connection.pack_commands(words)
        self._connection.send_packed_command(packed, check_health=False)

    def _is_silent(self) -> bool:
        """Whether there is a connection, as good as far as is known: Redis speaks as it leaves."""
        try:
            return self._connection is not None and not self._connection.can_read(0)
        except RedisError:
            return False


class NewsFeed:
    """Hears what is said of some users; for one thread.

    Args:
        redis: A client that gives up quickly.
        prefix: The beginning of the channels' names.
    """

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix
        self._pubsub: Any = None
        self._followed: set[int] = set()
        self._rests_until = 0.0

    @property
    def followed(self) -> frozenset[int]:
        """Whom it listens for."""
        return frozenset(self._followed)

    def follow(self, user_ids: Iterable[int]) -> None:
        """Listen for more users; `next` says from when on nothing is missed."""
        new = set(user_ids) - self._followed
        self._followed |= new
        if new and self._pubsub is not None:
            self._try(lambda: self._pubsub.subscribe(*map(self._channel, new)))

    def unfollow(self, user_ids: Iterable[int]) -> None:
        """Listen for these users no longer."""
        old = self._followed & set(user_ids)
        self._followed -= old
        if old and self._pubsub is not None:
            self._try(lambda: self._pubsub.unsubscribe(*map(self._channel, old)))

    def next(self, timeout_s: float) -> tuple[bool, int] | None:
        """Wait for the next word.

        Returns:
            Whether something happened, and to whom; when nothing did, it is only from now on that
            this user's news are heard, and who watches them looks once. None when time is over.
        """
        if self._pubsub is None and self._followed and time.monotonic() >= self._rests_until:
            self._pubsub = cast("Any", self._redis).pubsub()
            self._try(
                lambda: self._pubsub.subscribe(*map(self._channel, self._followed)), rest_s=REST_S
            )
        if self._pubsub is None:
            time.sleep(timeout_s)
            return None
        message = self._try(lambda: self._pubsub.get_message(timeout=timeout_s))
        if message is None or message["type"] not in {"message", "subscribe"}:
            return None
        user_id = int(cast("bytes", message["channel"]).decode().removeprefix(self._prefix))
        return message["type"] == "message", user_id

    def close(self) -> None:
        """Listen for nobody."""
        self._followed.clear()
        self._drop()

    def _channel(self, user_id: int) -> str:
        return f"{self._prefix}{user_id}"

    def _try(self, call: Any, *, rest_s: float = 0) -> Any:
        try:
            return call()
        except RedisError:
            log.warning("no news heard", extra={"action": "listen"}, exc_info=True)
            self._drop()
            self._rests_until = time.monotonic() + rest_s
            return None

    def _drop(self) -> None:
        if self._pubsub is not None:
            self._pubsub.close()
            self._pubsub = None
