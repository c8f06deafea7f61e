"""What alarms count in the log is what the log says."""

import json
import logging
import re
from typing import Any

import pytest

from chalicelib.logs import JsonFormatter
from chalicelib.wiring import Wiring
from tests.harness.ledgers import launch, make_user
from tests.infra.templates import Template, access_log_line
from worker.attempts import Attempt, FailedAttemptError, perform


def matches(pattern: str, line: dict[str, Any]) -> bool:
    """Whether CloudWatch would count a line, for the patterns that stand in the template.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
    """
    (condition,) = re.findall(r"^\{ (.+) \}$", pattern)
    words = re.sub(r"\$\.(\w+) = ", r'line.get("\1") == ', condition)
    words = re.sub(r"\$\.(\w+) >= ", r'line.get("\1") >= ', words)
    return bool(eval(words.replace("&&", "and").replace("||", "or"), {"line": line}))


def pattern(template: Template, name: str) -> str:
    return str(template["Resources"][name]["Properties"]["FilterPattern"])


def broken(_attempt: Attempt) -> None:
    raise RuntimeError


def test_tasks(wiring: Wiring, app_template: Template, caplog: pytest.LogCaptureFixture) -> None:
    """One that succeeds and one that fails are two that ended, and one that failed."""
    caplog.set_level(logging.INFO)
    tasks = [launch(wiring.database, make_user(wiring.database, name)) for name in ("a", "b")]
    perform(tasks[0], wiring)
    with pytest.raises(FailedAttemptError):
        perform(tasks[1], wiring, function=broken)
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    counted = {
        name: [line["task_id"] for line in lines if matches(pattern(app_template, name), line)]
        for name in ("EndedTasks", "FailedTasks")
    }
    assert counted == {"EndedTasks": tasks, "FailedTasks": tasks[1:]}


def test_posts(app_template: Template) -> None:
    """The access log has what the latency of a POST is counted by, as a number."""
    line = access_log_line(app_template)
    counted = pattern(app_template, "PostLatency")
    assert matches(counted, {**line, "method": "POST"})
    assert not matches(counted, {**line, "method": "GET"})
    latency = app_template["Resources"]["PostLatency"]["Properties"]["MetricTransformations"][0]
    assert line[latency["MetricValue"].removeprefix("$.")] == 0
