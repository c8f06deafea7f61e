"""Every number that the simulation takes for granted, with where it is from.

Three kinds of sources: *measured* here (by the command beside it), *AWS* (a documented quota or
behaviour), and *assumed* (nobody knows; change it by its option and look how much it matters).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from chalicelib.operations import scaling
from infra.simulate import counted
from worker.export.upload import PART_BYTES

DAY_S = 86_400
MB = 1_000_000


def _number(default: float, meaning: str) -> Any:
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """What a simulated world is made of; `python -m infra.simulate --help` explains each."""

    # --- Load ---
    peak: float = _number(1.8, "requests at the busiest time, in daily means, 1 to 2 (assumed)")
    burst: float = _number(1.0, "how many times as many requests come for ten minutes (assumed)")
    smallest_posts: float = _number(50, "posts of the smallest exports (assumed)")
    largest_posts: float = _number(1_000_000, "posts of the largest (assumed)")
    tail: float = _number(
        0.9,
        "Pareto exponent between these: half have up to 108 posts, 1 in 1,000 100,000 (assumed)",
    )
    post_bytes: float = _number(250, "bytes of a post in the file (assumed)")

    # --- A worker ---
    task_s: float = _number(0.045, "processor time of an empty export and its email (measured)")
    post_s: float = _number(5e-6, "processor time of each post (measured)")
    page_s: float = _number(8e-6, "waiting for PostgreSQL, for each post (measured)")
    mb_s: float = _number(0.02, "waiting for S3, for each MB (assumed)")
    network_s: float = _number(0.25, "waiting for PostgreSQL, S3 and SES in each task (assumed)")
    vcpu: float = _number(0.5, "vCPU of a worker; fewer than 1 make processor time longer")
    memory_gb: float = _number(1.0, "memory of a worker, in GB")

    # --- Fargate ---
    start_least_s: float = _number(30, "a worker's shortest start, image included (assumed)")
    start_most_s: float = _number(90, "its longest (assumed)")
    base: float = _number(
        counted.default("app", "OnDemandBase"), "workers that are never on Spot (the template)"
    )
    spot: float = _number(
        0.75, "part of the workers beyond the base that runs on Spot (the template: three in four)"
    )
    interruptions_per_h: float = _number(0.05, "of a Spot worker, in an hour (assumed)")
    release_s: float = _number(1.5, "from the warning until the task is queued again (measured)")

    # --- Scaling ---
    target: float = _number(scaling.Limits.target, "unfinished tasks for each worker")
    least: float = _number(scaling.Limits.least, "MIN_WORKERS")
    most: float = _number(scaling.Limits.most, "MAX_WORKERS")
    in_part: float = _number(scaling.IN_PART, "part of the workers that is taken away at once")
    alarm_s: float = _number(20, "from a measurement to what it changes (assumed)")

    # --- SES ---
    emails_per_s: float = _number(14, "SES's rate (AWS: 1 in the sandbox, often 14 outside)")
    emails_per_day: float = _number(50_000, "SES's quota (AWS: 200 in the sandbox, often 50,000)")

    # --- What an export asks of the rest ---
    requests: float = _number(15, "requests to the API, from the page to the download (assumed)")
    request_s: float = _number(0.05, "of a Lambda function, for each (assumed)")
    watching: float = _number(1.0, "part of the exports that somebody watches (assumed)")
    patience_s: float = _number(60, "for how long at most; Lambda holds a request (assumed)")
    lambda_gb: float = _number(
        counted.api_gb(), "memory of the API's function, in GB (the package)"
    )
    sweep_gb: float = _number(
        counted.reconciler_gb(), "memory of the reconciler's function, in GB (the package)"
    )
    arm: float = _number(1, "1 when functions are built for arm64, 0 for x86_64")
    tab_s: float = _number(
        600,
        "how long the page stays open in front of somebody after an export, in seconds (assumed)",
    )
    tab_held: float = _number(
        0.05,
        "part of that time in which Lambda holds a request for the page: half a minute",
    )
    tab_poll_s: float = _number(60, "how often the page asks in that time, in seconds (its script)")
    functions_most: float = _number(
        counted.default("app", "ApiConcurrency"), "ApiConcurrency, which caps held requests, too"
    )
    statements: float = _number(15, "SQL statements, from the request to the download (measured)")
    held_statements: float = _number(1, "a second, while Lambda holds a request (assumed)")
    redis_commands: float = _number(40, "commands to Redis (measured)")
    job_kb: float = _number(2, "memory of a job in Redis, kept for 500 s (assumed)")
    log_kb: float = _number(8, "lines in the logs (assumed)")
    request_log_kb: float = _number(0.6, "lines in the logs of each further request (assumed)")
    kinds: float = _number(2, "kinds of tasks that run in a month (assumed)")
    outcomes: float = _number(2, "ways in which each kind ends in a month (assumed)")
    kept_days: float = _number(7, "EXPORT_TTL_S, in days")
    attached_mb: float = _number(
        3.6, "largest file that travels in an email; larger ones are links"
    )

    # --- What the rest can take ---
    acu_least: float = _number(0.5, "least capacity of Aurora Serverless, in ACU")
    acu_most: float = _number(8, "its most")
    statements_per_acu: float = _number(500, "SQL statements a second that one ACU takes (assumed)")
    connections: float = _number(
        1600, "max_connections (AWS: follows the most ACU; about 1,600 at 8)"
    )
    connections_per_worker: float = _number(5, "of each worker, at most")
    redis_per_s: float = _number(20_000, "commands a second that the cache takes (assumed)")
    redis_mb: float = _number(1000, "memory of the cache for jobs, in MB (AWS: cache.t4g.small)")
    cache_nodes: float = _number(2, "nodes of the cache: one, and one to fall back on")
    nat_gateways: float = _number(1, "the way to AWS with the template's Egress=nat")
    endpoints: float = _number(0, "interface endpoints in two zones, with Egress=endpoints: 5")
    fargate_vcpu: float = _number(12, "Fargate's quotas, Spot's included (AWS: 6 each at first)")
    lambdas: float = _number(1000, "Lambda functions at once (AWS: 1,000, fewer at first)")
    gateway_per_s: float = _number(100, "RequestsPerSecond (the template; AWS: 10,000 at most)")
    puts_per_s: float = _number(3500, "S3's PUT requests a second under one prefix (AWS)")

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated.

        Raises:
            ValueError: Says which number, and why.
        """
        for name, bad in {
            "peak must be from 1 to 2": not 1 <= self.peak <= 2,  # noqa: PLR2004
            "least must not be above most": self.least > self.most,
            "vcpu must be above 0": self.vcpu <= 0,
            "tab_poll_s must be above 0": self.tab_poll_s <= 0,
            "tab_held must be from 0 to 1": not 0 <= self.tab_held <= 1,
            "tail must be above 0, and 1 has no mean; take 1.001": self.tail in (0, 1),
        }.items():
            if bad:
                raise ValueError(name)

    @property
    def limits(self) -> scaling.Limits:
        """What the deployment chose, as the formula takes it."""
        return scaling.Limits(target=self.target, least=int(self.least), most=int(self.most))

    @property
    def posts_per_part(self) -> float:
        """After so many posts a part is in S3, from which another attempt goes on."""
        return PART_BYTES / self.post_bytes

    @property
    def overhead_s(self) -> float:
        """What each task takes, whatever its size."""
        return self.task_s / min(1.0, self.vcpu) + self.network_s

    @property
    def each_post_s(self) -> float:
        """What each post takes on top."""
        waiting_s = self.page_s + self.post_bytes / MB * self.mb_s
        return self.post_s / min(1.0, self.vcpu) + waiting_s

    @property
    def mean_posts(self) -> float:
        """The mean of `draw_posts`."""
        low, high, tail = self.smallest_posts, self.largest_posts, self.tail
        whole = tail * low**tail / (1 - (low / high) ** tail)
        mean: float = whole * (low ** (1 - tail) - high ** (1 - tail)) / (tail - 1)
        return mean

    @property
    def mean_task_s(self) -> float:
        """How long a worker is busy with an export, on average."""
        return self.overhead_s + self.mean_posts * self.each_post_s

    def draw_posts(self, chance: Random) -> float:
        """The size of somebody's export: bounded Pareto, by the inverse of its distribution."""
        ratio = (self.smallest_posts / self.largest_posts) ** self.tail
        left: float = (1 - chance.random() * (1 - ratio)) ** (-1 / self.tail)
        return self.smallest_posts * left


Draw = Callable[[Random], float]
"""Draws the posts of an export."""
