from dataclasses import replace
from math import factorial
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from chalicelib.operations import scaling
from infra.simulate.__main__ import main
from infra.simulate.assumptions import DAY_S, Assumptions
from infra.simulate.autoscaling import Autoscaling
from infra.simulate.bill import Usage, month
from infra.simulate.ceilings import ceilings
from infra.simulate.day import Outcome, simulate

STEADY = Assumptions(
    peak=1,
    task_s=0,
    network_s=0,
    post_s=1,
    page_s=0,
    mb_s=0,
    vcpu=1,
    spot=0,
    emails_per_s=1e9,
    emails_per_day=1e9,
)
"""A post takes a second and there is nothing else: service times are what is drawn."""


def erlang_c(workers: int, load: float) -> float:
    """The part of the requests that wait (A. K. Erlang, 1917)."""
    full = load**workers / factorial(workers) * workers / (workers - load)
    return full / (sum(load**k / factorial(k) for k in range(workers)) + full)


@pytest.mark.parametrize(("workers", "load"), [(1, 0.5), (4, 3.2), (10, 8.0)])
def test_waiting_is_that_of_theory(workers: int, load: float) -> None:
    """With a fixed number of workers and exponential sizes the queue is M/M/c, and waits alike."""
    mean_s = 2.0
    assumed = replace(STEADY, least=workers, most=workers)
    outcome = simulate(
        assumed,
        load / mean_s * DAY_S,
        seed=7,
        most=60_000,
        draw=lambda chance: chance.expovariate(1 / mean_s),
    )
    waited = sum(wait > 0 for wait in outcome.waits_s) / outcome.asked
    assert waited == pytest.approx(erlang_c(workers, load), rel=0.05)
    expected_s = erlang_c(workers, load) * mean_s / (workers - load)
    assert sum(outcome.waits_s) / outcome.asked == pytest.approx(expected_s, rel=0.1)


def test_sizes_have_their_mean() -> None:
    """The formula of the mean is that of what is drawn; nothing is outside the bounds."""
    assumed, chance = Assumptions(largest_posts=10_000), Random(3)
    drawn = [assumed.draw_posts(chance) for _ in range(100_000)]
    assert sum(drawn) / len(drawn) == pytest.approx(assumed.mean_posts, rel=0.03)
    assert 50 <= min(drawn) <= max(drawn) <= 10_000


@pytest.mark.parametrize(
    "assumed",
    [
        Assumptions(),
        Assumptions(least=0, target=10),
        Assumptions(emails_per_s=1, emails_per_day=200),
        Assumptions(burst=50, most=3),
        Assumptions(spot=1, interruptions_per_h=120),
    ],
    ids=["defaults", "none at night", "sandbox", "burst", "spot"],
)
def test_every_request_ends_once(assumed: Assumptions) -> None:
    """Every export that was asked for begins once, ends once, and its email has one outcome."""
    outcome = simulate(assumed, 10_000, seed=5, fewest=5_000)
    assert outcome.asked == outcome.succeeded == len(outcome.waits_s) > 4_000
    assert outcome.asked == outcome.emails_sent + outcome.emails_failed
    assert outcome.unfinished == 0


def test_interruptions_lose_no_part() -> None:
    """A task of an interrupted worker goes on after its last part; only what came since is redone.

    Each export takes 1,000 s and is in S3 part by part after every 100 s.
    """
    posts = STEADY.posts_per_part * 10
    assumed = replace(
        STEADY, post_s=1000 / posts, least=5, most=5, spot=1, interruptions_per_h=3, target=1000
    )
    outcome = simulate(assumed, 200, seed=2, fewest=200, draw=lambda _: posts)
    assert outcome.released > 20
    assert outcome.succeeded == outcome.asked
    repeated_s = outcome.busy_s - outcome.succeeded * 1000
    assert 0 < repeated_s < outcome.released * 100


def test_a_seed_repeats_a_day() -> None:
    """The same seed gives the same day, another one another."""

    def lived(seed: int) -> Outcome:
        return simulate(Assumptions(), 20_000, seed=seed, most=3_000)

    assert lived(1) == lived(1)
    assert lived(1) != lived(2)


