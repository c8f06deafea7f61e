"""What Prometheus scrapes."""

import hmac

from chalice.app import Response

from chalicelib.adapters.job_queue import QueueError
from chalicelib.db.models import ACTIVE
from chalicelib.operations import prometheus, queries
from chalicelib.operations.prometheus import Metric
from chalicelib.web.request import Call

STATES = (*ACTIVE, "succeeded", "failed", "cancelled")


def metrics(call: Call) -> Response:
    """The numbers."""
    shown = prometheus.render([*_queue(call), *_ledger(call)])
    headers = {"Content-Type": prometheus.MEDIA_TYPE, "Cache-Control": "no-store"}
    return Response(shown, headers, 200)


def has_token(call: Call) -> bool:
    """Whether the caller has the token of the settings, which opens nothing else."""
    expected, presented = call.wiring.settings.metrics_token, call.bearer
    if expected is None or presented is None:
        return False
    return hmac.compare_digest(presented.encode(), expected.encode())


def _queue(call: Call) -> list[Metric]:
    depth: dict[tuple[str, ...], float] = {}
    alive: dict[tuple[str, ...], float] = {}
    try:
        depth[()] = call.wiring.queue.depth()
        alive[()] = int(call.wiring.queue.workers_alive())
    except QueueError:
        up = 0
    else:
        up = 1
    return [
        Metric("carryout_redis_up", "gauge", "Whether Redis responds.", {(): up}),
        Metric("carryout_queue_jobs", "gauge", "Jobs that wait in the queue.", depth),
        Metric("carryout_workers", "gauge", "Workers that are alive.", alive),
    ]


def _ledger(call: Call) -> list[Metric]:
    wiring, now = call.wiring, call.now
    with wiring.database.read() as session:
        oldest = queries.oldest_queued(session)
    age_s = 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())
    counts = wiring.task_counts.value(now=now)
    return [
        Metric(
            "carryout_tasks",
            "gauge",
            "Tasks in the ledger.",
            {(state,): counts.get(state, 0) for state in STATES},
            ("status",),
        ),
        Metric(
            "carryout_oldest_queued_seconds",
            "gauge",
            "For how long the task waits that has waited longest.",
            {(): round(age_s, 3)},
        ),
        Metric(
            "carryout_outbox_messages",
            "gauge",
            "Emails and deliveries to webhooks in the outbox.",
            wiring.message_counts.value(now=now),
            ("topic", "state"),
        ),
        Metric(
            "carryout_attempts_total",
            "counter",
            "Outcomes of attempts; those of tasks that were cancelled while queued count, too.",
            wiring.outcome_counts.value(now=now),
            ("outcome",),
        ),
    ]
