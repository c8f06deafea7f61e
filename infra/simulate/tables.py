"""What is printed, as Markdown."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

from infra.simulate import prices
from infra.simulate.assumptions import DAY_S, Assumptions
from infra.simulate.bill import DAYS, Usage, month
from infra.simulate.ceilings import ceilings
from infra.simulate.day import Outcome, simulate
from infra.simulate.drawing import Point

ENOUGH = 4
"""By how many times the busiest time's need a limit is raised: scaling overshoots."""

CHOICES = (
    (0, 10, 1),
    (1, 10, 1),
    (1, 10, 0.25),
    (1, 1, 1),
    (1, 1, 0.25),
    (0, 0.7, 0.25),
    (1, 0.7, 0.25),
)
"""MIN_WORKERS, target and `in_part` that are compared."""

OPEN_S = 3600
"""For how long a day people have the page open, where that alone is counted."""

NOT_OF_TABS = frozenset({"Fargate", "SES", "S3"})

Row = Sequence[str]


@dataclass(frozen=True)
class World:
    """What is simulated.

    Attributes:
        assumed: How it works.
        seed: Of each simulation.
        as_is: Whether MAX_WORKERS and SES's quotas stay as they are, whatever the load.
    """

    assumed: Assumptions
    seed: int
    as_is: bool

    def live(self, per_day: float) -> "Life":
        """Simulate so many exports a day."""
        assumed = self.assumed if self.as_is else enough(self.assumed, per_day)
        return Life(assumed, per_day, simulate(assumed, per_day, seed=self.seed))


@dataclass(frozen=True)
class Life:
    """A simulation and what came of it."""

    assumed: Assumptions
    per_day: float
    outcome: Outcome

    @property
    def bill(self) -> dict[str, float]:
        """Of a month, in US dollars."""
        return month(Usage.of(self.outcome, self.per_day), self.assumed)

    @property
    def a_day(self) -> float:
        """What a day costs, in US dollars."""
        return sum(self.bill.values()) / DAYS

    @property
    def point(self) -> Point:
        """As drawn."""
        waited_s = self.outcome.waited_s
        each = 1000 * self.a_day / self.per_day
        return Point(_short(self.per_day), waited_s(0.5), waited_s(0.99), each)

    @property
    def cells(self) -> Row:
        """Waiting and workers."""
        outcome = self.outcome
        paid_s = outcome.workers_s + outcome.spot_s
        return (
            f"{outcome.waited_s(0.5):,.1f} s",
            f"{outcome.waited_s(0.99):,.1f} s",
            f"{outcome.mean_workers:,.2f}",
            f"{outcome.most_workers:,}",
            f"{outcome.busy_s / paid_s if paid_s else 0:.0%}",
        )


def enough(assumed: Assumptions, per_day: float) -> Assumptions:
    """The same world with MAX_WORKERS and SES's quotas raised to what so many exports need."""
    peak_per_s = per_day / DAY_S * assumed.peak * assumed.burst
    return replace(
        assumed,
        most=max(assumed.most, ceil(ENOUGH * peak_per_s * assumed.mean_task_s)),
        emails_per_s=max(assumed.emails_per_s, ENOUGH * peak_per_s),
        emails_per_day=max(assumed.emails_per_day, ENOUGH * per_day),
    )


def scale(lives: Iterable[Life]) -> Iterator[Row]:
    """Waiting, workers and cost of each volume."""
    yield (
        "exports a day",
        *("p50 wait", "p99 wait", "workers", "at most", "busy", "emails failed"),
        *("$ a day", "$ per 1,000"),
    )
    for life in lives:
        failed = life.outcome.emails_failed / max(1, life.outcome.asked)
        costs = (f"{life.a_day:,.2f}", f"{life.point.cost:,.3f}")
        yield f"{life.per_day:,.0f}", *life.cells, f"{failed:.1%}", *costs


