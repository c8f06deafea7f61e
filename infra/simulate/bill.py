"""What a month costs, line by line, from what was used."""

from dataclasses import dataclass

from infra.simulate import counted, prices
from infra.simulate.assumptions import DAY_S, MB, Assumptions
from infra.simulate.day import Outcome
from infra.simulate.prices import HOURS

DAYS = HOURS / 24
"""Of a month."""

GB = 1e9
BASE64 = 1.37
"""What a file grows by in an email, its line ends included."""

STATEMENTS_OF_A_LOOK = 2
"""Of a request that asks for news and is not held: who it is, and what is new (measured)."""

WRITES = 0.5
"""Which part of the statements writes; each takes about two I/O operations (assumed)."""

IO_PER_WRITE = 2

ZONES = 2

SWEEPS = HOURS * 60
"""Scheduled sweeps a month, a second each."""


@dataclass(frozen=True)
class Usage:
    """What exports of a day use.

    Attributes:
        per_day: How many.
        worker_h, spot_h: Hours of workers a day: on demand, and on Spot.
        watched_s: For how long somebody watches an export, on average.
    """

    per_day: float
    worker_h: float
    spot_h: float
    watched_s: float

    @classmethod
    def idle(cls, assumed: Assumptions) -> "Usage":
        """Nobody asks for anything."""
        hours = int(assumed.least) * 24
        spot = int(max(0.0, assumed.least - assumed.base) * assumed.spot) * 24
        return cls(0, hours - spot, spot, 0)

    @classmethod
    def of(cls, outcome: Outcome, per_day: float) -> "Usage":
        """As simulated, for one day."""
        hours = outcome.days * 3600
        mean_s = outcome.watched_s / max(1, outcome.succeeded)
        return cls(per_day, outcome.workers_s / hours, outcome.spot_s / hours, mean_s)


def month(usage: Usage, assumed: Assumptions) -> dict[str, float]:
    """The bill of a month of such days, in US dollars, by service."""
    exports = usage.per_day * DAYS
    return {
        "Fargate": _fargate(usage, assumed),
        "Lambda": _lambda(usage, assumed, exports),
        "API Gateway": exports * asked(assumed) * prices.GATEWAY_REQUEST,
        "Aurora PostgreSQL": _database(usage, assumed, exports),
        "ElastiCache": assumed.cache_nodes * prices.CACHE_NODE_H * HOURS,
        "S3": _storage(usage, assumed, exports),
        "SES": exports * (prices.SES_EMAIL + attached_gb(assumed) * prices.SES_GB),
        "network": _network(assumed, exports),
        "CloudWatch": _watching(assumed, exports),
        "secrets": counted.secrets() * prices.SECRET_MONTH,
    }


def asked(assumed: Assumptions) -> float:
    """Requests of an export, those of the page that stays open included."""
    return assumed.requests + assumed.tab_s / assumed.tab_poll_s


def held_s(usage: Usage, assumed: Assumptions) -> float:
    """For how long Lambda holds requests for an export: while it is watched, and afterwards.

    However many pages are open, ApiConcurrency functions at most run at the same time.
    """
    wanted = assumed.watching * usage.watched_s + assumed.tab_s * assumed.tab_held
    if not usage.per_day:
        return wanted
    return min(wanted, assumed.functions_most * DAY_S / usage.per_day)


def attached_bytes(assumed: Assumptions) -> float:
    """Of the mean export, what travels in its email: the part of Pareto's mean below the limit."""
    limit = min(assumed.largest_posts, assumed.attached_mb * MB / assumed.post_bytes)
    power = 1 - assumed.tail
    low, high = assumed.smallest_posts, assumed.largest_posts
    if limit <= low:
        return 0.0
    below: float = (limit**power - low**power) / (high**power - low**power)
    return below * assumed.mean_posts * assumed.post_bytes


def attached_gb(assumed: Assumptions) -> float:
    """As SES counts it."""
    return attached_bytes(assumed) * BASE64 / GB


def _fargate(usage: Usage, assumed: Assumptions) -> float:
    hour = assumed.vcpu * prices.FARGATE_VCPU_H + assumed.memory_gb * prices.FARGATE_GB_H
    return DAYS * hour * (usage.worker_h + usage.spot_h * prices.SPOT_PART)


def _lambda(usage: Usage, assumed: Assumptions, exports: float) -> float:
    price = prices.LAMBDA_GB_S if assumed.arm else prices.LAMBDA_X86_GB_S
    # What is not held is answered at once, whether people or the page ask.
    held = held_s(usage, assumed)
    quick = assumed.requests + assumed.tab_s / assumed.tab_poll_s * (1 - assumed.tab_held)
    running_s = quick * assumed.request_s + held
    seconds_gb = exports * running_s * assumed.lambda_gb + SWEEPS * assumed.sweep_gb
    return seconds_gb * price + (exports * asked(assumed) + SWEEPS) * prices.LAMBDA_REQUEST


def _database(usage: Usage, assumed: Assumptions, exports: float) -> float:
    """Capacity follows the mean load, which is a little less than following every hour's."""
    polled = assumed.tab_s / assumed.tab_poll_s * (1 - assumed.tab_held) * STATEMENTS_OF_A_LOOK
    each = assumed.statements + held_s(usage, assumed) * assumed.held_statements + polled
    wanted = usage.per_day / DAY_S * each / assumed.statements_per_acu
    capacity = max(assumed.acu_least, min(assumed.acu_most, wanted)) * prices.ACU_H * HOURS
    return capacity + exports * assumed.statements * WRITES * IO_PER_WRITE * prices.AURORA_IO


def _storage(usage: Usage, assumed: Assumptions, exports: float) -> float:
    size = assumed.mean_posts * assumed.post_bytes
    kept = usage.per_day * assumed.kept_days * size / GB * prices.S3_GB_MONTH
    linked = (size - attached_bytes(assumed)) / GB * prices.INTERNET_GB
    return kept + exports * (prices.S3_PUT + prices.S3_GET + linked)


def _network(assumed: Assumptions, exports: float) -> float:
    """The way to AWS, which emails and logs go; that to S3 is a gateway endpoint, which is free."""
    through_gb = exports * (attached_gb(assumed) + logged_gb(assumed))
    each_gb = prices.ENDPOINT_GB if assumed.endpoints else prices.NAT_GB
    nat = assumed.nat_gateways * (prices.NAT_H + prices.ADDRESS_H) * HOURS
    return nat + assumed.endpoints * ZONES * prices.ENDPOINT_H * HOURS + through_gb * each_gb


def logged_gb(assumed: Assumptions) -> float:
    """Lines of an export, and of the requests of the page that stays open."""
    return (assumed.log_kb + assumed.tab_s / assumed.tab_poll_s * assumed.request_log_kb) / 1e6


def _watching(assumed: Assumptions, exports: float) -> float:
    metrics = counted.custom_metrics(kinds=assumed.kinds, outcomes=assumed.outcomes)
    fixed = metrics * prices.METRIC_MONTH + counted.alarm_metrics() * prices.ALARM_MONTH
    return fixed + prices.DASHBOARD_MONTH + exports * logged_gb(assumed) * prices.LOGS_GB
