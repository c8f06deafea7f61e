"""What a long queue and a large table do to a request: nothing."""

from collections.abc import Iterator

from chalicelib.wiring import Wiring
from tests.bench.bench import NAMES, Bench, seconds
from tests.bench.figures import Bound, Row
from tests.bench.worker_pool import enqueue
from tests.harness import seeds

SWEEP_WITHIN_S = 1.0
FLAT = 1.2
"""How many times a request to the small ledger one to the large ledger may take."""

FEW_TASKS = 100
FEW_POSTS = 1_000
"""The posts of a user in either table, and all there are in the small one."""

WHAT = {
    "post": "POST /v1/exports",
    "poll": "GET /v1/tasks/{id}",
    "list": "first page of posts",
    "claim": "claim",
}


def rows(bench: Bench) -> Iterator[Row]:
    """The long queue on both databases, the large table on PostgreSQL."""
    for database in NAMES:
        yield from _queue(bench, database)
    yield from _table(bench)


def _queue(bench: Bench, database: str) -> Iterator[Row]:
    many = bench.sizes.queued
    few = min(FEW_TASKS, many // 2)
    bench.say(f"{NAMES[database]}: queueing {many:,} tasks")
    small, large = (bench.environment(database) for _ in range(2))
    _fill_queue(bench.wiring(small), few)
    _fill_queue(bench.wiring(large), many)
    bench.say(f"{NAMES[database]}: sweeping and polling")
    with bench.child(large) as child:
        first = child("measurements.sweep")
        assert first["counts"]["enqueued"] == 0, first
        rounds = range(max(3, bench.sizes.rounds))
        passes = [seconds(child, "measurements.sweep") for _ in rounds]
        what, count = ["poll"], bench.sizes.answers
        polls = child("answers.grow", small=small, large=large, what=what, count=count)
    yield Row(
        group="growth",
        name=f"sweep pass, {many:,} queued tasks on {NAMES[database]}",
        unit="s",
        samples=passes,
        bound=Bound(SWEEP_WITHIN_S, of="value"),
    )
    yield Row(
        group="growth",
        name=f"poll of the last of {many:,} queued tasks on {NAMES[database]}",
        unit="ms",
        samples=polls["poll"],
        peer=f"the last of {few}",
        peer_samples=polls["small_poll"],
        bound=Bound(FLAT),
        note="position in the queue included",
    )


def _fill_queue(wiring: Wiring, count: int) -> None:
    users = seeds.make_users(wiring.database, count)
    task_ids = seeds.queue_tasks(wiring.database, users, "export_posts")
    enqueue(wiring, [(task_id, "export_posts") for task_id in task_ids])
    seeds.settle(wiring.database)


def _table(bench: Bench) -> Iterator[Row]:
    many = bench.sizes.posts
    bench.say(f"a table of {many:,} posts")
    small = _with_posts(bench, min(FEW_POSTS, many))
    large = _with_posts(bench, many)
    bench.say("requests to a small table and to a large one")
    with bench.child(large) as child:
        figures = child(
            "answers.grow", small=small, large=large, what=list(WHAT), count=bench.sizes.answers
        )
    for what, name in WHAT.items():
        yield Row(
            group="growth",
            name=f"{name}, {many:,} posts in the table",
            unit="ms",
            samples=figures[what],
            peer=f"{min(FEW_POSTS, many):,} posts",
            peer_samples=figures[f"small_{what}"],
            bound=Bound(FLAT),
        )


def _with_posts(bench: Bench, count: int) -> dict[str, str]:
    """A ledger whose users have the same number of posts each, however many there are."""
    environment = bench.environment("postgresql")
    ledger = bench.wiring(environment).database
    users = seeds.make_users(ledger, max(1, count // FEW_POSTS))
    seeds.make_posts(ledger, users, count)
    seeds.settle(ledger)
    return environment
