"""One ledger, bucket, queue and mailbox, and the processes that work on them.

Times are short here, and nothing else is changed: a lease is half a second, pauses are a fraction
of one, a page holds 20 posts and fills a part.
"""

import logging
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import cast

import sqlalchemy as sa

from chalicelib.db import engine
from chalicelib.db.models import Notification, Post, Removal, Task, User
from chalicelib.tasks import leases
from chalicelib.tasks import requests as task_requests
from chalicelib.values.fields import format_time
from chalicelib.wiring import Wiring
from tests.faults.calls import Calls
from tests.faults.ground import PART_BYTES
from tests.faults.oracle import Pair, settle
from tests.harness.ledgers import launch, make_user
from worker import attempts
from worker.attempts import perform
from worker.export import pages, upload
from worker.outbox import sender
from worker.runner import bury
from worker.tasks.export_posts import export_posts

_SEEN = sa.Table(
    "seen",
    sa.MetaData(),
    sa.Column("place", sa.Integer, primary_key=True),
    sa.Column("task_id", sa.String(36)),
    sa.Column("percent", sa.Integer),
)
_NOTE = "INSERT INTO seen (task_id, percent) VALUES (NEW.id, NEW.percent)"
_SPY = f"BEGIN {_NOTE}; RETURN NULL; END"
_SPIES = {
    "sqlite": [f"CREATE TRIGGER spy AFTER UPDATE OF percent ON tasks BEGIN {_NOTE}; END"],
    "postgresql": [
        f"CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS '{_SPY}'",
        "CREATE TRIGGER spy AFTER UPDATE OF percent ON tasks FOR EACH ROW EXECUTE FUNCTION spy()",
    ],
}

LEASE_S = 0.5
PAUSE_S = 0.2
POSTS = 50
USERNAME = "susan"
WORKER = "worker"
WITHIN_S = 120.0
"""How long anything may take that ends a run."""

POLL_S = 0.01


def hurry(endpoint_url: str) -> None:
    """Make this process and its children small and impatient."""
    sender.ses(endpoint_url)  # has its time limits; what follows is for the lease of a mail
    logging.disable(logging.CRITICAL)
    pages.FIRST_PAGE_ROWS = pages.MAX_PAGE_ROWS = 20
    upload.PART_BYTES = PART_BYTES
    attempts.PROGRESS_INTERVAL_S = 3600  # what only a slow machine would write is no boundary
    leases.MAX_PAUSE_S = cast("int", PAUSE_S)
    sender.MAX_PAUSE_S = cast("int", PAUSE_S)
    engine.SILENCE_S = 1
    sender.CONNECT_TIMEOUT_S = sender.READ_TIMEOUT_S = 0


