"""What is timed inside a child process: the export's parts, the export, and what it is up against.

These functions are all that the benchmark knows of the engine.
"""

import hashlib
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import psycopg
import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.exports.archive import Choice
from chalicelib.microblog.datasets import POSTS
from chalicelib.microblog.models import Post
from chalicelib.tasks import leases
from chalicelib.tasks.registry import kind_of
from chalicelib.values.fields import format_time
from chalicelib.wiring import Wiring
from tests.harness.ledgers import JSON, launch, the_email, the_export, the_task
from worker.attempts import Attempt, Heartbeat, perform
from worker.export import local
from worker.export.archive.archive import About
from worker.export.archive.container import LEVEL
from worker.export.archive.plan import Plan
from worker.export.archive.plan import archive as archive_of
from worker.export.document import Document
from worker.export.pages import Source
from worker.export.publication import add
from worker.export.upload import Upload

Figures = dict[str, Any]

YIELD_PER = 1000
"""What SQLAlchemy's documentation uses; 500 to 5,000 make no difference that matters here."""

FETCH_ROWS = 1000

SNAPSHOT = 2**62
"""A number that no post reaches: all of a user's posts."""


@contextmanager
def timed() -> Iterator[Figures]:
    """Note how long the block took, and how much of a core it needed for that."""
    figures: Figures = {}
    began, cpu = time.perf_counter(), time.process_time()
    yield figures
    figures["seconds"] = time.perf_counter() - began
    figures["cpu_s"] = time.process_time() - cpu


def warm(wiring: Wiring) -> Figures:
    """Make the clients and connect, as a worker has before its first job."""
    wiring.object_store.warm_up()
    wiring.email_service.warm_up()
    with wiring.database.read() as session:
        session.execute(sa.select(1))
    return {}


def engine(wiring: Wiring, user_id: int) -> Figures:
    """The export's bytes out of the database, hashed and thrown away."""
    source = Source(wiring.database, POSTS, user_id, SNAPSHOT)
    written = Document(source, "bench", datetime.now(UTC))
    digest, rows, size_bytes = hashlib.sha256(), 0, 0

    def add(data: bytes) -> None:
        nonlocal size_bytes
        digest.update(data)
        size_bytes += len(data)

    with timed() as figures, closing(written.pieces(None, {"posts": 0})) as pieces:
        add(written.head())
        for piece in pieces:
            for data in piece.data:
                add(data)
            rows += piece.rows["posts"]
        add(written.tail({"posts": rows}))
        digest.hexdigest()
    return {**figures, "posts": rows, "bytes": size_bytes}


def to_file(wiring: Wiring, user_id: int) -> Figures:
    """What `export --out` does, once it has started."""
    with TemporaryDirectory() as folder, timed() as figures:
        writer = local.document(wiring.database, POSTS, user_id=user_id, now=wiring.now())
        local.write_file(writer, Path(folder) / "posts.json", progress=lambda _: None)
    return figures


def archive(wiring: Wiring, user_id: int, formats: Sequence[str] = ("json",)) -> Figures:
    """The archive's bytes out of the database, compressed, hashed and thrown away."""
    plan = Choice((POSTS,), formats=tuple(formats), viewer=False)
    source = Source(wiring.database, POSTS, user_id, SNAPSHOT)
    about = About("bench", datetime.now(UTC))
    written = archive_of(Plan(about, plan, [source], "en", "https://example.com"))
    digest, rows, size_bytes = hashlib.sha256(), {"posts": 0}, 0
    with timed() as figures, closing(written.pieces(None, rows)) as pieces:
        for piece in pieces:
            for data in piece.data:
                digest.update(data)
                size_bytes += len(data)
            add(rows, piece.rows)
        digest.update(written.tail(rows))
    return {**figures, **rows, "bytes": size_bytes}


def deflate(wiring: Wiring, user_id: int) -> Figures:
    """The same document, compressed as gzip does, from memory and thrown away."""
    written = Document(
        Source(wiring.database, POSTS, user_id, SNAPSHOT), "bench", datetime.now(UTC)
    )
    with closing(written.pieces(None, {"posts": 0})) as pieces:
        document = [data for piece in pieces for data in piece.data]
    packer, size_bytes = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS), 0
    with timed() as figures:
        for data in document:
            size_bytes += len(packer.compress(data))
        size_bytes += len(packer.flush())
    return {**figures, "bytes": size_bytes}


