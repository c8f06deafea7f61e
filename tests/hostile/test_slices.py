"""Fair by time-slices: what runs for long makes room for what waits, in real workers."""

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

import psutil
import sqlalchemy as sa

from chalicelib.db.models import Notification, Task
from chalicelib.wiring import Wiring
from tests.conftest import both_databases
from tests.harness.ledgers import the_task
from tests.harness.waiting import wait_until
from tests.hostile.conftest import Launch

Start = Callable[..., psutil.Popen]


def over(wiring: Wiring, task_id: str) -> Task:
    """Wait for a task's success, and see to it that its progress never falls."""
    seen: list[int] = []

    def is_over() -> bool:
        task = the_task(wiring.database, task_id)
        seen.append(task.percent)
        return task.finished_at is not None

    wait_until(is_over, "the task is over", within_s=120)
    task = the_task(wiring.database, task_id)
    assert all(before <= after for before, after in pairwise(seen))
    assert (task.status, task.failures, task.attempt) == ("succeeded", 0, 1)
    return task


@both_databases
def test_small_ones_go_first(start: Start, wiring: Wiring, launch: Launch) -> None:
    """A long task makes room after a slice, and goes on after those that waited."""
    start(FAIR_SLICE_S="1")
    long = launch("steps", many=80, label="long")
    wait_until(lambda: the_task(wiring.database, long).status == "running", "it runs")
    small = [launch("example", user=f"user-{number}", seconds=0) for number in range(5)]
    waited = [over(wiring, one) for one in small]
    rest = over(wiring, long)
    assert all(one.finished_at < rest.finished_at for one in waited)  # type: ignore[operator]
    assert (rest.result or {})["claims"] > 1
    assert rest.yielded_at is None


@both_databases
def test_two_long_ones_alternate(start: Start, wiring: Wiring, launch: Launch) -> None:
    """Neither waits for the other's end, and a slice is not cut short by the other's waiting."""
    start(FAIR_SLICE_S="1")
    both = [launch("steps", many=50, label=label) for label in ("one", "other")]
    tasks = [over(wiring, one) for one in both]
    claims = [(one.result or {})["claims"] for one in tasks]
    assert all(2 <= number <= 10 for number in claims), claims
    assert tasks[0].started_at is not None
    assert tasks[1].started_at is not None
    assert tasks[0].finished_at is not None
    assert tasks[1].started_at < tasks[0].finished_at


def test_nobody_waits(start: Start, wiring: Wiring, launch: Launch) -> None:
    """Alone, or with an idle worker beside it, a long task is never interrupted."""
    start(FAIR_SLICE_S="1")
    alone = over(wiring, launch("steps", many=60, label="alone"))
    assert (alone.result or {})["claims"] == 1
    start(FAIR_SLICE_S="1")
    wait_until(lambda: wiring.queue.workers_alive() == 2, "there are two workers")
    pair = [launch("steps", many=60, label=label) for label in ("one", "other")]
    assert [(over(wiring, one).result or {})["claims"] for one in pair] == [1, 1]


def test_news_of_it(start: Start, wiring: Wiring, launch: Launch) -> None:
    """The task waits at the end of the queue, and says since when."""
    start(FAIR_SLICE_S="1")
    long = launch("steps", many=60, label="long")
    wait_until(lambda: the_task(wiring.database, long).status == "running", "it runs")
    other = launch("example", user="other", seconds=2)

    wait_until(lambda: the_task(wiring.database, long).yielded_at, "it makes room")
    task = the_task(wiring.database, long)
    assert task.status == "queued"
    assert task.yielded_at
    assert task.yielded_at - task.queued_at < timedelta(seconds=1)  # two looks at one clock
    assert task.queued_at > the_task(wiring.database, other).queued_at
    with wiring.database.read() as session:
        news = session.scalars(sa.select(Notification).where(Notification.subject == long)).one()
    assert news.data["status"] == "queued"
    over(wiring, other)
    over(wiring, long)