@dataclass(frozen=True)
class World:
    """A place to work at.

    Attributes:
        environment: How to join its servers.
        folder: Where its files are; mails in `mail`.
    """

    environment: Mapping[str, str]
    folder: Path

    @property
    def mail_dir(self) -> Path:
        """Every mail that was sent."""
        return self.folder / "mail"

    @cached_property
    def wiring(self) -> Wiring:
        """This process's own clients; no connection to SQL is kept, for it forks."""
        return self.rewired()

    def rewired(self) -> Wiring:
        """New clients, such as a child needs that must not use its parent's connections."""
        return self._wire(pool_size=0)

    @cached_property
    def _warm(self) -> Wiring:
        """What children inherit: clients that are made, and never used."""
        wiring = self._wire(pool_size=2)
        wiring.storage.warm_up()
        return wiring

    def _wire(self, *, pool_size: int) -> Wiring:
        wiring = Wiring.from_environment(self.environment, pool_size=pool_size)
        return Wiring(replace(wiring.settings, lease_s=cast("int", LEASE_S)), pool_size)

    def reset(self, seed: int) -> None:
        """Begin anew; the user and their posts stay as they are, if they are right."""
        self.wiring.queue.redis.flushdb()
        self.wiring.storage.clear("", keep=set)
        for mail in self.mail_dir.glob("*.eml"):
            mail.unlink()
        with self.wiring.database.write() as session:
            for table in (Task, Notification, Removal):
                session.execute(sa.delete(table))
            session.execute(sa.delete(_SEEN))
            numbers = session.scalars(sa.select(Post.id)).all()
            # Neither was one deleted, nor one added.
            wrong = len(numbers) != POSTS or max(numbers) - min(numbers) >= POSTS
            if wrong:
                session.execute(sa.delete(User))
        if wrong:
            self._write(seed)

    def _write(self, seed: int) -> None:
        user_id = make_user(self.wiring.database, USERNAME)
        dice = random.Random(seed)
        posts = [
            Post(user_id=user_id, body=_body(dice, number), timestamp=_moment(dice))
            for number in range(POSTS)
        ]
        with self.wiring.database.write() as session:
            session.add_all(posts)

    @property
    def user_id(self) -> int:
        """The one user."""
        with self.wiring.database.read() as session:
            return session.scalars(sa.select(User.id)).one()

    def posts(self) -> list[tuple[int, Pair]]:
        """Number, body and timestamp of each post, in the order of an export."""
        statement = sa.select(Post).order_by(Post.timestamp, Post.id)
        with self.wiring.database.read() as session:
            found = session.scalars(statement).all()
        return [(post.id, (post.body, format_time(post.timestamp))) for post in found]

    def spy(self) -> None:
        """Have the database itself note each percentage that a task gets."""
        engine = self.wiring.database.engine
        with engine.begin() as connection:
            _SEEN.create(connection)
            for statement in _SPIES[engine.dialect.name]:
                connection.exec_driver_sql(statement)

    def percentages(self) -> list[tuple[str, int]]:
        """All that were noted: pairs of task id and percentage, in their order."""
        with self.wiring.database.read() as session:
            rows = session.execute(sa.select(_SEEN).order_by(_SEEN.c.place))
            return [(row.task_id, row.percent) for row in rows]

    def task_ids(self) -> list[str]:
        """All tasks of the ledger."""
        with self.wiring.database.read() as session:
            return list(session.scalars(sa.select(Task.id)))

    def request(self, *, max_attempts: int = 5) -> str:
        """Queue an export and ring for it; return its id."""
        task_id = launch(
            self.wiring.database, self.user_id, "export_posts", max_attempts=max_attempts
        )
        self.wiring.queue.ring([(task_id, "export_posts")])
        return task_id

    def fork(self, work: Callable[[Wiring], None], calls: Calls | None = None) -> int:
        """Do work in a child process; return its id.

        Args:
            work: Gets wiring of its own. An exception ends the child with status 1.
            calls: To be installed in the child.
        """
        warm = self._warm
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            os.environ["RQ_WORKER_ID"] = WORKER
            if calls is not None:
                calls.install(warm.database.engine)
            work(warm)
            status = 0
        except BaseException:  # noqa: BLE001 - written down, and the status tells
            with (self.folder / "children.log").open("a") as log:
                traceback.print_exc(file=log)
        finally:
            sys.stdout.flush()
            os._exit(status)

    def perform(self, task_id: str) -> None:
        """Do a job in a child process, to its end."""
        self.wait(self.fork(lambda wiring: attempt(task_id, wiring)))

    def wait(self, pid: int) -> int:
        """Watch a child until it ends or stops; return its wait status."""
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            ended, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
            if ended:
                return status
            time.sleep(POLL_S)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise AssertionError(f"a child did not end within {WITHIN_S} s")

    def settle(self) -> float:
        """Let the product recover; return the seconds until every task was over."""
        return settle(self.wiring, self.perform, within_s=WITHIN_S)

    def bury(self, status: int) -> None:
        """Do what the parent of a dead work horse does."""
        bury(self.wiring, worker=WORKER, status=status)

    def empty_queue(self) -> None:
        """Lose all jobs."""
        self.wiring.queue.redis.flushdb()


def attempt(task_id: str, wiring: Wiring) -> None:
    """What a work horse does with a job."""
    perform(task_id, export_posts.__wrapped__, wiring)  # type: ignore[attr-defined]


def _not_at_all(_heart: attempts.Heartbeat) -> None:
    """No beat."""


def quietly() -> None:
    """In a child: no heartbeat, so that each run makes the same calls in the same order."""
    attempts.Heartbeat.run = _not_at_all  # type: ignore[assignment, method-assign]


def add_and_delete(wiring: Wiring, doomed: list[int]) -> None:
    """Write posts of all times, and delete some."""
    with wiring.database.write() as session:
        user_id = session.scalars(sa.select(User.id)).one()
        for days in (-400, 0, 400):
            at = _START + timedelta(days=days)
            session.add(Post(user_id=user_id, body="too late", timestamp=at))
        session.execute(sa.delete(Post).where(Post.id.in_(doomed)))


def cancel(wiring: Wiring, task_id: str) -> None:
    """What the API does when the user cancels."""
    lease_s = wiring.settings.lease_s
    with wiring.database.write() as session:
        task_requests.cancel_task(session, task_id, lease_s=lease_s, now=wiring.now())


_START = datetime(2026, 1, 1, tzinfo=UTC)


def _body(dice: random.Random, number: int) -> str:
    letters = 'ab \n"\\\x07\u00e9\u2028\U0001f600'
    return f"{number} " + "".join(dice.choices(letters, k=900))


def _moment(dice: random.Random) -> datetime:
    """A few moments for many posts, so that the order by number matters too."""
    return _START + timedelta(days=dice.randrange(20), microseconds=dice.choice((0, 500_000)))
