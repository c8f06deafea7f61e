"""`python -m tests.faults.soak`: users, faults and deploys for an hour; then nothing may be wrong.

The seed chooses what is done, and processes choose when: a run is not repeated exactly.
"""

import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from chalicelib.outbox.webhooks import event_of
from tests.faults import settling
from tests.faults.archives import KEPT
from tests.faults.hooks import ENDINGS, delivery_faults
from tests.faults.lab import Lab, Plan
from tests.faults.oracle import _events
from tests.faults.sending import _received
from tests.faults.settling import Ledger
from tests.faults.soak.growth import Growth
from tests.faults.soak.samples import NOISE, sample
from tests.faults.soak.troubles import Troubles
from tests.faults.soak.users import Town
from tests.harness.history import NoHistory, unpack_older_code
from tests.harness.processes import ROOT
from tests.harness.receivers import Receiver, receiving
from tests.harness.servers import Servers

CALM_S = 120
"""How long before the end nothing goes wrong any more, at most a fifth of the time."""

SAMPLES = 200


@click.command()
@click.option("--minutes", default=60.0, show_default=True)
@click.option("--seed", type=int, help="Of what users and faults do.")
@click.option("--users", default=6, show_default=True, help="At the same time.")
def main(minutes: float, seed: int | None, users: int) -> None:
    """Let an installation live, and see whether all went well and nothing grew."""
    seed = random.randrange(1, 10_000) if seed is None else seed
    click.echo(f"seed {seed}, {minutes:g} minutes, {users} users")
    with _installation() as (lab, trees, receiver):
        found = _live(lab, trees, receiver, minutes=minutes, seed=seed, users=users)
        if found:
            path = ROOT / "build" / f"soak-{seed}.log"
            path.parent.mkdir(exist_ok=True)
            path.write_text(lab.log)
            click.echo(f"the stack's log is {path.relative_to(ROOT)}")
    for sentence in found[:40]:
        click.echo(f"WRONG {sentence[:600]}")
    click.echo(f"{len(found)} violations")
    sys.exit(bool(found))


@contextmanager
def _installation() -> Iterator[tuple[Lab, list[Path], Receiver]]:
    with ExitStack() as stack:
        servers = stack.enter_context(Servers())
        url = stack.enter_context(servers.database("postgresql"))
        trees = [ROOT]
        older = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="older-")))
        try:
            unpack_older_code(older)
            trees.append(older)
        except NoHistory as reason:
            click.echo(f"deploys of this code alone: {reason}")
        receiver = stack.enter_context(receiving())
        plan = Plan(
            workers=2,
            database_url=url,
            own_valkey=True,
            aws_proxy=True,
            database_proxy=True,
            settings={**KEPT, "TASK_MAX_ATTEMPTS": "25"},
        )
        lab = Lab(plan)
        stack.callback(lab.close)
        yield lab, trees, receiver


def _live(
    lab: Lab, trees: list[Path], receiver: Receiver, *, minutes: float, seed: int, users: int
) -> list[str]:
    began = time.monotonic()
    deadline = began + minutes * 60
    town = Town(lab, deadline, [lab.stack.app_url], receiver.url)
    troubles = Troubles(lab, trees, town.app_urls)
    growth, over = Growth(), threading.Event()
    calm_s = min(CALM_S, minutes * 60 / 5)
    with ThreadPoolExecutor(users + 2) as pool:
        lives = [pool.submit(town.live, random.Random(f"{seed}/{one}")) for one in range(users)]
        trouble = pool.submit(troubles.go_on_until, deadline - calm_s, random.Random(seed))
        watching = pool.submit(_watch, lab, growth, over, every_s=minutes * 60 / SAMPLES)
        for life in lives:
            life.result()
        trouble.result()
        over.set()
        watching.result()
    troubles.stop()
    click.echo(f"users: {dict(town.done)}\ntroubles: {dict(troubles.done)}")
    lines, grown = growth.report(NOISE)
    click.echo("\n".join(["what, first, last, mean, an hour [95 %]", *lines]))
    late = [one for one in _settled(lab) if not ("imports/" in one and "removed" in one)]
    hooks = list(_deliveries(lab, town, receiver))
    return [*town.faults, *troubles.faults, *late, *hooks, *grown]


def _watch(lab: Lab, growth: Growth, over: threading.Event, *, every_s: float) -> None:
    began = time.monotonic()
    while not over.wait(every_s):
        growth.note(time.monotonic() - began, sample(lab))


def _settled(lab: Lab) -> list[str]:
    """What the oracle says, once all is over."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and any(
        "imports/" not in one for one in settling.unsettled(lab.wiring)
    ):
        time.sleep(0.5)
    return lab.settle()


def _deliveries(lab: Lab, town: Town, receiver: Receiver) -> Iterator[str]:
    """What is wrong with the deliveries of those who are still here and have a webhook."""
    ledger = Ledger.read(lab.wiring.database)
    tasks = [one for one in ledger.tasks.values() if one.user_id in town.hooked]
    endings = {
        task.id: [one for one in _events(lab.wiring.database, task) if one in ENDINGS]
        for task in tasks
    }
    # Of those whose account is erased, the ledger knows nothing any more.
    known = {event_of(one.payload).id for one in ledger.deliveries}
    got = [_received(one) for one in list(receiver.requests) if one.id in known]
    yield from delivery_faults(tasks, endings, ledger.deliveries, got)


if __name__ == "__main__":
    main()
