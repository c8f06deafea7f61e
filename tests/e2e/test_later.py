"""What begins by itself: schedules and delayed tasks, in processes as they run in production."""

from datetime import UTC, datetime, timedelta

from chalicelib.values.fields import format_time, parse_time
from tests.harness.stacks import Stack
from tests.harness.waiting import wait_until


def soon() -> datetime:
    """A whole second ahead, by more than a busy machine needs for a request."""
    return (datetime.now(UTC) + timedelta(seconds=6)).replace(microsecond=0)


def test_schedule_runs(stack: Stack) -> None:
    """The worker's reconciler launches the task when it is due, and the schedule names it."""
    susan, moment = stack.join("susan"), soon()
    plan = {
        "task": {"name": "example", "params": {"seconds": 0}},
        "rrule": f"FREQ=HOURLY;BYMINUTE={moment.minute};BYSECOND={moment.second}",
        "timezone": "Asia/Seoul",
    }
    made = susan.call("POST", "/v1/schedules", plan, 201)
    assert parse_time(made["next_runs"][0]) == moment

    def done() -> bool:
        shown = susan.call("GET", made["links"]["self"])
        last = shown["last_task"]
        return bool(last and last["status"] == "succeeded")

    wait_until(done, "the task has run")
    shown = susan.call("GET", made["links"]["self"])
    assert parse_time(shown["last_task"]["created_at"]) >= moment
    assert parse_time(shown["next_runs"][0]) == moment + timedelta(hours=1)
    assert len(susan.call("GET", "/v1/tasks")["items"]) == 1


def test_delayed_task_begins_at_its_time(stack: Stack) -> None:
    """A task that was asked to wait begins soon after its time, and not before."""
    david, moment = stack.join("david"), soon()
    wanted = {"name": "example", "params": {"seconds": 0}, "not_before": format_time(moment)}
    task = david.call("POST", "/v1/tasks", wanted, 202)
    assert task["waiting_for"] == "time"
    task = david.wait_for(task["id"], "succeeded")
    assert parse_time(task["started_at"]) >= moment - timedelta(seconds=1)
