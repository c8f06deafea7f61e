"""Word of news through a real Redis: said after the commit, and needed by nobody."""

import logging
from collections.abc import Iterator
from uuid import uuid4

import pytest
from redis import Redis

from chalicelib.adapters.job_queue import api_client
from chalicelib.adapters.news import Announcer, NewsFeed
from chalicelib.tasks import pauses
from chalicelib.tasks.notifications import EVERYBODY
from chalicelib.wiring import Wiring
from infra.local.stack import free_port
from tests.harness.ledgers import launch
from tests.harness.waiting import wait_until


@pytest.fixture
def prefix() -> str:
    return f"news:{uuid4()}:"


@pytest.fixture
def redis(wiring: Wiring) -> Redis:
    return wiring.queue.redis


@pytest.fixture
def feed(redis: Redis, prefix: str) -> Iterator[NewsFeed]:
    feed = NewsFeed(redis, prefix)
    yield feed
    feed.close()


def heard(feed: NewsFeed) -> tuple[bool, int]:
    """The next word."""
    word = wait_until(lambda: feed.next(0.05), "a word")
    assert word is not None
    return word


def test_said_and_heard(redis: Redis, feed: NewsFeed, prefix: str) -> None:
    """Who follows a user learns from when on, and then hears what is said of them alone."""
    announcer = Announcer(redis, prefix)
    feed.follow([1])
    assert heard(feed) == (False, 1)
    announcer.announce([2, 1])
    assert heard(feed) == (True, 1)
    feed.follow([2])
    assert heard(feed) == (False, 2)
    feed.unfollow([1])
    wait_until(lambda: feed.next(0.01) is None, "it is no longer followed")
    announcer.announce([1, 2])
    assert heard(feed) == (True, 2)


def test_connections_that_are_lost(redis: Redis, feed: NewsFeed, prefix: str) -> None:
    """Both sides come back after Redis closed their connections, and miss nothing from then on."""
    announcer = Announcer(redis, prefix)
    announcer.announce([1])
    feed.follow([1])
    assert heard(feed) == (False, 1)
    for one in redis.client_list():
        if one["cmd"] in {"publish", "subscribe", "client|reply"}:
            redis.client_kill_filter(_id=one["id"])
    assert heard(feed) == (False, 1)
    announcer.announce([1])
    assert heard(feed) == (True, 1)


def test_without_redis(prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody fails, or waits twice, because nobody can be told."""
    away = api_client(f"redis://127.0.0.1:{free_port()}/0")
    announcer, feed = Announcer(away, prefix), NewsFeed(away, prefix)
    feed.follow([1])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            announcer.announce([1])
            assert feed.next(0.01) is None
    assert [one.message for one in caplog.records] == ["no news sent", "no news heard"]


def test_said_after_the_commit(wiring: Wiring, user_id: int) -> None:
    """A transition says whom it is about once it is committed, and nothing if it is not."""
    told: list[set[int]] = []
    database = wiring.database
    database.on_news = told.append
    launch(database, user_id)
    assert told == [{user_id}]

    def fail() -> None:
        with database.write() as session:
            pauses.pause(session)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert told == [{user_id}]
    with database.write() as session:
        pauses.pause(session)
        assert told == [{user_id}]
    assert told[1:] == [{EVERYBODY}]
