"""One ledger, bucket, queue and mailbox, and the processes that work on them.

Things are small here: a page holds 20 posts and fills a part. Times are as long as elsewhere, and
pass at once; see `times`.
"""

import logging
import math
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from chalicelib.accounts import accounts, link_keys
from chalicelib.db import engine
from chalicelib.db.models import (
    ExportFile,
    LinkKey,
    Notification,
    OutboxMessage,
    Removal,
    Schedule,
    Task,
    User,
    Webhook,
)
from chalicelib.exports import files, removals
from chalicelib.imports import uploads
from chalicelib.microblog.models import Post
from chalicelib.outbox import webhooks
from chalicelib.tasks import requests as task_requests
from chalicelib.tasks import schedules
from chalicelib.values.fields import format_time
from chalicelib.wiring import Wiring
from tests.faults.calls import Calls
from tests.faults.oracle import Pair
from tests.faults.settling import settle
from tests.faults.times import pass_time
from tests.harness.ledgers import launch, make_user
from worker import attempts
from worker.attempts import perform
from worker.export import follow_up, pages, publication, upload
from worker.importing import json_lines, stager
from worker.outbox import sender, webhook
from worker.runner import recover

_SEEN = sa.Table(
    "seen",
    sa.MetaData(),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("task_id", sa.String(36)),
    sa.Column("percent", sa.Integer),
)
_NOTE = "INSERT INTO seen (task_id, percent) VALUES (NEW.id, NEW.percent)"
_SPY = f"BEGIN {_NOTE}; RETURN NULL; END"
_SPIES = {
    "sqlite": [f"CREATE TRIGGER spy AFTER UPDATE OF percent ON tasks BEGIN {_NOTE}; END"],
    "postgresql": [
        "GRANT SELECT, INSERT, DELETE ON seen TO PUBLIC",
        "GRANT USAGE ON SEQUENCE seen_number_seq TO PUBLIC",
        f"CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS '{_SPY}'",
        "CREATE TRIGGER spy AFTER UPDATE OF percent ON tasks FOR EACH ROW EXECUTE FUNCTION spy()",
    ],
}

RECEIVED = "received.jsonl"
PART_BYTES = 16 * 1024
LEASE_S = 30
SLICE_S = 3600
"""So that no attempt looks whether others wait because the machine is slow."""

BEAT_S = 0.1
"""Between two signs of life: some wait for one."""

SILENCE_S = 2
"""How long PostgreSQL lets a transaction wait for a process that is to be stopped."""

POSTS = 50
USERNAME = "susan"
ADDRESS = f"{USERNAME}@example.com"
WORKER = "worker"
WITHIN_S = 120.0
"""How long anything may take that ends a run."""

POLL_S = 0.01
POOL_SIZE = 2
"""How many connections to SQL a process that is watched keeps."""


def hurry(log: Path) -> None:
    """Make what this process and its children do small, and have them log to a file."""
    logging.basicConfig(filename=log, level=logging.WARNING, force=True)
    pages.FIRST_PAGE_ROWS = pages.MAX_PAGE_ROWS = 20
    upload.PART_BYTES = PART_BYTES
    # What only a slow machine would do is no boundary: progress that is not a checkpoint's, and
    # questions to connections that were idle. Redis is shown the progress of quick attempts, too.
    attempts.PROGRESS_INTERVAL_S = publication.COUNT_AFTER_S = math.inf
    attempts.SHOWN_AFTER_S = 0
    uploads.URL_TTL_S = 0  # or the last removal of an upload would be due in an hour
    json_lines.CHUNK_BYTES = 2048
    stager.LEAST_BYTES = 16 * 1024
    engine.TRUSTED_S = math.inf
    attempts.HEARTBEAT_INTERVAL_S = BEAT_S


def log_in(folder: Path) -> Path:
    """Where processes log that work in a folder."""
    return folder / "children.log"


