"""What each part can take, and which one gives way first."""

from collections.abc import Iterator
from dataclasses import dataclass

from chalicelib.adapters.job_queue import JOB_TTL_S
from infra.simulate.assumptions import DAY_S, Assumptions
from infra.simulate.bill import asked


@dataclass(frozen=True)
class Ceiling:
    """One part's limit.

    Attributes:
        part: Its name.
        per_day: At so many exports a day its busiest time is as much as it can take.
        then: What happens above, and what to do.
    """

    part: str
    per_day: float
    then: str


def ceilings(assumed: Assumptions, *, held_s: float) -> list[Ceiling]:
    """Every part's limit, the one that gives way first on top.

    Args:
        assumed: What each can take, and how much of it an export needs.
        held_s: For how long Lambda holds requests for an export.
    """
    return sorted(_all(assumed, held_s), key=lambda one: one.per_day)


def _all(assumed: Assumptions, held_s: float) -> Iterator[Ceiling]:
    for part, per_s, each, then in (
        (
            "SES, rate",
            assumed.emails_per_s,
            1.0,
            "emails wait and are tried ten times, then fail; ask for a higher rate",
        ),
        (
            "MAX_WORKERS",
            assumed.most,
            assumed.mean_task_s,
            "exports wait until night; raise it",
        ),
        (
            "Fargate, vCPU",
            assumed.fargate_vcpu,
            assumed.vcpu * assumed.mean_task_s,
            "workers do not start, as above; ask for a higher quota",
        ),
        (
            "ApiConcurrency",
            min(assumed.functions_most, assumed.lambdas),
            assumed.requests * assumed.request_s + held_s,
            "the API answers 429 or 503; raise it, or hold requests for less long",
        ),
        (
            "PostgreSQL, connections",
            assumed.connections,
            assumed.requests * assumed.request_s
            + held_s
            + assumed.connections_per_worker * assumed.mean_task_s,
            "the API answers 503, tasks are retried later; DatabaseProxy, or more ACU",
        ),
        (
            "PostgreSQL, statements",
            assumed.acu_most * assumed.statements_per_acu,
            assumed.statements + assumed.held_statements * held_s,
            "everything is slower, then as above; more ACU",
        ),
        (
            "Redis, commands",
            assumed.redis_per_s,
            assumed.redis_commands,
            "jobs are enqueued late, by the reconciler; a larger node",
        ),
        (
            "Redis, memory",
            assumed.redis_mb * 1000,
            JOB_TTL_S * assumed.job_kb,
            "Redis refuses jobs, the reconciler enqueues them later; a larger node",
        ),
        (
            "API Gateway",
            assumed.gateway_per_s,
            asked(assumed),
            "429, upon which clients wait; raise RequestsPerSecond",
        ),
        (
            "S3, PUT",
            assumed.puts_per_s,
            1.0,
            "503 SlowDown, tasks are retried later; S3 splits the prefix by itself",
        ),
    ):
        yield Ceiling(part, per_s / each / assumed.peak * DAY_S, then)
    yield Ceiling(
        "SES, quota of a day",
        assumed.emails_per_day,
        "emails fail after ten tries, files stay; ask for a higher quota",
    )
