import pytest

from chalicelib.operations.scaling import (
    IN_BELOW,
    IN_PART,
    Limits,
    backlog_per_worker,
    desired_workers,
)


@pytest.mark.parametrize(
    ("unfinished", "workers", "expected"),
    [
        (0, 0, 0),
        (7, 0, 7),  # all of it waits for the first one
        (7, 1, 7),
        (30, 4, 7.5),
        (0, 4, 0),
    ],
)
def test_backlog_per_worker(unfinished: int, workers: int, expected: float) -> None:
    """What is unfinished is divided among those who live."""
    assert backlog_per_worker(unfinished, workers) == expected


@pytest.mark.parametrize(
    ("capacity", "backlog", "expected"),
    [
        (0, 0, 0),
        (0, 0.5, 1),
        (0, 500, 1),  # the first one; the next look multiplies
        (1, 500, 20),  # the most
        (1, 10, 1),
        (1, 11, 2),
        (4, 9, 4),
        (4, 5, 2),
        (4, 0.1, 1),
        (4, 0, 0),
    ],
)
def test_desired_workers(capacity: int, backlog: float, expected: int) -> None:
    """As many as bring the backlog of each to the target, rounded up, from none to the most."""
    assert desired_workers(capacity, backlog, Limits(target=10, least=0, most=20)) == expected


def test_never_fewer_than_the_least() -> None:
    """An idle service keeps what the deployment wants to be there."""
    assert desired_workers(4, 0, Limits(least=2)) == 2
    assert desired_workers(0, 0, Limits(least=2)) == 2


def test_those_who_stay_can_do_it() -> None:
    """When a part of the workers is taken away, the rest is as busy as it should be, no more."""
    limits, workers = Limits(), 16
    few = IN_BELOW * limits.target * workers
    fewer = int(workers * (1 - IN_PART))
    assert desired_workers(fewer, backlog_per_worker(1, 1) * few / fewer, limits) <= fewer