@dataclass(frozen=True)
class World:
    """Servers to work with.

    Attributes:
        environment: How to join them.
        folder: Where their files are; emails in `mail`.
        hook_url: A receiver of webhooks, which notes what it gets in `RECEIVED`.
    """

    environment: Mapping[str, str]
    folder: Path
    hook_url: str = ""

    @property
    def received(self) -> Path:
        """What the receiver of webhooks notes."""
        return self.folder / RECEIVED

    @property
    def mail_dir(self) -> Path:
        return self.folder / "mail"

    @cached_property
    def wiring(self) -> Wiring:
        """This process's own clients; no child uses its connections to SQL."""
        return self._wire(pool_size=1)

    def rewired(self) -> Wiring:
        """New clients, such as a child needs that must not use its parent's connections."""
        return self._wire(pool_size=0)

    @cached_property
    def _warm(self) -> dict[tuple[int, int], Wiring]:
        """What children inherit: clients that nobody used.

        By how many connections to SQL they keep, and how long PostgreSQL bears their silence: less
        if they are to be stopped, or everybody would wait for their locks.
        """
        return {
            (pool_size, silence_s): self._warmed_up(pool_size, silence_s)
            for pool_size in (0, POOL_SIZE)
            for silence_s in (engine.SILENCE_S, SILENCE_S)
        }

    def _warmed_up(self, pool_size: int, silence_s: int) -> Wiring:
        wiring = self._wire(pool_size=pool_size)
        usual, engine.SILENCE_S = engine.SILENCE_S, silence_s
        _ = wiring.database  # which remembers it
        engine.SILENCE_S = usual
        wiring.object_store.warm_up()
        wiring.email_service.warm_up()
        return wiring

    def _wire(self, *, pool_size: int) -> Wiring:
        wiring = Wiring.from_environment(self.environment, pool_size=pool_size)
        settings = replace(wiring.settings, lease_s=LEASE_S, fair_slice_s=SLICE_S)
        return Wiring(settings, pool_size)

    def reset(self, seed: int) -> None:
        """Begin anew; the user and their posts stay as they are, if they are right."""
        self.wiring.queue.redis.flushdb()
        self.clear("")
        self.log.write_text("")  # whoever has it open goes on
        self.received.write_text("")
        for email in self.mail_dir.glob("*.eml"):
            email.unlink()
        with self.wiring.database.write() as session:
            for table in (Task, OutboxMessage, LinkKey, Notification, Removal, Schedule, Webhook):
                session.execute(sa.delete(table))
            session.execute(sa.delete(_SEEN))
            session.execute(sa.update(User).values(confirmed_at=User.created_at))
            numbers = session.scalars(sa.select(Post.id)).all()
            # Neither was one deleted, nor one added.
            wrong = len(numbers) != POSTS or max(numbers) - min(numbers) >= POSTS
            if wrong:
                session.execute(sa.delete(User))
        if wrong:
            self._write(seed)

    def depopulate(self) -> None:
        """Delete the user and their posts."""
        with self.wiring.database.write() as session:
            session.execute(sa.delete(User))

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
        with self.wiring.database.read() as session:
            return session.scalars(sa.select(User.id)).one()

    def posts(self) -> list[tuple[int, Pair]]:
        """Number, body and timestamp of each post, in the order of an export."""
        statement = sa.select(Post).order_by(Post.timestamp, Post.id)
        with self.wiring.database.read() as session:
            found = session.scalars(statement).all()
        return [(post.id, (post.body, format_time(post.timestamp))) for post in found]

    @staticmethod
    def spy(owner_url: str) -> None:
        """Have the database itself note each percentage that a task gets; its owner may say so."""
        owner = engine.connect(owner_url, pool_size=0).engine
        with owner.begin() as connection:
            _SEEN.create(connection)
            for statement in _SPIES[owner.dialect.name]:
                connection.exec_driver_sql(statement)

    def percentages(self) -> list[tuple[str, int]]:
        """All that were noted: pairs of task id and percentage, in their order."""
        with self.wiring.database.read() as session:
            rows = session.execute(sa.select(_SEEN).order_by(_SEEN.c.number))
            return [(row.task_id, row.percent) for row in rows]

    def task_ids(self) -> list[str]:
        """All tasks of the ledger."""
        with self.wiring.database.read() as session:
            return list(session.scalars(sa.select(Task.id)))

    def request(self, name: str = "export_posts", *, max_attempts: int = 5, **params: Any) -> str:
        """Queue an export and enqueue a job for it; return its id."""
        task_id = launch(
            self.wiring.database, self.user_id, name, max_attempts=max_attempts, **params
        )
        self.wiring.queue.enqueue([(task_id, name)])
        return task_id

    def add_webhook(self) -> None:
        """Have the receiver hear of every ending."""
        with self.wiring.database.write() as session:
            webhooks.create_webhook(
                session,
                self.user_id,
                url=self.hook_url,
                events=webhooks.EVENTS,
                now=self.wiring.now(),
            )

    @property
    def has_webhook(self) -> bool:
        with self.wiring.database.read() as session:
            return session.scalar(sa.select(Webhook.id)) is not None

    def fork(
        self,
        work: Callable[[Wiring], None],
        calls: Calls | None = None,
        *,
        pool_size: int = POOL_SIZE,
    ) -> int:
        """Do work in a child process; return its id.

        Args:
            work: Gets wiring of its own. An exception ends the child with status 1.
            calls: To be installed in the child.
            pool_size: How many connections to SQL the child keeps.
        """
        stalls = calls is not None and calls.plan is not None and calls.plan.fault == "stall"
        warm = self._warm[pool_size, SILENCE_S if stalls else engine.SILENCE_S]
        if not self.wiring.database.is_postgresql:
            self.wiring.database.close()  # SQLite knows its locks by the process
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
            with self.log.open("a") as log:
                traceback.print_exc(file=log)
        finally:
            sys.stdout.flush()
            os._exit(status)

    @property
    def log(self) -> Path:
        """What processes have said since the world was reset."""
        return log_in(self.folder)

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

    def send(self) -> None:
        """Send what is due in the outbox in a child process, to its end."""

        def work(wiring: Wiring) -> None:
            send_all(wiring)
            deliver_all(wiring)

        self.wait(self.fork(work))

    def send_emails(self) -> None:
        """Send emails alone."""
        self.wait(self.fork(send_all))

    def pass_time(self) -> None:
        """Let time pass until the next thing is due."""
        pass_time(self.wiring.database)

    def end(self, pid: int) -> None:
        """Kill a child that may be stopped, and that has ended if all went well."""
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def settle(self) -> float:
        """Let the product recover; return the seconds until every task was over."""
        return settle(self.wiring, self.perform, self.send, within_s=WITHIN_S)

    def recover(self, status: int) -> None:
        """Do what the parent of a dead work horse does."""
        recover(self.wiring, worker=WORKER, status=status)

    def clear(self, prefix: str) -> None:
        """Delete whatever is in the bucket, as nobody else does."""
        self.wiring.object_store.clear(prefix, needed=lambda: lambda _key: False)

    def empty_queue(self) -> None:
        self.wiring.queue.redis.flushdb()


