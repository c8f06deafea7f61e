from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count

from chalicelib.values.sampling import Sample

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def finding(*, takes_s: float, min_age_s: float = 0) -> Callable[[float], int]:
    """How often something was found out, when its value is asked for at so many seconds."""
    found = count(1)
    readings = count(0, takes_s)
    sample = Sample(
        lambda: next(found),
        min_age=timedelta(seconds=min_age_s),
        clock=lambda: next(readings),
    )
    return lambda at_s: sample.value(now=NOW + timedelta(seconds=at_s))


def test_what_takes_little_is_always_new() -> None:
    """While there is little to count, nobody sees an old number."""
    value = finding(takes_s=0.001)
    assert [value(0), value(0), value(0.1)] == [1, 2, 3]


def test_what_takes_long_is_found_out_seldom() -> None:
    """In a fiftieth of the time at most."""
    value = finding(takes_s=0.1)
    assert [value(0), value(4.9), value(5), value(9.9), value(10)] == [1, 1, 2, 2, 3]


def test_for_how_long_it_is_good_at_least() -> None:
    """What is asked for often may be old however little it takes."""
    value = finding(takes_s=0.001, min_age_s=2)
    assert [value(0), value(1.9), value(2)] == [1, 1, 2]


def test_a_clock_that_is_set_back() -> None:
    """A value from the future is no reason to wait for it."""
    value = finding(takes_s=1)
    assert [value(0), value(-3600)] == [1, 2]
