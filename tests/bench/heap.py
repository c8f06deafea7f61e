"""Posts as they lie in life: among those of others, and not in the order of their times."""

from collections.abc import Iterator
from functools import partial

from tests.bench.bench import NAMES, Bench, in_turns, seconds
from tests.bench.figures import Bound, Row
from tests.harness import seeds

USERS = 10
"""Each has a tenth of all posts; one of them exports."""

AGAINST_CURSOR = 0.7
"""How many times the engine may take what an application needs to read the same rows."""

TO_FILE = 1.3
"""How many times the engine `export --out` may take."""

ORDERS = {"among others'": False, "among others', loaded out of order": True}


def rows(bench: Bench) -> Iterator[Row]:
    """The engine beside a plain cursor, and a file beside the engine, on both databases."""
    for database in NAMES:
        for how, scattered in ORDERS.items():
            yield from _rows(bench, database, how, scattered=scattered)


def _rows(bench: Bench, database: str, how: str, *, scattered: bool) -> Iterator[Row]:
    many, environment = bench.sizes.posts, bench.environment(database)
    bench.say(f"{NAMES[database]}: writing {many:,} posts {how}")
    ledger = bench.wiring(environment).database
    users = seeds.make_users(ledger, USERS)
    seeds.make_posts(ledger, users, many, scattered=scattered)
    seeds.settle(ledger)
    bench.say(f"{NAMES[database]}: the engine, a plain cursor and a file")
    with bench.child(environment) as ours, bench.child(environment) as theirs:
        engine, cursor, file = in_turns(
            bench.sizes.rounds,
            partial(seconds, ours, "measurements.engine", user_id=users[3]),
            partial(seconds, theirs, "measurements.cursor", user_id=users[3]),
            partial(seconds, ours, "measurements.to_file", user_id=users[3]),
        )
    what = f"{many // USERS:,} posts on {NAMES[database]} {how}"
    yield Row(
        group="heap",
        name=f"engine, {what}",
        unit="s",
        samples=engine,
        peer="a plain cursor",
        peer_samples=cursor,
        bound=Bound(AGAINST_CURSOR),
    )
    yield Row(
        group="heap",
        name=f"export --out, {what}",
        unit="s",
        samples=file,
        peer="the engine",
        peer_samples=engine,
        bound=Bound(TO_FILE),
    )
