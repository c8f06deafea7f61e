"""Of which kinds a work horse takes several jobs at a time."""

from collections.abc import Callable

import pytest
from redis import Redis

from chalicelib.adapters.job_queue import RegisteredJob
from chalicelib.tasks.registry import TASKS, TaskKind
from worker.work_horse import Pace

Note = Callable[..., dict[str, int]]


class Hooked(TaskKind):
    """A kind that has something to say when its task succeeds."""

    def on_success(self, *_: object, **__: object) -> None:
        pass


@pytest.fixture
def note(monkeypatch: pytest.MonkeyPatch) -> Note:
    """Tells of a job how long it took, and returns which kinds are short then."""
    for kind in (
        TaskKind(name="plain", title="plain"),
        TaskKind(name="shared", title="shared", share=0.5),
        TaskKind(name="followed", title="followed", follow_up="somewhere.else"),
        Hooked(name="hooked", title="hooked"),
    ):
        monkeypatch.setitem(TASKS, kind.name, kind)
    pace = Pace()

    def tell(seconds: float | None, name: str = "plain") -> dict[str, int]:
        job = RegisteredJob("one", connection=Redis())
        job.description, job.took_s = f"{name}(one)", seconds
        pace.note(job)
        return pace.short()

    return tell


def test_short_ones(note: Note) -> None:
    """Microseconds of those that are; at least one, so that they never count as none."""
    assert note(0.001) == {"plain": 1000}
    assert note(0.002) == {"plain": 1200}
    assert note(None) == {"plain": 1200}


def test_one_long_one(note: Note) -> None:
    """It takes many short ones until nobody expects another."""
    note(0)
    assert note(10) == {}
    many = next(number for number in range(100) if note(0))
    assert 10 < many < 40


@pytest.mark.parametrize("name", ["shared", "followed", "hooked", "unknown"])
def test_what_must_be_alone(note: Note, name: str) -> None:
    """Others than the kernel know of it, or it is no kind at all."""
    assert note(0, name) == {}