def raw(wiring: Wiring, user_id: int) -> Figures:
    """The limit: the same columns in the same order out of the driver, with nothing done to them.

    Binary COPY on PostgreSQL, a cursor of sqlite3's on SQLite.
    """
    select = "SELECT body, timestamp, id FROM posts WHERE user_id = {} ORDER BY timestamp, id"
    statement = select.format(user_id)
    read = _copy if wiring.settings.database_url.startswith("postgresql") else _fetch
    with timed() as figures:
        read(wiring.settings.database_url, statement)
    return figures


def cursor(wiring: Wiring, user_id: int) -> Figures:
    """What an application reads without an engine: rows of body and time, some thousand at a time.

    A server-side cursor on PostgreSQL, a cursor of sqlite3's on SQLite.
    """
    statement = (
        f"SELECT body, timestamp FROM posts WHERE user_id = {user_id} ORDER BY timestamp, id"
    )
    url = wiring.settings.database_url
    with timed() as figures:
        if not url.startswith("postgresql"):
            _fetch(url, statement)
            return figures
        with (
            psycopg.connect(url.replace("+psycopg", "", 1)) as connection,
            connection.cursor(name="posts") as rows,
        ):
            rows.execute(statement)
            while rows.fetchmany(FETCH_ROWS):
                pass
    return figures


def _copy(url: str, statement: str) -> None:
    conninfo = url.replace("+psycopg", "", 1)
    copied = f"COPY ({statement}) TO STDOUT (FORMAT BINARY)".encode()
    with (
        psycopg.connect(conninfo) as connection,
        connection.cursor() as cursor,
        cursor.copy(copied) as rows,
    ):
        for _ in rows:
            pass


def _fetch(url: str, statement: str) -> None:
    import sqlite3  # noqa: PLC0415 - a process that measures us tells SQLite something before

    with closing(sqlite3.connect(sa.make_url(url).database or "")) as connection:
        cursor = connection.execute(statement)
        while cursor.fetchmany(FETCH_ROWS):
            pass


def orm(wiring: Wiring, user_id: int) -> Figures:
    """What one writes first: objects of the ORM, a batch at a time, and orjson."""
    statement = (
        sa.select(Post)
        .where(Post.user_id == user_id)
        .order_by(Post.timestamp, Post.id)
        .execution_options(yield_per=YIELD_PER)
    )
    digest = hashlib.sha256()
    with timed() as figures, so.Session(wiring.database.engine) as session:
        for post in session.scalars(statement):
            shown = {"body": post.body, "timestamp": format_time(post.timestamp)}
            digest.update(orjson.dumps(shown))
            digest.update(b",\n")
    return figures


def upload(wiring: Wiring, size_bytes: int) -> Figures:
    """So many bytes into the bucket, part by part, with nothing else to do."""
    growing = Upload(wiring.object_store, f"exports/bench/{time.time_ns()}/posts.json", JSON)
    with timed() as figures:
        while size_bytes > growing.part_bytes:
            size_bytes -= growing.part_bytes
            growing.add(bytes(growing.part_bytes))
        growing.finish(bytes(size_bytes))
    return figures


def whole(wiring: Wiring, user_id: int) -> Figures:
    """All that a worker does for an export, email included, from the claim on."""
    database = wiring.database
    task_id = launch(database, user_id, max_attempts=1)
    with timed() as figures:
        perform(task_id, wiring)
    export, email = the_export(database, task_id), the_email(database, task_id)
    assert the_task(database, task_id).status == "succeeded"
    assert email is not None
    assert email.state == "sent"
    assert export.rows is not None
    return {**figures, "posts": export.rows["posts"], "bytes": export.size_bytes}


def progress(wiring: Wiring, user_id: int, times: int) -> Figures:
    """What an attempt spends on telling how far it is, once; in SQL and for RQ's tools."""
    task_id = launch(wiring.database, user_id, max_attempts=1)
    claimed = leases.claim(wiring.database, task_id, worker="bench", lease_s=60, now=wiring.now())
    assert claimed is not None
    task, lease, heartbeat = claimed.task, claimed.lease, Heartbeat(claimed.lease, interval_s=60)
    attempt = Attempt(task, kind_of(task), claimed.facts, wiring, lease, heartbeat)
    with timed() as figures:
        for number in range(times):
            attempt.checkpoint(number, times, {"key": "exports/bench/posts.json"})
    lease.fail("bench", "It is over.", now=wiring.now())
    return {"seconds": figures["seconds"] / times}


def sweep(wiring: Wiring) -> Figures:
    """One pass of the reconciler."""
    with timed() as figures:
        counts = wiring.reconciler.sweep(now=wiring.now())
    return {**figures, "counts": counts}
