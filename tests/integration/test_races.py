"""All that changes tasks at once, on PostgreSQL, where several connections do."""

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa

from chalicelib.accounts import accounts
from chalicelib.db.engine import Database, connect, db_clock
from chalicelib.db.models import Notification, Task, User
from chalicelib.errors import AttemptOver, RequestError
from chalicelib.outbox import deliveries, webhooks
from chalicelib.outbox.deliveries import Answer
from chalicelib.tasks import batches, leases, requests
from chalicelib.tasks.leases import Lease
from chalicelib.tasks.registry import TASKS
from chalicelib.tasks.requests import TaskRequest
from tests.harness import ledgers
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

RACERS, EACH, USERS = 6, 80, 6
KINDS = ("example", "export_posts")


class Racer:
    """Does whatever comes to its mind, on a connection of its own.

    Args:
        url: The ledger's.
        users: Whose tasks; the others race for the same.
        tasks: The ids of all, those of the others, too.
        number: Which racer.
    """

    def __init__(self, url: str, users: list[int], tasks: list[str], number: int) -> None:
        self.database = connect(url, pool_size=1)
        self.users, self.tasks = users, tasks
        self.leases: list[tuple[Lease, str]] = []
        self.won: list[tuple[str, int]] = []
        self.chance = random.Random(number)
        self.deeds: tuple[Callable[[], object], ...] = (
            *(self.launch, self.claim, self.claim, self.claim, self.end, self.end),
            *(self.report, self.release, self.cancel, self.retry, self.retry, self.erase),
            *(self.retry_later, self.recover, self.recover, self.time_out, self.deliver),
            *(self.claim_many, self.claim_many, self.succeed_many, self.release_many),
        )

    def race(self, start: Barrier) -> None:
        start.wait(timeout=60)
        for _ in range(EACH):
            with suppress(RequestError, AttemptOver):
                self.chance.choice(self.deeds)()
        self.database.close()

    def launch(self) -> None:
        kind = TASKS[self.chance.choice(KINDS)]
        key = self.chance.choice((None, "one", "two"))
        params = {"seconds": 1} if kind.params else {}
        attempts = self.chance.choice((1, 2, 9))
        asked = TaskRequest(kind=kind, params=params, max_attempts=attempts, idempotency_key=key)
        user_id, now = self.chance.choice(self.users), ledgers.now()
        launched = requests.launch(self.database, user_id, asked, now=now)
        if launched is None:
            with self.database.pipeline() as session:
                launched = requests.launch_task(session, user_id, asked, now=now)
        self.tasks.append(launched.task.id)

    def claim(self) -> None:
        task_id, name = self.chance.choice(self.tasks), self.chance.choice((*KINDS, None))
        facts: dict[str, Any] = {"worker": "w", "lease_s": 60, "now": ledgers.now()}
        claimed = leases.claim(self.database, task_id, **facts, name=name)
        if claimed is not None:
            self.won.append((task_id, claimed.lease.claim))
            self.leases.append((claimed.lease, claimed.task.name))

    def end(self) -> None:
        if not self.leases:
            return
        lease, name = self.leases.pop(self.chance.randrange(len(self.leases)))
        kind, now = TASKS[name], ledgers.now()
        if self.chance.random() < 0.2:
            lease.cancel(now=now, kind=kind)
        elif self.chance.random() < 0.5 or name != "example":
            lease.fail("failed", "It did.", now=now, kind=kind)
        else:
            lease.succeed({}, now=now, kind=kind)

    def claim_many(self) -> None:
        asked = dict.fromkeys(self.chance.choices(self.tasks, k=8), "example")
        facts: dict[str, Any] = {"worker": "w", "lease_s": 60, "now": ledgers.now()}
        for task_id, claimed in batches.claim(self.database, asked, **facts).items():
            self.won.append((task_id, claimed.lease.claim))
            self.leases.append((claimed.lease, claimed.task.name))

    def succeed_many(self) -> None:
        ended: list[Any] = [(one, {}, None) for one in self.some_leases()]
        batches.succeed(self.database, ended, now=ledgers.now())

    def release_many(self) -> None:
        batches.release(self.database, self.some_leases(), now=ledgers.now())

    def some_leases(self) -> list[Lease]:
        """Leases of plain tasks, which are given up; some were lost before."""
        mine = [lease for lease, name in self.leases if name == "example"]
        self.leases = [one for one in self.leases if one[1] != "example"]
        return mine

    def report(self) -> None:
        for lease, _ in self.leases[-1:]:
            lease.report(self.chance.randrange(9), 9, now=ledgers.now(), checkpoint={"at": 1})

    def release(self) -> None:
        for lease, _ in self.leases[:1]:
            lease.release(now=ledgers.now(), to_end=self.chance.random() < 0.5)

    def cancel(self) -> None:
        task_id = self.chance.choice(self.tasks)
        if requests.cancel(self.database, task_id, now=ledgers.now()):
            return
        with self.database.pipeline() as session:
            requests.cancel_task(session, task_id, lease_s=60, now=ledgers.now())

    def retry(self) -> None:
        task_id = self.chance.choice(self.tasks)
        if requests.retry(self.database, task_id, now=ledgers.now()):
            return
        with self.database.pipeline() as session:
            requests.retry_task(session, task_id, now=ledgers.now())

    def retry_later(self) -> None:
        for lease, _ in self.leases[:1]:
            lease.retry_later("away", "It was away.", now=ledgers.now())
            ledgers.put(self.database, lease.task_id, due_at=db_clock(-1))

    def recover(self) -> None:
        """What anybody has a lease on, whether they are dead or not."""
        with self.database.read() as session:
            leased = leases.leased_by(session, "w")
        if leased:
            task_id, claim, _ = self.chance.choice(leased)
            Lease(self.database, task_id, claim, 60).recover(now=ledgers.now())
            ledgers.put(self.database, task_id, due_at=db_clock(-1))

    def time_out(self) -> None:
        for lease, _ in self.leases[:1]:
            lease.time_out(60, now=ledgers.now())

    def deliver(self) -> None:
        """An event to a webhook, whose receiver may be gone."""
        delivery = deliveries.claim_due(self.database, lease_s=60)
        if delivery is not None:
            status = self.chance.choice((200, 503, deliveries.GONE))
            delivery.settle(Answer(status=status), now=ledgers.now())

    def erase(self) -> None:
        """An account, which is followed by another."""
        if self.chance.random() < 0.2:
            place = self.chance.randrange(len(self.users))
            with self.database.write() as session:
                accounts.erase(session, self.users[place], lease_s=60, now=ledgers.now())
            self.users[place] = make_user(self.database, f"u{self.chance.random()}"[:20])