def attempt(task_id: str, wiring: Wiring) -> None:
    """What a work horse does with a job."""
    perform(task_id, wiring)


def send_all(wiring: Wiring) -> None:
    """What a sender does until nothing is due."""
    while sender.send_due(wiring):
        pass


def deliver_all(wiring: Wiring) -> None:
    """What a worker does about webhooks until nothing is due."""
    while delivery := webhook.claim(wiring):
        webhook.deliver(delivery, wiring, webhook.make_http_client(wiring))


def _not_at_all(*_: object) -> None:
    """Nothing."""


def without_follow_up() -> None:
    """In a child: leave the email about an outcome to a sender."""
    follow_up.follow_up = _not_at_all  # type: ignore[assignment]


def beating_after(reached: threading.Event) -> None:
    """In a child: the heart beats only after something was reached, or when all is over."""
    beat = attempts.Heartbeat.run

    def run(heart: attempts.Heartbeat) -> None:
        while not (heart._done.is_set() or reached.wait(POLL_S)):
            pass
        beat(heart)

    attempts.Heartbeat.run = run  # type: ignore[assignment, method-assign]


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


def retry(wiring: Wiring, task_id: str) -> None:
    """What the API does when the user tries a task again, but for the hint."""
    with wiring.database.write() as session:
        task_requests.retry_task(session, task_id, now=wiring.now())


def delete(wiring: Wiring, user_id: int, task_id: str) -> None:
    """What the API does when the user deletes an export."""
    with wiring.database.write() as session:
        lease_s = wiring.settings.lease_s
        files.remove_file(session, task_id, lease_s=lease_s, now=wiring.now())
    removals.execute(wiring.database, wiring.object_store, user_id, task_id)


def erase(wiring: Wiring, user_id: int) -> None:
    """What the API does when the user erases the account."""
    with wiring.database.write() as session:
        accounts.erase(session, user_id, lease_s=wiring.settings.lease_s, now=wiring.now())


def send_link(wiring: Wiring, kind: link_keys.Kind) -> None:
    """What the API does when the user asks for a link."""
    with wiring.database.write() as session:
        user = session.scalars(sa.select(User)).one()
        link_keys.send_link(session, user, kind, now=wiring.now())
    wiring.outbox_hint.send()


def expire(wiring: Wiring, task_id: str) -> None:
    """Let the time of a file be over."""
    with wiring.database.write() as session:
        statement = sa.update(ExportFile).where(ExportFile.task_id == task_id)
        session.execute(statement.values(expires_at=wiring.now()))


def schedule(wiring: Wiring, user_id: int, *, failures: int = 0) -> str:
    """Add a schedule of every hour that has been due for one; return its id."""
    plan = schedules.Plan(name="export_posts", params={}, rrule="FREQ=HOURLY", timezone="UTC")
    hour = timedelta(hours=1)
    with wiring.database.write() as session:
        made = schedules.create(session, user_id, plan)
        made.anchor = made.settled_at = made.created_at - 2 * hour
        made.next_run_at = made.created_at - hour
        made.failures = failures
    return made.id


def unconfirm(wiring: Wiring) -> None:
    """Have nobody know whether the address is the user's."""
    with wiring.database.write() as session:
        session.execute(sa.update(User).values(confirmed_at=None))


def confirm(wiring: Wiring) -> None:
    """What the API does when the user opens the link that confirms an address."""
    with wiring.database.write() as session:
        user = session.scalars(sa.select(User).with_for_update()).one()
        link_keys.confirm(session, user, now=wiring.now())
    wiring.outbox_hint.send()


_START = datetime(2026, 1, 1, tzinfo=UTC)


def _body(dice: random.Random, number: int) -> str:
    characters = 'ab \n"\\\x07\u00e9\u2028\U0001f600'
    return f"{number} " + "".join(dice.choices(characters, k=900))


def _moment(dice: random.Random) -> datetime:
    """A few moments for many posts, so that the order by number matters too."""
    return _START + timedelta(days=dice.randrange(20), microseconds=dice.choice((0, 500_000)))
