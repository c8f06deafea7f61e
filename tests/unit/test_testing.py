"""The kit for authors of tasks: it runs what is right, and finds what is wrong."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.errors import TaskError
from chalicelib.microblog.models import Post
from chalicelib.microblog.tasks import COUNT_WORDS, EXAMPLE
from chalicelib.tasks.registry import TASKS, TaskKind
from tests.harness.ledgers import START
from worker.attempts import Attempt
from worker.tasks import count_words
from worker.testing import MemoryLedger, assert_resumable

BODIES = ["one two", "", "three", "four  five\nsix", "seven \U0001f600 \u3000nine"]


@pytest.fixture
def ledger() -> Iterator[MemoryLedger]:
    """A ledger in memory."""
    with MemoryLedger() as ledger:
        yield ledger


@pytest.fixture
def susan(ledger: MemoryLedger) -> int:
    """Somebody with some posts, of which two are of one moment."""
    susan, david = ledger.add_user("susan"), ledger.add_user("david")
    with ledger.database.write() as session:
        for number, body in enumerate(BODIES):
            at = START + timedelta(microseconds=number // 2)
            session.add(Post(user_id=susan, body=body, timestamp=at))
            session.add(Post(user_id=david, body="not hers", timestamp=at))
    return susan


def kind(function: Callable[..., Any], **facts: Any) -> TaskKind:
    """A kind that is done by a function of this module."""
    name = function.__name__
    return TaskKind(name=name, title=name, function=f"{__name__}.{name}", **facts)


def test_count_words(ledger: MemoryLedger, susan: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The words of all posts, and of nobody else's, however they are paged."""
    for rows in (1, 2, 3, 100):
        monkeypatch.setattr(count_words, "PAGE_ROWS", rows)
        run = ledger.run(COUNT_WORDS, user_id=susan)
        assert (run.status, run.result) == ("succeeded", {"posts": 5, "words": 9})
        assert run.progress[-1] == (5, 5)


def test_count_words_of_nobody(ledger: MemoryLedger) -> None:
    """Without posts there are no words."""
    run = ledger.run(COUNT_WORDS, user_id=ledger.add_user())
    assert run.result == {"posts": 0, "words": 0}


def test_count_words_goes_on(
    ledger: MemoryLedger, susan: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after any page, cancelled, late, or with others that wait: it ends as it must."""
    monkeypatch.setattr(count_words, "PAGE_ROWS", 1)
    assert_resumable(COUNT_WORDS, ledger=ledger, user_id=susan)
    cancelled = ledger.run(COUNT_WORDS, user_id=susan, cancel_at=2)
    assert (cancelled.status, len(cancelled.steps)) == ("cancelled", 2)
    late = ledger.run(COUNT_WORDS, user_id=susan, late_at=2)
    assert (late.status, late.task.claim, late.result) == ("succeeded", 2, {"posts": 5, "words": 9})
    sliced = ledger.run(COUNT_WORDS, user_id=susan, others_wait=True)
    assert (sliced.task.claim, sliced.task.attempt) == (6, 1)
    assert sliced.result == {"posts": 5, "words": 9}
    assert list(sliced.percents) == sorted(sliced.percents)


def test_what_is_written_is_real(ledger: MemoryLedger) -> None:
    """Percentages are the ledger's, times the clock's, and parameters what the kind declares."""
    user_id = ledger.add_user()
    ledger.clock.advance(60)
    run = ledger.run(EXAMPLE, {"seconds": 0}, user_id=user_id)
    assert (run.status, run.result) == ("succeeded", {"seconds": 0})
    assert run.task.finished_at == ledger.clock.now()
    with pytest.raises(ValueError, match="seconds"):
        ledger.run(EXAMPLE, {"seconds": 61}, user_id=user_id)


def test_kinds_stay_as_they_were(ledger: MemoryLedger) -> None:
    """A kind of a test's own is known for no longer than it runs."""
    before = dict(TASKS)
    ledger.run(kind(two_steps), user_id=ledger.add_user())
    assert before == TASKS


def two_steps(attempt: Attempt) -> dict[str, Any]:
    done = (attempt.task.checkpoint or {"done": 0})["done"]
    for step in range(done, 2):
        attempt.checkpoint(step + 1, 2, {"done": step + 1})
    return {"steps": 2}


def test_a_limit_of_its_own(ledger: MemoryLedger) -> None:
    """A task that is late fails without having waited, unless it has moved its checkpoint."""
    user_id, began = ledger.add_user(), time.monotonic()
    run = ledger.run(kind(mere_progress, time_limit_s=3600), user_id=user_id, late_at=1)
    assert (run.status, run.error_code, run.steps[0].done) == ("failed", "timeout", 1)
    assert time.monotonic() - began < 60


def mere_progress(attempt: Attempt) -> None:
    attempt.progress(1, 3)
    attempt.progress(2, 3)


def test_its_own_errors(ledger: MemoryLedger) -> None:
    """An error of a task's own has its code."""
    assert ledger.run(kind(no_ink), user_id=ledger.add_user()).error_code == "no_ink"


def no_ink(_attempt: Attempt) -> None:
    raise TaskError("There is no ink.", code="no_ink")


def forgetful(attempt: Attempt) -> dict[str, Any]:
    """Counts from zero again after an interruption."""
    done = (attempt.task.checkpoint or {"done": 0})["done"]
    seen = 0
    for step in range(done, 3):
        seen += 1
        attempt.checkpoint(step + 1, 3, {"done": step + 1})
    return {"seen": seen}


def repeating(attempt: Attempt) -> dict[str, Any]:
    """Begins anew each time."""
    for step in range(3):
        attempt.checkpoint(step + 1, 3, {"done": step + 1})
    return {"seen": 3}


def without_notes(attempt: Attempt) -> dict[str, Any]:
    """Never notes where it is."""
    attempt.progress(1, 2)
    return {}


def lost(attempt: Attempt) -> dict[str, Any]:
    """Cannot read its own notes."""
    if attempt.task.checkpoint:
        raise TaskError(code="lost")
    attempt.checkpoint(1, 2, {"done": 1})
    return {}


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (forgetful, "'seen': 2"),
        (repeating, "does again what was done"),
        (without_notes, "notes no checkpoint"),
        (lost, "failed, lost"),
        (no_ink, "does not succeed: no_ink"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_what_cannot_resume(
    ledger: MemoryLedger, function: Callable[..., Any], complaint: str
) -> None:
    """It says what is wrong with a function that only seems to go on."""
    with pytest.raises(AssertionError, match=complaint):
        assert_resumable(kind(function), ledger=ledger, user_id=ledger.add_user())
