"""Numbers about the service in Prometheus' text format, for servers of one's own.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format. Written by hand:
`prometheus_client` counts what happens in a process, and these numbers stand in the ledger, where
all processes count together; what is left of it are the few lines of `render`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from chalicelib.db.engine import Database
from chalicelib.db.models import AuditEntry, OutboxMessage

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

OUTCOMES = ("succeeded", "failed", "cancelled", "returned")
"""What the audit says of attempts that are over; after `returned` the task is queued again."""


@dataclass(frozen=True)
class Metric:
    """A number, or one for each combination of labels.

    Attributes:
        name: In the style of Prometheus, with its unit.
        type: Whether it may fall.
        help: What it is, on one line.
        samples: Its numbers, by the values of `labels`; none while nobody knows.
        labels: The names of what tells the numbers apart.
    """

    name: str
    type: Literal["gauge", "counter"]
    help: str
    samples: Mapping[tuple[str, ...], float]
    labels: tuple[str, ...] = ()


def render(metrics: Iterable[Metric]) -> str:
    """Write metrics."""
    return "".join(f"{line}\n" for metric in metrics for line in _lines(metric))


def _lines(metric: Metric) -> Iterable[str]:
    yield f"# HELP {metric.name} {metric.help}"
    yield f"# TYPE {metric.name} {metric.type}"
    for values, number in sorted(metric.samples.items()):
        pairs = zip(metric.labels, values, strict=True)
        labels = ",".join(f'{name}="{_escape(value)}"' for name, value in pairs)
        yield f"{metric.name}{{{labels}}} {number}" if labels else f"{metric.name} {number}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def count_messages(database: Database) -> dict[tuple[str, ...], float]:
    """How many messages of the outbox there are, by topic and state."""
    columns = (OutboxMessage.topic, OutboxMessage.state)
    statement = sa.select(*columns, sa.func.count()).group_by(*columns)
    with database.read() as session:
        return {(topic, state): count for topic, state, count in session.execute(statement)}


def count_outcomes(database: Database) -> dict[tuple[str, ...], float]:
    """How many attempts ever ended, by outcome; entries of the audit are for good, so it rises."""
    statement = (
        sa.select(AuditEntry.event, sa.func.count())
        .where(AuditEntry.event.in_(OUTCOMES))
        .group_by(AuditEntry.event)
    )
    with database.read() as session:
        found = {row[0]: row[1] for row in session.execute(statement)}
    return {(outcome,): found.get(outcome, 0) for outcome in OUTCOMES}