def test_the_first_worker_takes_its_time() -> None:
    """With MIN_WORKERS 0 who comes first waits for a measurement, an alarm and a start."""
    lonely = simulate(Assumptions(least=0), 20, seed=1, fewest=100)
    assert 30 < lonely.waited_s(0.5) < 60 + 20 + 90
    assert lonely.mean_workers < 0.5
    assert simulate(Assumptions(least=1), 20, seed=1, fewest=100).waited_s(0.9) == 0


def test_throttled_mails() -> None:
    """In SES's sandbox 200 emails go out by midnight; the others fail after ten tries each."""
    assumed = Assumptions(least=2, emails_per_s=1, emails_per_day=200)
    outcome = simulate(assumed, 1000, seed=1, fewest=900)
    assert 200 <= outcome.emails_sent < 205
    assert outcome.emails_refused >= outcome.emails_failed * 9
    assert outcome.succeeded == outcome.asked


def test_workers_are_added_after_three_periods() -> None:
    """A target is exceeded three times before workers are added, by the deployed formula."""
    limits = scaling.Limits(target=10, least=1, most=100)
    policy = Autoscaling(limits, 2)
    assert [policy.observe(60.0 * minute, 50) for minute in range(3)] == [2, 2, 10]
    assert policy.observe(180, 50) == 10, "what was added counts within its cooldown"
    assert policy.observe(190, 100) == 20
    assert policy.observe(200, 1000) == 100


def test_workers_are_taken_away_after_fifteen_periods() -> None:
    """A low backlog takes workers away a quarter of an hour later, then not again for a while."""
    policy = Autoscaling(scaling.Limits(target=10, least=1, most=100), 40)
    seen = [policy.observe(60.0 * minute, 5) for minute in range(25)]
    assert seen == [40] * 14 + [20] * 5 + [10] * 5 + [5]


def test_a_quarter_at_once() -> None:
    """Where fewer are taken away at once, the last worker above the least goes, too."""
    policy = Autoscaling(scaling.Limits(target=10, least=0, most=100), 8, in_part=0.25)
    seen = [policy.observe(60.0 * minute, 0) for minute in range(60)]
    assert sorted(set(seen), reverse=True) == [8, 6, 5, 4, 3, 2, 1, 0]


def test_the_first_worker_is_added_at_once() -> None:
    """Where nobody works, the first worker does not wait for three periods."""
    policy = Autoscaling(scaling.Limits(target=10, least=0, most=100), 0)
    assert [policy.observe(0, 0), policy.observe(60, 1)] == [0, 1]


def test_bill() -> None:
    """An idle month costs what stands there; what is used costs in proportion."""
    assumed = Assumptions(least=1, spot=0)
    idle = month(Usage.idle(assumed), assumed)
    assert idle["Fargate"] == pytest.approx(730 * (0.5 * 0.03238 + 0.00356))
    assert idle["SES"] == idle["API Gateway"] == 0
    one, two = (month(Usage(per_day, 24, 0, 1), assumed) for per_day in (1e6, 2e6))
    assert two["SES"] == pytest.approx(2 * one["SES"])
    assert two["ElastiCache"] == one["ElastiCache"]


def test_what_gives_way_first() -> None:
    """Ceilings come in their order; a quota of a day knows no peak."""
    ordered = ceilings(Assumptions(emails_per_day=200, emails_per_s=1), held_s=2)
    assert [one.part for one in ordered[:2]] == ["SES, quota of a day", "SES, rate"]
    assert [round(one.per_day) for one in ordered[:2]] == [200, 48_000]
    assert ordered == sorted(ordered, key=lambda one: one.per_day)


def test_command(tmp_path: Path) -> None:
    """The command prints a row for each volume, and draws them."""
    plot = tmp_path / "plots" / "scale.svg"
    volumes = ["--exports", "1000", "--exports", "30000", "--plot", str(plot)]
    done = CliRunner().invoke(main, [*volumes, "--least", "1"], catch_exceptions=False)
    rows = [line.split(" | ") for line in done.output.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows[1:3]] == ["| 1,000", "| 30,000"]
    assert "<svg" in plot.read_text()


def test_impossible_assumptions() -> None:
    """What cannot be simulated is refused with its name."""
    done = CliRunner().invoke(main, ["--peak", "3"])
    assert done.exit_code == 2
    assert "peak must be from 1 to 2" in done.output
