"""How many tasks a second two workers do, beside other libraries on the same Valkey."""

from collections.abc import Iterator
from contextlib import ExitStack

from tests.bench import seeds
from tests.bench.bench import Bench
from tests.bench.crews import RQ, SAQ, Celery, Crew, Dramatiq, Ours
from tests.bench.figures import Bound, Row
from tests.bench.ground import in_turns

RQ_FACTOR = 2.5
POSTS = 100
EXPORTS_A_SECOND = {"stub": 100, "moto": 40}


def rows(bench: Bench) -> Iterator[Row]:
    """Tasks that do nothing: claim, run, outcome and notification in PostgreSQL, or no ledger."""
    ground = bench.ground
    ours = Ours(bench, ground.environment("postgresql"))
    peers: list[Crew] = [RQ(bench, worker=worker) for worker in ("Worker", "SimpleWorker")]
    if bench.peers is None:
        bench.left_out.append("Celery, Dramatiq and SAQ: their environment is not there")
    else:
        peers += [kind(bench, bench.peers) for kind in (Celery, Dramatiq, SAQ)]
    crews = [ours, *peers]
    with ExitStack() as stack:
        for crew in crews:
            bench.say(f"starting {crew.name}")
            stack.callback(crew.stop)
            crew.start()
        for crew in crews:
            bench.say(f"warming up {crew.name}")
            crew.warm_up()
        bench.say("tasks that do nothing, in turns")
        rates = in_turns(
            bench.sizes.throughput_rounds,
            *(lambda crew=crew: crew.measure(bench.sizes.window_s) for crew in crews),
        )
    for peer, found in zip(peers, rates[1:], strict=True):
        yield Row(
            group="throughput",
            name=f"whole tasks that do nothing, {ours.workers} workers, PostgreSQL",
            unit="/s",
            samples=rates[0],
            peer=peer.name,
            peer_samples=found,
            bound=Bound(RQ_FACTOR, least=True) if peer is peers[0] else None,
            note="queue filled while the workers stand still; results kept",
        )


def exports(bench: Bench) -> Iterator[Row]:
    """Exports of 100 posts, whole, until their mails are out."""
    for name in bench.sizes.against:
        bench.say(f"exports of {POSTS} posts against {name}")
        environment = bench.ground.environment("postgresql", aws=name)
        ledger = bench.ground.wiring(environment).database
        users = seeds.make_users(ledger, bench.sizes.exporters)
        seeds.make_posts(ledger, users, POSTS * len(users))
        seeds.settle(ledger)
        crew = Ours(bench, environment, task="export_posts", users=users)
        with ExitStack() as stack:
            stack.callback(crew.stop)
            crew.start()
            crew.warm_up()
            rates = [
                crew.measure(bench.sizes.window_s) for _ in range(bench.sizes.throughput_rounds)
            ]
        yield Row(
            group="exports",
            name=f"exports of {POSTS} posts, mail included, {name}",
            unit="/s",
            samples=rates,
            bound=Bound(EXPORTS_A_SECOND[name], of="value", least=True),
        )
