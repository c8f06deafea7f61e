"""What must be true of every accepted task after whatever happened, and how to get there.

The oracle believes nobody: it reads the ledger, lists the bucket, reads each published file, counts
the mails that SES took, and looks at every key in Redis.
"""

import hashlib
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email import message_from_binary_file, policy
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, cast

import ijson
import sqlalchemy as sa
from rq.job import Job

from chalicelib.adapters.job_queue import JOB_TTL_S
from chalicelib.db.engine import Database
from chalicelib.db.models import ACTIVE, AuditEntry, Notification, Removal, Task
from chalicelib.exports.files import is_export
from chalicelib.wiring import Wiring
from tests.harness import documents
from worker.export.verify import verify

Pair = tuple[str, str]
"""A post: its body and its timestamp as the API writes it."""

ERASED = "erased"
"""The outcome of a task whose account was erased."""

ENDINGS = ("published", "succeeded", "failed", "cancelled")
"""What the audit calls the end of a task."""

PAUSE_S = 0.05
"""Between two sweeps that settle."""

REDIS_KEYS = {
    r"rq:queues|rq:workers(:.*)?|rq:worker:.*": None,
    r"rq:(finished|failed):.*|rq:clean_registries:.*": None,
    r"rq:job:.*|rq:results:.*": JOB_TTL_S,
}
"""Keys that may be left in Redis, and the longest time to live of those that must have one."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a client may rely on who got a 202.

    Attributes:
        user_id: Whose task it is.
        username: The same, by name.
        must: The posts that must be in the file, in the order of an export.
        may: Posts that may be in it: they were deleted while it was written.
        outcomes: The states that the task may end in; `ERASED` if the account was erased.
        asked_again: How often the user asked to have the last mail sent once more.
    """

    user_id: int
    username: str
    must: Sequence[Pair] = ()
    may: Collection[Pair] = ()
    outcomes: Collection[str] = ("succeeded",)
    asked_again: int = 0


@dataclass(frozen=True)
class Mail:
    """A mail that SES took: the ending it is about, and the id that SES gave it."""

    ending: str
    message_id: str


def violations(
    wiring: Wiring,
    mail_dir: Path,
    *,
    accepted: Mapping[str, Expected],
    samples: Iterable[tuple[str, int]] = (),
) -> list[str]:
    """Find everything that is not as it must be, once all is settled.

    Args:
        wiring: Clients of the ledger, Redis and the bucket.
        mail_dir: Every mail that SES took, as the emulator keeps them.
        accepted: What was promised, by task id.
        samples: Percentages as somebody saw them, in the order of their time.

    Returns:
        A sentence for each; none when all is well.
    """
    tasks = _tasks(wiring.database)
    mails = _mails(mail_dir)
    found = list(_fallen(samples))
    for task_id, expected in accepted.items():
        task = tasks.get(task_id)
        mine = [mail for mail in mails if mail.ending.startswith(task_id)]
        faults = _gone(expected, mine) if task is None else _one(wiring, task, expected, mine)
        found += [f"task {task_id}: {fault}" for fault in faults]
    found += _bucket(wiring, tasks.values())
    found += _redis(wiring)
    found += [f"not settled: {wish}" for wish in unsettled(wiring)]
    return found


def unknown_mails(wiring: Wiring) -> list[str]:
    """Tasks whose mail may or may not have been sent: to be counted, not a violation."""
    tasks = _tasks(wiring.database).values()
    return [task.id for task in tasks if task.mail_state == "unknown"]


def unsettled(wiring: Wiring) -> list[str]:
    """What the product still has to do, as sentences; removals included, due or not."""
    with wiring.database.read() as session:
        prefixes = session.scalars(sa.select(Removal.prefix)).all()
    tasks = _tasks(wiring.database).values()
    return [
        *(f"task {task.id} is {task.status}" for task in tasks if task.status in ACTIVE),
        *(
            f"the mail of task {task.id} is {task.mail_state}"
            for task in tasks
            if task.mail_state in {"pending", "sending"}
        ),
        *(f"{prefix} is to be removed" for prefix in prefixes),
    ]


