"""The export engine beside the limit of the database's driver, and beside the way of an ORM."""

from collections.abc import Iterator

from tests.bench import seeds
from tests.bench.bench import Bench
from tests.bench.figures import Bound, Row
from tests.bench.ground import DATABASES, in_turns

LIMITS = {"postgresql": 2.5, "sqlite": 2.8}
"""How many times the raw limit the engine may take."""

RAW = {"postgresql": "raw binary COPY", "sqlite": "raw fetch"}
ORM_FACTOR = 5
FLAT = 1.1
"""By how much the peak of memory may differ between a small export and a large one."""


def rows(bench: Bench) -> Iterator[Row]:
    """Time against the limit and the ORM, and peak memory, on both databases."""
    for database in DATABASES:
        yield from _rows(bench, database)


def _rows(bench: Bench, database: str) -> Iterator[Row]:
    sizes, ground = bench.sizes, bench.ground
    environment = ground.environment(database)
    ledger = ground.wiring(environment).database
    users = {}
    for count in sorted({sizes.engine, sizes.orm, *sizes.memory}):
        bench.say(f"{DATABASES[database]}: writing {count:,} posts")
        users[count] = seeds.make_users(ledger, 1)[0]
        seeds.make_posts(ledger, [users[count]], count)
    seeds.settle(ledger)
    where = f"on {DATABASES[database]}"
    with ground.child(environment) as ours, ground.child(environment) as theirs:
        for child in (ours, theirs):
            child.measure("subjects.warm")
        user_id = users[sizes.engine]
        bench.say(f"{DATABASES[database]}: the engine and the limit")
        engine, raw = in_turns(
            sizes.rounds,
            lambda: ours.seconds("subjects.engine", user_id=user_id),
            lambda: theirs.seconds("subjects.raw", user_id=user_id),
        )
        yield Row(
            group="engine",
            name=f"engine, {sizes.engine:,} posts {where}",
            unit="s",
            samples=engine,
            peer=RAW[database],
            peer_samples=raw,
            bound=Bound(LIMITS[database]),
        )
        user_id = users[sizes.orm]
        bench.say(f"{DATABASES[database]}: the engine and the ORM")
        engine, orm = in_turns(
            max(1, sizes.rounds - 1),
            lambda: ours.seconds("subjects.engine", user_id=user_id),
            lambda: theirs.seconds("subjects.orm", user_id=user_id),
        )
        yield Row(
            group="engine",
            name=f"engine, {sizes.orm:,} posts {where}",
            unit="s",
            samples=engine,
            peer="ORM, yield_per, orjson",
            peer_samples=orm,
            faster=True,
            bound=Bound(ORM_FACTOR, least=True),
        )
    yield _memory(bench, database, environment, users)


def _memory(bench: Bench, database: str, environment: dict[str, str], users: dict[int, int]) -> Row:
    bench.say(f"{DATABASES[database]}: the engine's memory")
    peaks = {}
    for count in bench.sizes.memory:
        with bench.ground.child(environment) as child:
            child.measure("subjects.warm")
            peaks[count] = child.measure("subjects.engine", user_id=users[count])["peak_mib"]
    small, large = bench.sizes.memory[0], bench.sizes.memory[-1]
    return Row(
        group="engine",
        name=f"peak memory, {large:,} posts on {DATABASES[database]}",
        unit="MiB",
        samples=[peaks[large]],
        peer=f"{small:,} posts",
        peer_samples=[peaks[small]],
        bound=Bound(FLAT),
        note="each in a process of its own, Python and libraries included",
        facts={"peak_mib_by_posts": {str(count): peak for count, peak in peaks.items()}},
    )
