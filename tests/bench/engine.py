"""The export engine beside the limit of the database's driver, and beside the way of an ORM."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from tests.bench.bench import NAMES, Bench, in_turns, seconds
from tests.bench.figures import Bound, Row, memory

LIMITS = {"postgresql": 2.5, "sqlite": 1.3}
"""How many times the raw limit the engine may take."""

RAW = {"postgresql": "raw binary COPY", "sqlite": "raw fetch"}
ORM_FACTOR = 5
SLOW = {
    "peer": "ORM, yield_per, orjson",
    "faster": True,
    "bound": Bound(ORM_FACTOR, least=True),
}


def rows(bench: Bench) -> Iterator[Row]:
    """Time against the limit and the ORM, and peak memory, on both databases."""
    for database in NAMES:
        yield from _rows(bench, database)


def _rows(bench: Bench, database: str) -> Iterator[Row]:
    sizes = bench.sizes
    environment = bench.environment(database)
    ledger = bench.wiring(environment).database
    users = bench.authors(ledger, [sizes.engine, sizes.orm, *sizes.memory])
    limit = Bound(LIMITS[database])
    compared: list[tuple[str, int, int, dict[str, Any]]] = [
        ("raw", sizes.engine, sizes.rounds, {"peer": RAW[database], "bound": limit}),
        ("orm", sizes.orm, max(1, sizes.rounds - 1), SLOW),
    ]
    with bench.child(environment) as ours, bench.child(environment) as theirs:
        for peer, posts, rounds, about in compared:
            bench.say(f"{NAMES[database]}: the engine and {about['peer']}")
            samples, peer_samples = in_turns(
                rounds,
                partial(seconds, ours, "measurements.engine", user_id=users[posts]),
                partial(seconds, theirs, f"measurements.{peer}", user_id=users[posts]),
            )
            yield Row(
                group="engine",
                name=f"engine, {posts:,} posts on {NAMES[database]}",
                unit="s",
                samples=samples,
                peer_samples=peer_samples,
                **about,
            )
    bench.say(f"{NAMES[database]}: the engine's memory")
    peaks = {}
    for posts in sizes.memory:
        with bench.child(environment) as child:
            peaks[posts] = child("measurements.engine", user_id=users[posts])["peak_mib"]
    yield memory(
        peaks,
        group="engine",
        name=f"peak memory, {{}} posts on {NAMES[database]}",
        small=sizes.memory[0],
        large=sizes.memory[-1],
        note="each in a process of its own, Python and libraries included",
    )