def settle(wiring: Wiring, perform: Callable[[str], None], *, within_s: float) -> float:
    """Sweep, and perform the jobs that are in the queue, until nothing is left to do.

    Args:
        wiring: Clients; the sweeper is this wiring's.
        perform: Does one job, as a worker would; gets the task's id.
        within_s: The deadline, in seconds.

    Returns:
        Seconds until every task was over and every mail settled; removals take longer, because
        the second one waits for two leases.

    Raises:
        AssertionError: Something was left at the deadline.
    """
    began, over_s = time.monotonic(), 0.0
    while (left := unsettled(wiring)) or wiring.queue.depth():
        if not over_s and all("removed" in wish for wish in left):
            over_s = time.monotonic() - began
        if time.monotonic() - began > within_s:
            raise AssertionError(f"not settled within {within_s} s: {left}")
        wiring.sweeper.sweep(now=wiring.now())
        for task_id in _ring_out(wiring):
            perform(task_id)
        time.sleep(PAUSE_S)
    return over_s or time.monotonic() - began


def _ring_out(wiring: Wiring) -> Iterator[str]:
    """Take the jobs out of the queue one by one; like a worker, leave their hashes to expire."""
    redis = wiring.queue.redis
    while raw := cast("bytes | None", redis.lpop(wiring.queue.rq.key)):
        redis.expire(Job.key_for(raw.decode()), JOB_TTL_S)
        yield raw.decode()


def _tasks(database: Database) -> dict[str, Task]:
    with database.read() as session:
        return {task.id: task for task in session.scalars(sa.select(Task))}


def _mails(folder: Path) -> list[Mail]:
    return [_mail(path) for path in folder.glob("*.eml")]


def _mail(path: Path) -> Mail:
    with path.open("rb") as file:
        message = message_from_binary_file(file, policy=policy.default)
    ending = str(message["Message-ID"]).strip().removeprefix("<").partition("@")[0]
    return Mail(ending, path.stem.partition("-")[2])


def _fallen(samples: Iterable[tuple[str, int]]) -> Iterator[str]:
    last: dict[str, int] = {}
    for task_id, percent in samples:
        if percent < last.get(task_id, 0):
            yield f"task {task_id}: progress fell from {last[task_id]} to {percent}"
        last[task_id] = percent


def _gone(expected: Expected, mails: list[Mail]) -> Iterator[str]:
    if ERASED not in expected.outcomes:
        yield "lost: the ledger does not know it"
    if len(mails) > 1 + expected.asked_again:
        yield f"{len(mails)} mails for a task that was erased"


def _one(wiring: Wiring, task: Task, expected: Expected, mails: list[Mail]) -> Iterator[str]:
    if task.status not in expected.outcomes:
        yield f"ended as {task.status} ({task.error_code}), not {'/'.join(expected.outcomes)}"
    yield from _outcome(task)
    yield from _history(wiring.database, task)
    if not is_export(task):
        return
    yield from _mailed(task, expected, mails)
    if task.status == "succeeded" and task.gone_at is None:
        yield from _file(wiring, task, expected)
    elif task.status != "succeeded" and task.object_key is not None:
        yield f"is {task.status} and names a file"


def _outcome(task: Task) -> Iterator[str]:
    if task.finished_at is None or task.lease_until is not None or task.checkpoint is not None:
        yield "is not wound up"
    if (task.percent == 100) != (task.status == "succeeded"):
        yield f"is {task.status} at {task.percent} %"
    if (task.error_code is not None) != (task.status == "failed"):
        yield f"is {task.status} with the error {task.error_code}"
    if task.failures > task.max_attempts:
        yield f"was tried {task.failures} times, {task.max_attempts} were allowed"


