"""One worker, one large export, and small ones that are requested just after it.

`python -m tests.bench.fairness --database postgresql --posts 5000000` measures how long the small
ones wait, and what their going first costs the large one beside a run in which it is alone.
"""

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import boto3
import click

from chalicelib.db.models import Task
from chalicelib.settings import Settings
from chalicelib.wiring import Wiring
from tests.harness import seeds
from tests.harness.ledgers import launch, the_export, the_task
from tests.harness.processes import worker
from tests.harness.servers import DATABASES, Servers
from tests.harness.waiting import wait_until

BUCKET = "fairness"
POSTS_OF_SMALL = 10
WITHIN_S = 3600


@dataclass(frozen=True)
class Fairness:
    """What came of it; times are in seconds.

    Attributes:
        alone_s: How long the large export took with nobody beside it.
        shared_s: How long it took with the others, waiting for them included.
        others_s: How long the others kept the worker, together.
        slower: The part by which the large one became slower by itself.
        slices: In how many claims it was made.
        small_p50_s: Half of the small ones were done after so long.
        small_p99_s: Likewise 99 of 100.
    """

    database: str
    posts: int
    alone_s: float
    shared_s: float
    others_s: float
    slower: float
    slices: int
    small_p50_s: float
    small_p99_s: float


def took_s(task: Task) -> float:
    """From the first claim to the outcome."""
    assert task.started_at is not None
    assert task.finished_at is not None
    return (task.finished_at - task.started_at).total_seconds()


def waited_s(task: Task) -> float:
    """From the request to the outcome."""
    assert task.finished_at is not None
    return (task.finished_at - task.created_at).total_seconds()


def is_over(wiring: Wiring, task_ids: Sequence[str]) -> bool:
    """Whether all of them have succeeded."""
    tasks = [the_task(wiring.database, one) for one in task_ids]
    bad = [one.error_code for one in tasks if one.status in {"failed", "cancelled"}]
    assert not bad, bad
    return all(one.status == "succeeded" for one in tasks)


def request(wiring: Wiring, user_id: int) -> str:
    """Launch an export as the API does, and enqueue its job."""
    task_id = launch(wiring.database, user_id, max_attempts=5)
    wiring.queue.hint(task_id, "export_posts")
    return task_id


def measure(environment: dict[str, str], *, posts: int, small: int) -> Fairness:
    """Make the large export alone, and again with the small ones behind it."""
    wiring = Wiring(Settings.from_mapping(environment))
    (large,) = seeds.make_users(wiring.database, 1)
    seeds.make_posts(wiring.database, [large], posts)
    others = seeds.make_users(wiring.database, small)
    seeds.make_posts(wiring.database, others, small * POSTS_OF_SMALL)
    seeds.settle(wiring.database)
    with worker(environment, log=Path(tempfile.mkdtemp()) / "worker.log"):
        wait_until(lambda: wiring.queue.workers_alive() == 1, "the worker listens")
        first = request(wiring, large)
        wait_until(lambda: is_over(wiring, [first]), "alone", within_s=WITHIN_S, every_s=1)
        second = request(wiring, large)
        wait_until(
            lambda: the_task(wiring.database, second).status == "running", "it runs", every_s=0.05
        )
        asked = [request(wiring, one) for one in others]
        wait_until(
            lambda: is_over(wiring, [second, *asked]), "together", within_s=WITHIN_S, every_s=1
        )
    alone, shared = (the_task(wiring.database, one) for one in (first, second))
    digests = [
        wiring.object_store.size(the_export(wiring.database, one).object_key or "")
        for one in (first, second)
    ]
    assert digests[0] == digests[1]
    tasks = [the_task(wiring.database, one) for one in asked]
    begun = [one.started_at for one in tasks if one.started_at]
    ended = [one.finished_at for one in tasks if one.finished_at]
    others_s = (max(ended) - min(begun)).total_seconds()
    waits = sorted(map(waited_s, tasks))
    return Fairness(
        wiring.database.engine.dialect.name,
        posts,
        took_s(alone),
        took_s(shared),
        others_s,
        (took_s(shared) - others_s) / took_s(alone) - 1,
        shared.claim,
        waits[len(waits) // 2],
        waits[int(len(waits) * 0.99)],
    )


@click.command()
@click.option("--database", type=click.Choice(DATABASES), default="postgresql")
@click.option("--posts", default=5_000_000, show_default=True)
@click.option("--small", default=200, show_default=True)
@click.option("--characters", default=40, show_default=True, help="Of a post, on average.")
@click.option("--slice", "slice_s", default=20, show_default=True)
def main(*, database: str, posts: int, small: int, slice_s: int, characters: int) -> None:
    """Measure it once."""
    seeds.MEAN_CHARACTERS = characters
    with Servers() as servers, servers.database(database) as url:
        boto3.client("s3", endpoint_url=servers.aws.url).create_bucket(Bucket=BUCKET)
        own = {"EXPORT_BUCKET": BUCKET, "FAIR_SLICE_S": str(slice_s), "LEASE_S": "30"}
        began = time.monotonic()
        found = measure(servers.environment(url) | own, posts=posts, small=small)
        facts = asdict(found) | {"whole_run_s": time.monotonic() - began}
        click.echo(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
