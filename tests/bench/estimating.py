"""How long it takes to tell how much there is, where there is very much."""

from collections.abc import Iterator

from tests.bench.bench import NAMES, Bench
from tests.bench.figures import Bound, Row

MOST_MS = 50


def rows(bench: Bench) -> Iterator[Row]:
    """The list of datasets with its estimates, of somebody with very many posts."""
    posts = bench.sizes.posts
    for database in NAMES:
        environment = bench.environment(database)
        user_id = bench.authors(bench.wiring(environment).database, [posts])[posts]
        bench.say(f"{NAMES[database]}: estimates")
        with bench.child(environment) as child:
            figures = child("answers.datasets", user_id=user_id, count=bench.sizes.answers)
        yield Row(
            group="datasets",
            name=f"GET /v1/datasets, {posts:,} posts on {NAMES[database]}",
            unit="ms",
            samples=figures["datasets"],
            bound=Bound(MOST_MS, of="value"),
            note=f"it says {figures['rows']:,} posts",
        )