def _history(database: Database, task: Task) -> Iterator[str]:
    """One ending for each request, and the newest notification tells the newest state."""
    with database.read() as session:
        entries = sa.select(AuditEntry.event).where(AuditEntry.task_id == task.id)
        events = session.scalars(entries.order_by(AuditEntry.id)).all()
        news = session.get(Notification, (task.user_id, "task_progress", task.id))
    turns = [event for event in events if event == "requested" or event in ENDINGS]
    if any((turn == "requested") == bool(place % 2) for place, turn in enumerate(turns)):
        yield f"had these requests and endings: {', '.join(turns)}"
    if len(turns) % 2:
        yield "has no ending in the audit"
    # Every claim is started once and ends once: returned, or with the task.
    if events.count("started") != task.claim:
        yield f"was claimed {task.claim} times, started {events.count('started')} times"
    if news is None or news.data["status"] != task.status:
        yield f"is {task.status}, its notification says {news and news.data['status']}"


def _mailed(task: Task, expected: Expected, mails: list[Mail]) -> Iterator[str]:
    moment = task.finished_at or task.created_at
    ending = f"{task.id}.{task.status}.{moment:%Y%m%d%H%M%S%f}"
    counts = Counter(mail.ending for mail in mails)
    for one, count in counts.items():
        if count > 1 + (expected.asked_again if one == ending else 0):
            yield f"{count} mails for one ending"
    if task.mail_state == "sent" and task.mail_message_id not in {one.message_id for one in mails}:
        yield "the mail that was sent is not that of the ledger"
    if task.mail_state == "sent" and not counts[ending]:
        yield "no mail about its ending"
    if task.mail_state == "failed" and counts[ending] and not task.gone_at:
        yield "a mail was sent that is called failed"
    if task.mail_state == "none":
        yield "nobody wished for a mail"


def _file(wiring: Wiring, task: Task, expected: Expected) -> Iterator[str]:
    key = task.object_key
    if key is None or wiring.storage.size(key) is None:
        yield "the published file is missing"
        return
    with TemporaryFile() as file:
        digest = hashlib.sha256()
        for piece in wiring.storage.read(key):
            digest.update(piece)
            file.write(piece)
        if (task.size_bytes, task.sha256) != (file.tell(), digest.hexdigest()):
            yield "size or SHA-256 are not those of the file"
        yield from _contents(file, task, expected)


def _contents(file: IO[bytes], task: Task, expected: Expected) -> Iterator[str]:
    file.seek(0)
    yield from verify(file).faults  # type: ignore[arg-type]
    file.seek(0)
    posts = [(post["body"], post["timestamp"]) for post in ijson.items(file, "posts.item")]
    may = Counter(expected.may)
    if [post for post in posts if post not in may] != list(expected.must):
        yield f"the file holds {len(posts)} posts, not the {len(expected.must)} that it must"
    if Counter(post for post in posts if post in may) - may:
        yield "the file holds a post twice"
    if (task.posts, task.done, task.total) != (len(posts),) * 3:
        yield f"the ledger counts {task.posts} posts, {task.done} of {task.total} done"
    file.seek(0)
    if _undisturbed(task, expected.username, posts) != file.read():
        yield "the file is not byte for byte what an undisturbed attempt writes"


def _undisturbed(task: Task, username: str, posts: list[Pair]) -> bytes:
    return documents.whole(username, cast("datetime", task.started_at), posts)


def _bucket(wiring: Wiring, tasks: Iterable[Task]) -> Iterator[str]:
    """Nothing is in the bucket but published files."""
    published = {
        task.object_key
        for task in tasks
        if task.status == "succeeded" and task.gone_at is None and task.object_key
    }
    s3, bucket = wiring.storage._s3, wiring.storage.bucket
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for one in page.get("Contents", []):
            if one["Key"] not in published:
                yield f"the ledger does not know the object {one['Key']}"
    for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        for one in page.get("Uploads", []):
            yield f"an unfinished upload is left: {one['Key']}"


def _redis(wiring: Wiring) -> Iterator[str]:
    """Nothing is in Redis but what ends by itself and RQ's constant bookkeeping."""
    redis: Any = wiring.queue.redis
    for key in sorted(raw.decode() for raw in redis.scan_iter(count=1000)):
        rules = [ttl for form, ttl in REDIS_KEYS.items() if re.fullmatch(form, key)]
        if not rules:
            yield f"Redis still holds {key}"
        elif rules[0] is not None and not -1 < redis.ttl(key) <= rules[0]:
            yield f"Redis holds {key} for {redis.ttl(key)} s"
