"""What must be true of every accepted task after whatever happened.

The oracle believes nobody: it reads the ledger, lists the bucket, reads each published file, counts
the emails that SES accepted, and looks at every key in Redis.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import IO, Any, cast
from zipfile import ZipFile

import ijson
import sqlalchemy as sa

from chalicelib.adapters.job_queue import JOB_TTL_S
from chalicelib.db.engine import Database
from chalicelib.db.models import (
    AuditEntry,
    ExportFile,
    ImportRejection,
    ImportRow,
    ImportUpload,
    Notification,
    OutboxMessage,
    Task,
    User,
)
from chalicelib.exports.archive import Archive
from chalicelib.exports.kinds import TOPIC, export_of
from chalicelib.microblog.datasets import POSTS
from chalicelib.microblog.models import Post
from chalicelib.tasks.registry import TASKS
from chalicelib.values.fields import format_time
from chalicelib.wiring import Wiring
from tests.faults import emails, hooks
from tests.faults.emails import Email
from tests.faults.settling import Ledger
from tests.harness import documents
from tests.harness.archives import written
from worker.export.archive.archive import About
from worker.export.archive.plan import Plan
from worker.export.archive.plan import archive as planned
from worker.export.archive.verification import verify as verify_archive
from worker.export.pages import Source
from worker.export.verify import verify

Pair = tuple[str, str]
"""A post: its body and its timestamp as the API writes it."""

ERASED = "erased"
"""The outcome of a task whose account was erased."""

SYMBOLS = {
    "requested": "r", "started": "s", "returned": "b", "cancelling": "g",
    "succeeded": "S", "failed": "F", "cancelled": "C",
}  # fmt: skip
"""The audit's events about a task's state, as symbols."""

HISTORY = r"(r(sb)*(C|s[SFC]|sgC))*"
"""How they may follow each other: every request has one ending; every claim is started once and
ends once, with the ending or because the task was returned to the queue."""

REDIS_KEYS = {
    r"rq:queues|rq:workers(:.*)?|rq:worker:.*": None,
    r"rq:(finished|failed):.*|rq:clean_registries:.*": None,
    r"carryout:[^:]*:outbox": None,
    r"rq:job:.*|rq:results:.*": JOB_TTL_S,
}
"""Keys that may be left in Redis, and the longest time to live of those that must have one."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a client may rely on who got a 202 for a task.

    Attributes:
        user_id: Whose task it is.
        username: The same, by name.
        must: The posts that must be in the file, in the order of an export.
        may: Posts that may be in it: they were deleted while it was written.
        outcomes: The states that the task may end in; `ERASED` if the account was erased.
        asked_again: How often, at most, the user asked to have the last email sent once more.
        imports: What the file of an import brings along; the account held `must` before it.
    """

    user_id: int
    username: str
    must: Sequence[Pair] = ()
    may: Collection[Pair] = ()
    outcomes: Collection[str] = ("succeeded",)
    asked_again: int = 0
    imports: "FileToImport | None" = None


@dataclass(frozen=True)
class FileToImport:
    """What a file holds.

    Attributes:
        missing: The posts that the account lacks, in the order in which they are added.
        held: How many posts it has already.
        rejected: The positions of those that are left out.
    """

    missing: Sequence[Pair]
    held: int
    rejected: Sequence[int]


@dataclass(frozen=True)
class Promise:
    """An email about an account that somebody was promised with a 202: its topic and address."""

    topic: str
    address: str


def violations(
    wiring: Wiring,
    mail_dir: Path,
    *,
    accepted: Mapping[str, Expected],
    promised: Iterable[Promise] = (),
    samples: Iterable[tuple[str, int]] = (),
    received: Collection[hooks.Received] | None = None,
) -> list[str]:
    """Find everything that is not as it must be, once all is settled.

    Args:
        wiring: Clients of the ledger, Redis and the bucket.
        mail_dir: Every email that SES accepted, as the emulator keeps them.
        accepted: What was promised about tasks, by task id.
        promised: What was promised about accounts that were not erased.
        samples: Percentages as somebody saw them, in the order of their time.
        received: What the receiver of the one webhook got, which hears of all these tasks; None
            where there is no webhook.

    Returns:
        A sentence for each; none when all is well.
    """
    ledger = Ledger.read(wiring.database)
    sent = emails.accepted_by_ses(mail_dir)
    found = list(_fallen(samples))
    for task_id, expected in accepted.items():
        task = ledger.tasks.get(task_id)
        mine = [email for email in sent if email.unique.startswith(f"{task_id}.")]
        if task is None:
            faults = _gone(wiring.database, expected, mine)
        else:
            faults = _one(wiring, ledger, task, expected, mine)
        found += [f"task {task_id}: {fault}" for fault in faults]
    found += _accounts(ledger, promised, sent)
    if received is not None:
        found += delivery_faults(wiring.database, ledger, received)
    found += _unconfirmed(ledger)
    found += _bucket(wiring, ledger)
    found += _redis(wiring)
    found += [f"not settled: {left}" for left in ledger.unsettled()]
    return found


def _fallen(samples: Iterable[tuple[str, int]]) -> Iterator[str]:
    last: dict[str, int] = {}
    for task_id, percent in samples:
        if percent < last.get(task_id, 0):
            yield f"task {task_id}: progress fell from {last[task_id]} to {percent}"
        last[task_id] = percent


def _gone(database: Database, expected: Expected, sent: Collection[Email]) -> Iterator[str]:
    if ERASED not in expected.outcomes:
        yield "lost: the ledger does not know it"
        return
    if len(sent) > 1 + expected.asked_again:
        yield f"{len(sent)} emails for a task that was erased"
    erased = sa.select(sa.func.count()).where(
        AuditEntry.event == "erased", AuditEntry.user_id == expected.user_id
    )
    with database.read() as session:
        if session.scalar(erased) != 1:
            yield "the audit does not know that its account was erased"


def _one(
    wiring: Wiring, ledger: Ledger, task: Task, expected: Expected, sent: Collection[Email]
) -> Iterator[str]:
    if task.status not in expected.outcomes:
        yield f"ended as {task.status} ({task.error_code}), not {'/'.join(expected.outcomes)}"
    export, messages = ledger.exports.get(task.id), ledger.messages_about(task.id)
    yield from _outcome(task)
    yield from _history(wiring.database, task)
    yield from _audit(wiring.database, task, export, messages)
    if export_of(task) is None:
        if messages or sent:
            yield "is no export and was emailed about"
        if expected.imports is not None:
            upload = ledger.imports.get(task.id)
            yield from _imported(wiring, task, upload, expected, expected.imports)
        return
    again = expected.asked_again
    about_export = [one for one in messages if one.topic == TOPIC]
    yield from emails.export_faults(task, export, about_export, sent, asked_again=again)
    if task.status == "succeeded" and export is None:
        yield "succeeded without an export"
    elif export is not None and task.status == "succeeded" and export.gone_at is None:
        yield from _file(wiring, task, export, expected)
    elif export is not None and task.status != "succeeded" and export.object_key is not None:
        yield f"is {task.status} and names a file"


def _imported(
    wiring: Wiring,
    task: Task,
    upload: ImportUpload | None,
    expected: Expected,
    file: FileToImport,
) -> Iterator[str]:
    """All of the file is in the account, or nothing; and nothing else is left of it."""
    if upload is None:
        yield "lost its import"
        return
    if upload.upload_gone_at is None or upload.staged:
        yield "is over, its import is not"
    added = list(file.missing) if task.status == "succeeded" else []
    with wiring.database.read() as session:
        posts = session.scalars(sa.select(Post).order_by(Post.id)).all()
        left = [session.scalars(sa.select(one)).all() for one in (ImportRow, ImportRejection)]
    held = [(one.body, format_time(one.timestamp)) for one in posts]
    if held[len(expected.must) :] != added or Counter(held) != Counter([*expected.must, *added]):
        yield f"the account holds {len(held)} posts, of which {len(added)} must be new"
    if any(left):
        yield "staged rows are left"
    if task.status == "succeeded":
        yield from _report(wiring, task, upload, file)


def _report(wiring: Wiring, task: Task, upload: ImportUpload, file: FileToImport) -> Iterator[str]:
    read = len(file.missing) + file.held + len(file.rejected)
    counts = (read, len(file.missing), file.held, len(file.rejected))
    if (upload.read, upload.imported, upload.skipped, upload.rejected) != counts:
        yield f"counts {upload.read}, {upload.imported}, {upload.skipped}, {upload.rejected}"
    names = ("read", "imported", "skipped", "rejected")
    if tuple((task.result or {}).get(name) for name in names) != counts:
        yield f"its result says {task.result}"
    lines = b"".join(wiring.object_store.read(upload.report_key or "")).splitlines()
    if [json.loads(line)["position"] for line in lines] != list(file.rejected):
        yield f"its report has {len(lines)} lines"


def _outcome(task: Task) -> Iterator[str]:
    if task.finished_at is None or task.lease_until is not None or task.checkpoint is not None:
        yield "is not wound up"
    if (task.percent == 100) != (task.status == "succeeded"):
        yield f"is {task.status} at {task.percent} %"
    if (task.error_code is not None) != (task.status == "failed"):
        yield f"is {task.status} with the error {task.error_code}"
    if task.failures > task.max_attempts:
        yield f"was tried {task.failures} times, {task.max_attempts} were allowed"


def _events(database: Database, task: Task) -> Sequence[str]:
    with database.read() as session:
        entries = sa.select(AuditEntry.event).where(AuditEntry.task_id == task.id)
        return session.scalars(entries.order_by(AuditEntry.id)).all()


def _history(database: Database, task: Task) -> Iterator[str]:
    """One ending for each request, and the newest notification tells the newest state."""
    events = [event for event in _events(database, task) if event in SYMBOLS]
    symbols = "".join(SYMBOLS[event] for event in events)
    if symbols[-1:] not in {"S", "F", "C"}:
        yield "has no ending in the audit"
    elif re.fullmatch(HISTORY, symbols) is None:
        yield f"had these requests and endings: {', '.join(events)}"
    if events.count("started") != task.claim:
        yield f"was claimed {task.claim} times, started {events.count('started')} times"
    with database.read() as session:
        news = session.get(Notification, (task.user_id, "task_progress", task.id))
    if news is None or news.data["status"] != task.status:
        yield f"is {task.status}, its notification says {news and news.data['status']}"


def _audit(
    database: Database,
    task: Task,
    export: ExportFile | None,
    messages: Collection[OutboxMessage],
) -> Iterator[str]:
    """What happened to the file and to the emails is in the audit, once."""
    events = Counter(_events(database, task))
    published = events["succeeded"] if export_of(task) else 0
    if events["published"] != published:
        yield f"was published {events['published']} times in the audit, not {published}"
    gone = export is not None and export.gone_at is not None
    if events["expired"] + events["deleted"] != gone:
        yield f"lost its file {events['expired'] + events['deleted']} times in the audit"
    told = Counter(emails.EVENTS[one.state] for one in messages if one.state in emails.EVENTS)
    noted = Counter({event: events[event] for event in emails.EVENTS.values() if events[event]})
    if noted != told:
        yield f"the audit says {dict(noted)} of its emails, the outbox {dict(told)}"


def _accounts(
    ledger: Ledger, promised: Iterable[Promise], sent: Collection[Email]
) -> Iterator[str]:
    messages = ledger.messages_about(None)
    kept = Counter(Promise(one.topic, one.address or "") for one in messages)
    for promise, count in (Counter(promised) - kept).items():
        yield f"lost: {count} messages ({promise.topic}) that were promised to {promise.address}"
    yield from emails.account_faults(messages, sent)


def delivery_faults(
    database: Database, ledger: Ledger, received: Collection[hooks.Received]
) -> Iterator[str]:
    """What is wrong with the deliveries to the one webhook there is, which hears of all tasks."""
    tasks = list(ledger.tasks.values())
    endings = {
        task.id: [event for event in _events(database, task) if event in hooks.ENDINGS]
        for task in tasks
    }
    yield from hooks.delivery_faults(tasks, endings, ledger.deliveries, received)


def _unconfirmed(ledger: Ledger) -> Iterator[str]:
    for one in ledger.messages:
        if one.state == "unconfirmed" and ledger.users[one.user_id].confirmed_at is not None:
            yield f"lost: message {one.id} waits for a confirmation that was given"


def _file(wiring: Wiring, task: Task, export: ExportFile, expected: Expected) -> Iterator[str]:
    key = export.object_key
    if key is None or wiring.object_store.size(key) is None:
        yield "the published file is missing"
        return
    with TemporaryFile() as file:
        digest = hashlib.sha256()
        for piece in wiring.object_store.read(key):
            digest.update(piece)
            file.write(piece)
        if (export.size_bytes, export.sha256) != (file.tell(), digest.hexdigest()):
            yield "size or SHA-256 are not those of the file"
        if task.name == "export_archive":
            yield from _archive(wiring, file, task, export, expected)
        else:
            yield from _contents(file, task, export, expected)


def _archive(
    wiring: Wiring, file: IO[bytes], task: Task, export: ExportFile, expected: Expected
) -> Iterator[str]:
    yield from verify_archive(file, [POSTS]).faults  # type: ignore[arg-type]
    with ZipFile(file) as found, found.open("data/posts.json") as member, TemporaryFile() as posts:
        copyfileobj(member, posts)
        yield from _contents(posts, task, export, expected)
    file.seek(0)
    if _undisturbed_archive(wiring, task, export) != file.read():
        yield "the archive is not byte for byte what an undisturbed attempt writes"


def _undisturbed_archive(wiring: Wiring, task: Task, export: ExportFile) -> bytes:
    kind = cast("Archive", TASKS[task.name])
    choice, database = kind.choice(task.params), wiring.database
    with database.read() as session:
        user = session.get_one(User, task.user_id)
    snapshot = export.snapshot or {}
    sources = [
        Source(database, one, user.id, one.snapshot_from_json(snapshot[one.name]))
        for one in choice.datasets
    ]
    about = About(user.username, cast("datetime", task.started_at), task.id)
    plan = Plan(about, choice, sources, user.language, wiring.settings.public_url)
    return written(planned(plan))


def _contents(file: IO[bytes], task: Task, export: ExportFile, expected: Expected) -> Iterator[str]:
    file.seek(0)
    yield from verify(file, [POSTS]).faults  # type: ignore[arg-type]
    file.seek(0)
    posts = [(post["body"], post["timestamp"]) for post in ijson.items(file, "posts.item")]
    may = Counter(expected.may)
    if [post for post in posts if post not in may] != list(expected.must):
        yield f"the file holds {len(posts)} posts, not the {len(expected.must)} that it must"
    if Counter(post for post in posts if post in may) - may:
        yield "the file holds a post twice"
    rows = export.rows or {}
    if (rows.get("posts"), task.done, task.total) != (len(posts), *2 * [sum(rows.values())]):
        yield f"the ledger counts {export.rows}, {task.done} of {task.total} done"
    file.seek(0)
    if _undisturbed(task, expected.username, posts) != file.read():
        yield "the file is not byte for byte what an undisturbed attempt writes"


def _undisturbed(task: Task, username: str, posts: list[Pair]) -> bytes:
    return documents.whole(username, cast("datetime", task.started_at), posts)


def _bucket(wiring: Wiring, ledger: Ledger) -> Iterator[str]:
    """Nothing is in the bucket but published files."""
    published = {
        export.object_key
        for export in ledger.exports.values()
        if ledger.tasks[export.task_id].status == "succeeded" and export.gone_at is None
    }
    published |= {upload.report_key for upload in ledger.imports.values()}
    s3, bucket = wiring.object_store._s3, wiring.object_store.bucket
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
