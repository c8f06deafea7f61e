"""The archive beside what it is made of: the engine alone, and deflate alone."""

from collections.abc import Iterator
from functools import partial

from tests.bench.bench import NAMES, Bench, Measure, in_turns, seconds
from tests.bench.figures import Bound, Row

FACTOR = 1.5
MOST_MIB = 160


def rows(bench: Bench) -> Iterator[Row]:
    """Time and peak memory of an archive of JSON, on both databases."""
    for database in NAMES:
        yield from _rows(bench, database)


def _rows(bench: Bench, database: str) -> Iterator[Row]:
    posts, environment = bench.sizes.engine, bench.environment(database)
    user_id = bench.authors(bench.wiring(environment).database, [posts])[posts]
    bench.say(f"{NAMES[database]}: the archive, the engine and deflate")
    with bench.child(environment) as ours, bench.child(environment) as theirs:
        samples, peer_samples = in_turns(
            bench.sizes.rounds,
            partial(seconds, ours, "measurements.archive", user_id=user_id),
            partial(_larger, theirs, user_id),
        )
    yield Row(
        group="archive",
        name=f"archive, {posts:,} posts on {NAMES[database]}",
        unit="s",
        samples=samples,
        peer="the larger of engine and deflate",
        peer_samples=peer_samples,
        bound=Bound(FACTOR),
    )
    with bench.child(environment) as child:
        peak = child("measurements.archive", user_id=user_id)["peak_mib"]
    yield Row(
        group="archive",
        name=f"peak memory, archive of {posts:,} posts on {NAMES[database]}",
        unit="MiB",
        samples=[peak],
        bound=Bound(MOST_MIB, of="value"),
        note="in a process of its own, Python and libraries included",
    )


def _larger(measure: Measure, user_id: int) -> float:
    names = ("measurements.engine", "measurements.deflate")
    return max(seconds(measure, name, user_id=user_id) for name in names)
