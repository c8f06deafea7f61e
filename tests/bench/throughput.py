"""How many tasks a second two workers do, beside other libraries on the same servers."""

from collections.abc import Iterator
from contextlib import ExitStack

from tests.bench.bench import Bench, in_turns
from tests.bench.figures import Bound, Row
from tests.bench.worker_pool import (
    RQ,
    SAQ,
    Carryout,
    Celery,
    Dramatiq,
    Huey,
    Procrastinate,
    WorkerPool,
)
from tests.harness import seeds

FACTORS = {"RQ, Worker": 2.5, "Celery, prefork": 1.0, "Procrastinate": 3.0}
"""How many times as many tasks as theirs are done, at least."""

POSTS = 100
EXPORTS_A_SECOND = {"stub": 100, "moto": 40}


def rows(bench: Bench) -> Iterator[Row]:
    """Tasks that do nothing: claim, run, outcome and notification in PostgreSQL, or no ledger."""
    ours = Carryout(bench, bench.environment("postgresql"))
    peers: list[WorkerPool] = [RQ(bench, worker=worker) for worker in ("Worker", "SimpleWorker")]
    if bench.peers is None:
        bench.left_out.append("Celery and four others: their environment is not there")
    else:
        peers += [kind(bench, bench.peers) for kind in (Celery, Dramatiq, SAQ, Huey, Procrastinate)]
    pools = [ours, *peers]
    with ExitStack() as stack:
        for pool in pools:
            bench.say(f"starting {pool.name}")
            stack.callback(pool.stop)
            pool.start()
        for pool in pools:
            bench.say(f"warming up {pool.name}")
            pool.warm_up()
        bench.say("tasks that do nothing, in turns")
        rates = in_turns(
            bench.sizes.throughput_rounds,
            *(lambda pool=pool: pool.measure(bench.sizes.window_s) for pool in pools),
        )
    for peer, found in zip(peers, rates[1:], strict=True):
        yield Row(
            group="throughput",
            name=f"whole tasks that do nothing, {ours.workers} workers, PostgreSQL",
            unit="/s",
            samples=rates[0],
            peer=peer.name,
            peer_samples=found,
            bound=Bound(FACTORS[peer.name], least=True) if peer.name in FACTORS else None,
            note="queue filled while the workers stand still; results kept",
        )


def exports(bench: Bench) -> Iterator[Row]:
    """Exports of 100 posts, whole, until their emails are out."""
    for name in bench.sizes.against:
        bench.say(f"exports of {POSTS} posts against {name}")
        environment = bench.environment("postgresql", aws=name)
        ledger = bench.wiring(environment).database
        users = seeds.make_users(ledger, bench.sizes.exporters)
        seeds.make_posts(ledger, users, POSTS * len(users))
        seeds.settle(ledger)
        pool = Carryout(bench, environment, task="export_posts", users=users)
        with ExitStack() as stack:
            stack.callback(pool.stop)
            pool.start()
            pool.warm_up()
            rates = [
                pool.measure(bench.sizes.window_s) for _ in range(bench.sizes.throughput_rounds)
            ]
        yield Row(
            group="exports",
            name=f"exports of {POSTS} posts, mail included, {name}",
            unit="/s",
            samples=rates,
            bound=Bound(EXPORTS_A_SECOND[name], of="value", least=True),
        )
