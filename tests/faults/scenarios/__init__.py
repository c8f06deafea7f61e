"""Every scenario, by its name in lower case."""

from tests.faults.scenarios import attempts, hooks, imports, others
from tests.faults.scenarios.scenario import READER, Scenario

__all__ = ["READER", "SCENARIOS", "Scenario"]

SCENARIOS: dict[str, type[Scenario]] = {
    scenario.__name__.lower(): scenario
    for scenario in (
        attempts.Export,
        attempts.Beating,
        attempts.Resumed,
        attempts.Archived,
        attempts.ArchiveResumed,
        attempts.Small,
        attempts.Cancelled,
        attempts.Broken,
        attempts.Released,
        attempts.Sliced,
        attempts.OutOfTime,
        attempts.Erased,
        attempts.Changed,
        attempts.Aborted,
        others.Reconciled,
        others.Unheard,
        others.Sent,
        others.Attached,
        others.Linked,
        others.Asked,
        others.Confirmed,
        others.Launched,
        others.Scheduled,
        others.ThirdFailure,
        others.Reconcilers,
        others.Retried,
        others.EmailedAgain,
        others.Deleted,
        others.Withdrawn,
        others.Expired,
        attempts.Outdated,
        attempts.Crowd,
        others.Senders,
        imports.Imported,
        imports.ImportResumed,
        hooks.Hooked,
        hooks.Delivered,
        hooks.Undelivered,
        hooks.Deliverers,
    )
}
