"""What the deployment is made of, counted where it stands, so that the bill cannot forget any."""

import json
from functools import cache
from typing import Any

from infra.aws.validate import ROOT, load

AWS = ROOT / "infra" / "aws"

BY_QUEUE = ("BacklogPerWorker", "OldestWaiting", "Unfinished", "Workers")
BY_KIND = ("Requested", "Started", "Waited", "Rows", "Bytes")
BY_KIND_AND_OUTCOME = ("Duration", "Ended")
BY_STATE = ("Mails",)
"""Metrics that log lines carry, by what each is told apart by; every combination is paid for."""

OFF_BY_DEFAULT = frozenset({"ScalesToZero"})
"""Conditions that do not hold with the templates' own defaults."""

OF_SCALING = 2
"""Alarms that Application Auto Scaling makes of a target tracking policy."""


@cache
def resources(name: str) -> dict[str, dict[str, Any]]:
    """The resources of a template that are there with its defaults."""
    found = load(AWS / f"{name}.yaml")["Resources"]
    return {key: one for key, one in found.items() if one.get("Condition") not in OFF_BY_DEFAULT}


def _of_type(name: str, kind: str) -> list[dict[str, Any]]:
    return [one["Properties"] for one in resources(name).values() if one.get("Type") == kind]


def alarm_metrics() -> int:
    """Metrics that alarms watch; one that computes with several is paid for each of them."""
    alarms = _of_type("app", "AWS::CloudWatch::Alarm")
    return OF_SCALING + sum(
        max(1, sum("MetricStat" in metric for metric in one.get("Metrics", ()))) for one in alarms
    )


def custom_metrics(*, kinds: float, outcomes: float) -> float:
    """Metrics of our own.

    Args:
        kinds: Kinds of tasks that run in a month.
        outcomes: Ways in which each kind ended.
    """
    filters = len(_of_type("app", "AWS::Logs::MetricFilter"))
    each = len(BY_KIND) + len(BY_KIND_AND_OUTCOME) * outcomes
    return len(BY_QUEUE) + len(BY_STATE) + filters + kinds * each


def secrets() -> int:
    """Secrets of the foundation, and the one that RDS keeps for the owner of the database."""
    return len(_of_type("foundation", "AWS::SecretsManager::Secret")) + 1


@cache
def _functions() -> dict[str, Any]:
    config = json.loads((ROOT / ".chalice" / "config.json").read_bytes())
    found: dict[str, Any] = config["stages"]["dev"]
    return found


def api_gb() -> float:
    """Memory of the API's function, in GB."""
    return float(_functions()["lambda_memory_size"]) / 1024


def reconciler_gb() -> float:
    """Memory of the reconciler's function, in GB."""
    return float(_functions()["lambda_functions"]["sweep"]["lambda_memory_size"]) / 1024


def default(template: str, parameter: str) -> float:
    """The default of a template's parameter, as a number."""
    return float(load(AWS / f"{template}.yaml")["Parameters"][parameter]["Default"])
