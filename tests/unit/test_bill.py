"""The bill of the simulation, computed again from the other end.

Nothing of `infra.simulate.bill` is used: quantities are added up one by one, sizes are integrated
numerically, and prices stand here as AWS lists them.
"""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from infra.simulate import counted
from infra.simulate.__main__ import main
from infra.simulate.assumptions import Assumptions
from infra.simulate.bill import Usage, month
from infra.simulate.tables import World

ROOT = Path(__file__).parents[2]
MONTH_H = 730.0
MONTH_DAYS = MONTH_H / 24


def mean_bytes(assumed: Assumptions, *, below: float = float("inf")) -> float:
    """Of an export, the mean of what is smaller than a limit: Pareto's density, in small steps."""
    low, high, tail = assumed.smallest_posts, assumed.largest_posts, assumed.tail
    steps, total, whole = 200_000, 0.0, 0.0
    ratio = (high / low) ** (1 / steps)
    posts = low
    for _ in range(steps):
        middle, width = posts * ratio**0.5, posts * (ratio - 1)
        density = middle ** (-tail - 1) * width
        whole += density
        size = middle * assumed.post_bytes
        total += density * (size if size <= below else 0)
        posts *= ratio
    return total / whole


def independent(assumed: Assumptions, usage: Usage) -> dict[str, float]:
    """What a month costs, by the quantities that AWS counts."""
    exports = usage.per_day * MONTH_DAYS
    size = mean_bytes(assumed)
    attached = mean_bytes(assumed, below=assumed.attached_mb * 1e6)
    in_email = attached * 1.37 / 1e9

    page_requests = exports * assumed.tab_s / assumed.tab_poll_s
    requests = exports * assumed.requests + page_requests
    held_s = exports * (assumed.watching * usage.watched_s + assumed.tab_s * assumed.tab_held)
    held_s = min(held_s, assumed.functions_most * MONTH_DAYS * 86_400)
    short_s = (exports * assumed.requests + page_requests * (1 - assumed.tab_held)) * 0.05
    sweeps = MONTH_H * 60
    gb_s = (held_s + short_s) * assumed.lambda_gb + sweeps * assumed.sweep_gb
    statements = exports * assumed.statements + held_s * assumed.held_statements
    statements += page_requests * (1 - assumed.tab_held) * 2
    acu = statements / (MONTH_H * 3600) / assumed.statements_per_acu
    logs_gb = (exports * assumed.log_kb + page_requests * assumed.request_log_kb) / 1e6

    return {
        "Fargate": MONTH_DAYS
        * (usage.worker_h + 0.3 * usage.spot_h)
        * (assumed.vcpu * 0.03238 + assumed.memory_gb * 0.00356),
        "Lambda": gb_s * (0.0000133334 if assumed.arm else 0.0000166667)
        + (requests + sweeps) * 0.20 / 1e6,
        "API Gateway": requests * 3.50 / 1e6,
        "Aurora PostgreSQL": min(assumed.acu_most, max(assumed.acu_least, acu)) * 0.12 * MONTH_H
        + exports * assumed.statements * 0.20 / 1e6,
        "ElastiCache": 2 * 0.0256 * MONTH_H,
        "S3": usage.per_day * assumed.kept_days * size / 1e9 * 0.023
        + exports * (0.005 / 1000 + 0.0004 / 1000 + (size - attached) / 1e9 * 0.09),
        "SES": exports * (0.0001 + in_email * 0.12),
        "network": MONTH_H * (0.045 + 0.005) + (exports * in_email + logs_gb) * 0.045,
        "CloudWatch": (4 + 1 + 4 + 2 * (5 + 2 * 2)) * 0.30
        + counted.alarm_metrics() * 0.10
        + 3.00
        + logs_gb * 0.50,
        "secrets": 3 * 0.40,
    }


HELD = {"tab_held": 1, "tab_poll_s": 20}


@pytest.mark.parametrize("per_day", [0, 1_000, 100_000, 1_000_000])
@pytest.mark.parametrize("chosen", [{}, HELD, {"tab_s": 0}, {"arm": 0}], ids=str)
def test_computed_again(per_day: float, chosen: dict[str, float]) -> None:
    """Every line is within 1 % of what adding up gives, open pages included."""
    assumed = replace(Assumptions(), **chosen)
    usage = Usage(per_day, 24, 30 if per_day > 50_000 else 0, 0.4)
    if not per_day:
        usage = Usage.idle(assumed)
    assert month(usage, assumed) == pytest.approx(independent(assumed, usage), rel=0.01)


def test_open_pages_cost_what_was_reported() -> None:
    """1,000 people with an open page for an hour a day cost 1,844 dollars on x86; capped, 9."""
    rows = CliRunner().invoke(main, ["--tabs", "--arm", "0"]).output.splitlines()
    cells = [row.strip("| ").split(" | ") for row in rows]
    costs = {(row[0], row[1]): float(row[-1].replace(",", "")) for row in cells[2:]}
    assert costs["1,000", "holds requests"] == pytest.approx(1844, rel=0.01)
    assert costs["1,000", "asks once a minute"] < 12


def test_counts_are_those_of_the_templates() -> None:
    """Alarms, metrics, secrets and memory are read where they stand."""
    assert counted.api_gb() == Assumptions().lambda_gb == 1
    assert counted.reconciler_gb() == 0.5
    assert counted.secrets() == 3
    assert counted.alarm_metrics() == 26
    assert counted.custom_metrics(kinds=2, outcomes=2) == 27
    assert Assumptions().functions_most == 200


def rows(text: str, heading: str) -> list[list[str]]:
    """The first table of a document under a heading."""
    lines = text[text.index(heading) :].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    table = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        table.append([cell.strip(" *") for cell in line.strip().strip("|").split("|")])
    return table


def printed(*arguments: str) -> list[list[str]]:
    done = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
    return rows(done.output, "")


@pytest.mark.parametrize(
    ("document", "heading", "arguments"),
    [
        ("infra/README.md", "## What it costs", ("--costs",)),
        ("infra/SCALE.md", "## The bill of a month", ("--costs",)),
        (
            "infra/SCALE.md",
            "And with a page that holds a request all the time",
            ("--costs", "--tab-held", "1", "--tab-poll-s", "20"),
        ),
        ("infra/SCALE.md", "## Pages that are only open", ("--tabs",)),
    ],
)
def test_documents_have_what_the_command_prints(
    document: str, heading: str, arguments: tuple[str, ...]
) -> None:
    """The runbook and the report cannot say what the templates and assumptions no longer give."""
    written = rows((ROOT / document).read_text(), heading)
    assert written[2:] == printed(*arguments)[2:]


def test_world_is_the_one_of_the_templates() -> None:
    """One worker is on demand, as the template says, and Spot comes beyond it."""
    life = World(Assumptions(), seed=1, as_is=False).live(1000)
    assert life.outcome.spot_s == 0
    assert re.match(r"1\.0", f"{life.outcome.mean_workers:.2f}")
