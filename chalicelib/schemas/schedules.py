"""Schedules over HTTP: what goes in, and what comes out."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, TypedDict

import msgspec
from msgspec import Meta

from chalicelib.db.models import Schedule as ScheduleRow
from chalicelib.schemas.responses import Count, Path, Task, TaskId, Time
from chalicelib.values.fields import Text, format_time

SHOWN_RUNS = 5
"""How many of the next times are shown."""

_RULE = "FREQ=MONTHLY;BYMONTHDAY=1;BYHOUR=3"

TaskObject = Annotated[dict[str, Any], Meta(examples=[{"name": "export_posts", "params": {}}])]
"""What is to be launched; `TaskChoice` says what it holds, with pointers of its own."""
RuleText = Annotated[Text, Meta(min_length=1, max_length=500, examples=[_RULE])]
ZoneName = Annotated[Text, Meta(min_length=1, max_length=64, examples=["Europe/Madrid"])]


class TaskChoice(msgspec.Struct):
    """A kind of task, and its parameters."""

    name: Text
    params: dict[str, Any] = {}


class NewSchedule(msgspec.Struct):
    """A task to launch again and again.

    Attributes:
        task: What to launch: the kind of task and its parameters.
        rrule: A recurrence rule of RFC 5545, `HOURLY` or slower.
        timezone: The zone by whose clock it runs, by its name in the IANA database.
    """

    task: TaskObject
    rrule: RuleText
    timezone: ZoneName


class ScheduleChange(msgspec.Struct):
    """What of a schedule is to change; a field that is left out stays as it is.

    Attributes:
        enabled: Whether it runs; true also forgives the failures so far.
        rrule: Another recurrence rule.
        timezone: Another time zone.
        task: Another task.
    """

    enabled: bool | msgspec.UnsetType = msgspec.UNSET
    rrule: RuleText | msgspec.UnsetType = msgspec.UNSET
    timezone: ZoneName | msgspec.UnsetType = msgspec.UNSET
    task: TaskObject | msgspec.UnsetType = msgspec.UNSET


class ScheduledTask(TypedDict):
    """What a schedule launches.

    Attributes:
        name: The kind of task.
        params: Its parameters.
    """

    name: Annotated[str, Meta(examples=["export_posts"])]
    params: dict[str, Any]


class ScheduleLinks(TypedDict):
    """Where to go from a schedule.

    Attributes:
        self: The schedule.
        last_task: The task that it launched last.
    """

    self: Path
    last_task: Path | None


class Schedule(TypedDict):
    """A schedule.

    `next_runs` has fewer than five times when the rule ends, and none while it is not enabled.
    `last_task` is the task that was launched last. `skipped` counts the runs for which one of the
    kind was still in progress; `failures` the tasks that failed in a row: after three of them the
    schedule is not enabled any more.

    Attributes:
        id: Its id.
        task: What it launches.
        rrule: Its recurrence rule (RFC 5545).
        timezone: The time zone by whose clock it runs.
        enabled: Whether it runs.
        next_runs: The next five times, in UTC.
        last_task: The task that it launched last; null before the first run.
        skipped: How many runs were skipped.
        failures: How many tasks failed in a row.
        created_at: When it was created.
        links: Where to go from here.
    """

    id: TaskId
    task: ScheduledTask
    rrule: Annotated[str, Meta(examples=[_RULE])]
    timezone: Annotated[str, Meta(examples=["Europe/Madrid"])]
    enabled: bool
    next_runs: list[Time]
    last_task: Task | None
    skipped: Count
    failures: Count
    created_at: Time
    links: ScheduleLinks


class ScheduleList(TypedDict):
    """A page of schedules, the newest first.

    Attributes:
        items: The schedules of this page.
        next: The `cursor` of the next page; null on the last one.
    """

    items: list[Schedule]
    next: str | None


class PauseChange(msgspec.Struct):
    """A kind of task to pause or to resume; without a name, all of them.

    Attributes:
        name: The kind of task; null or left out for all of them.
    """

    name: Annotated[Text, Meta(examples=["export_posts"])] | None = None


def show_schedule(
    schedule: ScheduleRow, *, runs: Sequence[datetime], last_task: Task | None, prefix: str
) -> Schedule:
    """A schedule, to its owner.

    Args:
        schedule: The row.
        runs: Its next times.
        last_task: The task that it launched last, as the API shows it.
        prefix: The path under which the API stands.
    """
    return {
        "id": schedule.id,
        "task": {"name": schedule.name, "params": schedule.params},
        "rrule": schedule.rrule,
        "timezone": schedule.timezone,
        "enabled": schedule.enabled,
        "next_runs": [format_time(one) for one in runs],
        "last_task": last_task,
        "skipped": schedule.skipped,
        "failures": schedule.failures,
        "created_at": format_time(schedule.created_at),
        "links": {
            "self": f"{prefix}/v1/schedules/{schedule.id}",
            "last_task": last_task["links"]["self"] if last_task else None,
        },
    }
