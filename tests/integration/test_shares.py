"""A kind of task may hold a share of the workers, and the others are free for the rest."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from chalicelib.db.engine import Database
from chalicelib.errors import DeclarationError
from chalicelib.tasks import leases
from chalicelib.tasks.leases import Lease
from chalicelib.tasks.registry import TASKS, TaskKind
from chalicelib.wiring import Wiring
from tests.conftest import both_databases
from tests.harness.ledgers import LEASE_S, launch, make_user, now, the_task
from worker import attempts


@pytest.fixture(autouse=True)
def half(monkeypatch: pytest.MonkeyPatch) -> None:
    """`example` may hold half of the workers."""
    monkeypatch.setitem(TASKS, "example", replace(TASKS["example"], share=0.5))


@pytest.fixture
def examples(database: Database) -> list[str]:
    """Tasks of five users, the oldest first."""
    users = [make_user(database, f"user{number}") for number in range(5)]
    return [launch(database, user_id, "example", seconds=0) for user_id in users]


def claim(database: Database, task_id: str, workers: int | None = 4) -> Lease | None:
    claimed = leases.claim(
        database, task_id, worker="one", lease_s=LEASE_S, now=now(), workers=workers
    )
    return claimed.lease if claimed else None


@both_databases
def test_half_of_the_workers(database: Database, examples: list[str]) -> None:
    """With four workers two tasks run; a third may when one of them has ended."""
    first, second, third = (claim(database, task_id) for task_id in examples[:3])
    assert first is not None
    assert second is not None
    assert third is None
    waiting = the_task(database, examples[2])
    assert (waiting.status, waiting.claim, waiting.started_at) == ("queued", 0, None)
    other = launch(database, waiting.user_id)
    assert claim(database, other) is not None, "another kind is not in its way"
    first.succeed(now=now())
    assert claim(database, examples[2]) is not None


@both_databases
def test_all_at_once(database: Database, examples: list[str]) -> None:
    """Claims at the same moment see each other."""
    with ThreadPoolExecutor(5) as pool:
        claims = list(pool.map(lambda task_id: claim(database, task_id), examples))
    assert sum(lease is not None for lease in claims) == 2


@both_databases
@pytest.mark.parametrize(("workers", "running"), [(0, 1), (1, 1), (3, 1), (None, 5)])
def test_however_many_workers(
    database: Database, examples: list[str], workers: int | None, running: int
) -> None:
    """One task runs always; all do while nobody knows how many workers there are."""
    claims = [claim(database, task_id, workers) for task_id in examples]
    assert sum(lease is not None for lease in claims) == running


def test_the_next_one_follows_at_once(wiring: Wiring, examples: list[str]) -> None:
    """Whoever held the share hints at the next one, and the reconciler at none meanwhile."""
    first, second, *_ = examples
    lease = claim(wiring.database, first, workers=1)
    assert lease is not None
    assert attempts.perform(second, wiring) is None
    wiring.reconciler.sweep(now=now())
    assert wiring.queue.waiting_ids() == set()
    lease.release(now=now())
    wiring.reconciler.sweep(now=now())
    assert wiring.queue.waiting_ids() == set(examples)
    wiring.queue.redis.delete(wiring.queue.rq.key, *(f"rq:job:{one}" for one in examples))
    assert attempts.perform(first, wiring) == "succeeded"
    assert wiring.queue.waiting_ids() == {second}


@pytest.mark.parametrize("share", [0, -1, 1.5])
def test_a_share_is_a_share(share: float) -> None:
    """What would keep a kind from running ever is refused where it is declared."""
    with pytest.raises(DeclarationError):
        TaskKind(name="sum_up", title="Summing up", share=share)