def comparison(world: World, volumes: Iterable[float]) -> Iterator[Row]:
    """What MIN_WORKERS and the target do."""
    yield (
        *("exports a day", "MIN_WORKERS", "target", "at once fewer"),
        *("p50 wait", "p99 wait", "workers", "at most", "busy", "$ a day"),
    )
    for per_day in volumes:
        for least, target, in_part in CHOICES:
            assumed = replace(world.assumed, least=least, target=target, in_part=in_part)
            life = replace(world, assumed=assumed).live(per_day)
            chosen = (f"{per_day:,.0f}", f"{least}", f"{target:g}", f"{in_part:.0%}")
            yield *chosen, *life.cells, f"{life.a_day:,.2f}"


def bills(world: World, volumes: Sequence[float]) -> Iterator[Row]:
    """What a month costs by service, idle and at each volume."""
    columns = [month(Usage.idle(world.assumed), world.assumed)]
    columns += [world.live(per_day).bill for per_day in volumes]
    yield "US dollars a month", "idle", *(f"{one:,.0f} a day" for one in volumes)
    for service in columns[0]:
        yield service, *(f"{column[service]:,.2f}" for column in columns)
    yield "together", *(f"{sum(column.values()):,.2f}" for column in columns)


def tabs(assumed: Assumptions, users: Iterable[float]) -> Iterator[Row]:
    """What a month costs of people who have the page open for an hour a day, whatever they do."""
    yield (
        *("people", "the page", "functions at once", "Lambda", "API Gateway", "database, ACU"),
        "together",
    )
    for many in users:
        for name, chosen in (
            ("holds requests", _holding(assumed)),
            ("asks once a minute", _asking(assumed)),
        ):
            yield f"{many:,.0f}", name, *_tab_cells(chosen, many)


def _holding(assumed: Assumptions) -> Assumptions:
    """A page that holds a request all the time."""
    return replace(assumed, tab_held=1, tab_poll_s=20)


def _asking(assumed: Assumptions) -> Assumptions:
    """A page that holds no request while nothing happens, and asks once a minute."""
    return replace(assumed, tab_held=0, tab_poll_s=60)


def _tab_cells(assumed: Assumptions, users: float) -> Row:
    """The difference that so many hours of an open page make to an otherwise idle month."""
    opened = replace(assumed, tab_s=OPEN_S, requests=0, watching=0, statements=0, log_kb=0)
    usage = Usage(users, 0, 0, 0)
    made, idle = month(usage, opened), month(replace(usage, per_day=0), opened)
    costs = {name: made[name] - idle[name] for name in made if name not in NOT_OF_TABS}
    part = assumed.tab_held or assumed.request_s / assumed.tab_poll_s
    at_once = min(assumed.functions_most, users * OPEN_S / DAY_S * assumed.peak * part)
    acu = made["Aurora PostgreSQL"] / (prices.ACU_H * prices.HOURS)
    shown = (costs["Lambda"], costs["API Gateway"])
    return (
        f"{at_once:,.1f}",
        *(f"{one:,.2f}" for one in shown),
        f"{acu:,.2f}",
        f"{sum(costs.values()):,.2f}",
    )


def limits(assumed: Assumptions) -> Iterator[Row]:
    """What gives way, first things first; workers are taken to be there in no time."""
    held_s = assumed.watching * min(assumed.mean_task_s, assumed.patience_s)
    held_s += assumed.tab_s * assumed.tab_held
    yield "gives way", "at exports a day", "then"
    for one in ceilings(assumed, held_s=held_s):
        yield one.part, f"{one.per_day:,.0f}", one.then


def markdown(rows: Iterable[Row]) -> Iterator[str]:
    """Lines of a table; the first row is its head."""
    for number, row in enumerate(rows):
        yield f"| {' | '.join(row)} |"
        if number == 0:
            yield f"|{'---|' * len(row)}"


def _short(number: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"