def make_user(database: Database, username: str) -> int:
    """A user who wants to be told at two places of the end of each task."""
    user_id = ledgers.make_user(database, username)
    with database.write() as session:
        for url in ("https://example.com/one", "https://example.com/two"):
            webhooks.create_webhook(
                session, user_id, url=url, events=webhooks.EVENTS, now=ledgers.now()
            )
    return user_id


def test_every_change_against_every_other(database: Database, database_url: str) -> None:
    """Nobody waits in a circle, no task is claimed twice under one number, no news is lost."""
    users = [make_user(database, f"user{number}") for number in range(USERS)]
    tasks = [ledgers.launch(database, user_id) for user_id in users]
    racers = [Racer(database_url, users, tasks, number) for number in range(RACERS)]
    start = Barrier(RACERS)
    with ThreadPoolExecutor(RACERS) as pool:
        list(pool.map(lambda racer: racer.race(start), racers))  # a deadlock is raised here
    won = Counter(claim for racer in racers for claim in racer.won)
    assert len(won) > RACERS
    assert set(won.values()) == {1}
    with database.read() as session:
        told = sa.select(Task.status, Notification.data, Notification.seq, User.notification_seq)
        told = told.join(Notification, Notification.subject == Task.id)
        rows = session.execute(told.join(User, User.id == Task.user_id)).all()
        assert len(rows) == session.scalar(sa.select(sa.func.count()).select_from(Task))
    assert rows
    assert all(status == data["status"] for status, data, *_ in rows)
    assert all(seq <= newest for *_, seq, newest in rows)
    with database.read() as session:
        numbered = session.execute(sa.select(Notification.user_id, Notification.seq)).all()
    assert len(set(numbered)) == len(numbered)


