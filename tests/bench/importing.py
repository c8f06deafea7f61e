"""An import beside a bare load of the same rows: a COPY on PostgreSQL, `executemany` on SQLite."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import datetime
from functools import partial

import psycopg
import sqlalchemy as sa

from chalicelib.db.models import ACTIVE
from chalicelib.errors import TaskEnded
from chalicelib.tasks import requests
from chalicelib.wiring import Wiring
from tests.bench.bench import NAMES, Bench, in_turns, seconds
from tests.bench.figures import Bound, Row
from tests.bench.measurements import Figures, timed
from tests.harness import seeds
from tests.harness.ledgers import launch, the_export, the_task
from tests.harness.uploads import launch_import_of
from tests.harness.waiting import wait_until
from worker.attempts import perform

Loaded = tuple[int, datetime | str, str]
"""User, time as the driver has it, body."""

FACTOR = 3
MOST_MIB = 200
CANCEL_WITHIN_S = 2


def rows(bench: Bench) -> Iterator[Row]:
    """Time and peak memory of an import of an exported file, on both databases."""
    for database in NAMES:
        yield from _rows(bench, database)


def _rows(bench: Bench, database: str) -> Iterator[Row]:
    posts, environment = bench.sizes.engine, bench.environment(database, aws="moto")
    wiring = bench.wiring(environment)
    user_id = bench.authors(wiring.database, [posts])[posts]
    bench.say(f"{NAMES[database]}: exporting what is to be imported")
    task_id = launch(wiring.database, user_id)
    perform(task_id, wiring)
    key = the_export(wiring.database, task_id).object_key
    bench.say(f"{NAMES[database]}: the import and a bare load")
    with bench.child(environment) as ours, bench.child(environment) as theirs:
        samples, peer_samples = in_turns(
            bench.sizes.rounds,
            partial(seconds, ours, "importing.whole", key=key, posts=posts),
            partial(seconds, theirs, "importing.bare", user_id=user_id),
        )
    yield Row(
        group="import",
        name=f"import, {posts:,} posts on {NAMES[database]}",
        unit="s",
        samples=samples,
        peer={"postgresql": "bare COPY", "sqlite": "bare executemany"}[database],
        peer_samples=peer_samples,
        bound=Bound(FACTOR),
        note="from the claim to the outcome, moto included",
    )
    with bench.child(environment) as child:
        waits = [seconds(child, "importing.cancelled", key=key) for _ in range(bench.sizes.rounds)]
    yield Row(
        group="import",
        name=f"from a cancel to the end of the import on {NAMES[database]}",
        unit="s",
        samples=waits,
        bound=Bound(CANCEL_WITHIN_S, of="value"),
        note="requested while rows are staged",
    )
    with bench.child(environment) as child:
        peak = child("importing.whole", key=key, posts=posts)["peak_mib"]
    yield Row(
        group="import",
        name=f"peak memory, import of {posts:,} posts on {NAMES[database]}",
        unit="MiB",
        samples=[peak],
        bound=Bound(MOST_MIB, of="value"),
        note="in a process of its own, Python and libraries included",
    )


def whole(wiring: Wiring, key: str, posts: int) -> Figures:
    """All that a worker does for an import into an empty account, from the claim on."""
    database = wiring.database
    (user_id,) = seeds.make_users(database, 1)
    task_id = launch_import_of(wiring, user_id, key)
    perform(task_id, wiring)
    task = the_task(database, task_id)
    assert task.result is not None
    assert task.result["imported"] == posts
    assert task.started_at is not None
    assert task.finished_at is not None
    return {"seconds": (task.finished_at - task.started_at).total_seconds()}


def cancelled(wiring: Wiring, key: str) -> Figures:
    """From the request to cancel an import until nobody works on it any more."""
    database = wiring.database
    (user_id,) = seeds.make_users(database, 1)
    task_id = launch_import_of(wiring, user_id, key)
    with ThreadPoolExecutor(1) as pool:
        attempt = pool.submit(perform, task_id, wiring)
        wait_until(
            lambda: attempt.done() or the_task(database, task_id).percent > 1, "it is on its way"
        )
        began = time.perf_counter()
        with suppress(TaskEnded), database.write() as session:
            requests.cancel_task(session, task_id, lease_s=30, now=wiring.now())
        wait_until(lambda: the_task(database, task_id).status not in ACTIVE, "it is over")
        figures = {"seconds": time.perf_counter() - began}
        attempt.result()
    return figures


def bare(wiring: Wiring, user_id: int) -> Figures:
    """The same rows from memory into the same table, for another user."""
    (other,) = seeds.make_users(wiring.database, 1)
    url = wiring.settings.database_url
    load, rows = _LOADS[url.partition("+")[0].partition(":")[0]], _rows_of(wiring, user_id, other)
    with timed() as figures:
        load(url, rows)
    return figures


def _rows_of(wiring: Wiring, user_id: int, other: int) -> list[Loaded]:
    found = "SELECT timestamp, body FROM posts WHERE user_id = ? ORDER BY timestamp, id"
    mark = "%s" if wiring.database.engine.dialect.name == "postgresql" else "?"
    with wiring.database.read() as session:
        read = session.connection().exec_driver_sql(found.replace("?", mark), (user_id,))
        return [(other, timestamp, body) for timestamp, body in read]


def _copy(url: str, rows: list[Loaded]) -> None:
    with (
        psycopg.connect(url.replace("+psycopg", "", 1)) as connection,
        connection.cursor() as cursor,
        cursor.copy("COPY posts (user_id, timestamp, body) FROM STDIN (FORMAT binary)") as copy,
    ):
        copy.set_types(["int8", "timestamptz", "text"])
        for row in rows:
            copy.write_row(row)


def _insert(url: str, rows: list[Loaded]) -> None:
    import sqlite3  # noqa: PLC0415 - a process that measures us tells SQLite something before

    statement = "INSERT INTO posts (user_id, timestamp, body) VALUES (?, ?, ?)"
    with closing(sqlite3.connect(sa.make_url(url).database or "")) as connection:
        connection.execute("PRAGMA synchronous=NORMAL")
        with connection:
            connection.executemany(statement, rows)


_LOADS = {"postgresql": _copy, "sqlite": _insert}
