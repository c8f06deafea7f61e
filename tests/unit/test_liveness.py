"""What a work horse tells its parent, over a real pipe."""

import os
import time
from collections.abc import Iterator

import pytest

from tests.harness.waiting import wait_until
from worker import liveness
from worker.liveness import Reporter, Watch, Work

WORK = Work("0f8e6a50-0000-4000-8000-000000000000", "export_posts", 3, 3600, 12345.678)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe; the reading one is closed by its `Watch`."""
    ends = os.pipe()
    yield ends
    os.close(ends[1])


def test_what_it_works_on(pipe: tuple[int, int]) -> None:
    """The parent knows the last that was said, however much was said before it."""
    watch, reporter = Watch(pipe[0]), Reporter(pipe[1])
    assert watch.work is None
    reporter.tell(WORK)
    watch.listen(1)
    assert watch.work == WORK
    for _ in range(5000):  # more than the pipe holds; what finds it full is lost
        reporter.tell(WORK)
        reporter.tell(None)
    watch.listen(1)
    reporter.tell(WORK)
    watch.listen(1)
    assert watch.work == WORK
    reporter.tell(None)
    watch.listen(1)
    assert watch.work is None
    watch.close()


def test_signs_of_life(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """They come by themselves, repeat what the horse works on, and end its silence."""
    monkeypatch.setattr(liveness, "INTERVAL_S", 0.05)
    watch, reporter = Watch(pipe[0]), Reporter(pipe[1])

    def silence() -> float:
        watch.listen(0.01)
        return watch.silent_s

    wait_until(lambda: silence() > 0.03, "it is silent")
    reporter.tell(WORK)
    thread = reporter.start()
    for _ in range(3):
        wait_until(lambda: silence() == 0, "it lives")
        wait_until(lambda: silence() > 0, "it says no more than it must")
    reporter.stop()
    thread.join()
    assert watch.work == WORK
    watch.close()


def test_a_parent_that_stood_still(pipe: tuple[int, int]) -> None:
    """What the parent itself did not listen is no silence of the horse."""
    watch = Watch(pipe[0])
    watch.__dict__["_looked_at"] = time.monotonic() - 1000
    watch.listen(0.01)
    assert watch.silent_s <= 0.02
    watch.close()


def test_a_parent_that_is_gone(pipe: tuple[int, int]) -> None:
    """A horse that nobody listens to goes on; another watch ends it."""
    reporter = Reporter(pipe[1])
    os.close(pipe[0])
    reporter.tell(WORK)


def test_nobody_listens() -> None:
    """A task that is run by hand, or by RQ's own worker, reports to nobody."""
    with liveness.working_on(WORK):
        pass