@pytest.mark.parametrize("key", ["same", None])
def test_two_requests_at_once(database: Database, database_url: str, key: str | None) -> None:
    """Of two that wait for each other one launches a task, though neither sees it as it begins."""
    user_id = ledgers.make_user(database)
    others = [connect(database_url, pool_size=1) for _ in KINDS]

    def launch(ledger: Database, name: str) -> requests.Launched | None:
        kind = TASKS[name]
        params = {"seconds": 1} if kind.params else {}
        asked = TaskRequest(kind=kind, params=params, max_attempts=9, idempotency_key=key)
        return requests.launch(ledger, user_id, asked, now=ledgers.now())

    names = KINDS if key else (KINDS[0], KINDS[0])
    with ThreadPoolExecutor(2) as pool, database.write() as session:
        session.execute(sa.select(User.id).with_for_update()).one()
        waiting = [pool.submit(launch, *one) for one in zip(others, names, strict=True)]
        wait_until(lambda: _waiting(database) == len(others), "both wait")
        session.commit()
        launched = [one.result(timeout=60) for one in waiting]
    assert sum(one is not None for one in launched) == 1
    with database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Task)) == 1
    for ledger in others:
        ledger.close()


def test_a_retry_behind_a_request(database: Database, database_url: str) -> None:
    """A retry that waits for a request of the same kind finds the new task, and changes nothing."""
    user_id, kind = ledgers.make_user(database), TASKS["example"]
    old = ledgers.launch(database, user_id, "example")
    ledgers.fail(database, old)
    first, second = (connect(database_url, pool_size=1) for _ in range(2))
    asked = TaskRequest(kind=kind, params={"seconds": 1}, max_attempts=9)
    with ThreadPoolExecutor(2) as pool, database.write() as session:
        session.execute(sa.select(User.id).with_for_update()).one()
        launching = pool.submit(requests.launch, first, user_id, asked, now=ledgers.now())
        wait_until(lambda: _waiting(database) == 1, "the request waits")
        retrying = pool.submit(requests.retry, second, old, now=ledgers.now())
        wait_until(lambda: _waiting(database) == 2, "the retry waits behind it")
        session.commit()
        assert launching.result(timeout=60) is not None
        assert retrying.result(timeout=60) is False
    assert ledgers.the_task(database, old).status == "failed"
    for ledger in (first, second):
        ledger.close()


def _waiting(database: Database) -> int:
    """How many transactions wait for another."""
    count = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    with database.read() as session:
        return session.scalar(count) or 0


def test_many_at_once_against_many(database: Database, database_url: str) -> None:
    """Batches that have all users in common, in any order: no circle, no claim, no number twice."""
    racers, rounds = 4, 12
    users = [ledgers.make_user(database, f"user{number}") for number in range(8)]
    tasks = [ledgers.launch(database, one, "example") for one in users]
    tasks += [ledgers.launch(database, one, "count_words") for one in users]
    names = dict(zip(tasks, ["example"] * 8 + ["count_words"] * 8, strict=True))
    start = Barrier(racers)

    def race(number: int) -> list[tuple[str, int]]:
        chance, won = random.Random(number), []
        ledger = connect(database_url, pool_size=1)
        start.wait(timeout=60)
        for _ in range(rounds):
            some = chance.sample(tasks, 12)
            asked = {one: names[one] for one in some}
            claimed = batches.claim(ledger, asked, worker="w", lease_s=60, now=ledgers.now())
            won += [(one, found.lease.claim) for one, found in claimed.items()]
            batches.release(ledger, [one.lease for one in claimed.values()], now=ledgers.now())
        ledger.close()
        return won

    with ThreadPoolExecutor(racers) as pool:
        won = [claim for found in pool.map(race, range(racers)) for claim in found]
    assert len(won) == len(set(won)) > 0
    with database.read() as session:
        claims = session.execute(sa.select(Task.id, Task.claim)).all()
        assert sum(claim for _, claim in claims) == len(won)
        numbers = session.execute(sa.select(Notification.user_id, Notification.seq)).all()
        assert len(set(numbers)) == len(numbers) == len(tasks)
        newest = {
            row[0]: row[1] for row in session.execute(sa.select(User.id, User.notification_seq))
        }
    assert all(seq <= newest[user_id] for user_id, seq in numbers)
