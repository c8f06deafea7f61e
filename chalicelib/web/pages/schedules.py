"""The page of schedules: add one, see when it runs, pause, resume and delete it."""

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from zoneinfo import available_timezones

import msgspec
from chalice.app import Response

from chalicelib.db.models import Schedule
from chalicelib.errors import Conflict, Invalid
from chalicelib.schemas.requests import ListQuery
from chalicelib.schemas.schedules import SHOWN_RUNS, NewSchedule, ScheduleChange
from chalicelib.tasks import schedules as kernel
from chalicelib.tasks.recurrence import WEEKDAYS, Rule, RuleError, find_zone, parse
from chalicelib.tasks.registry import TASKS
from chalicelib.tasks.schedule_runs import MAX_FAILURES
from chalicelib.values.fields import check
from chalicelib.values.languages import Language
from chalicelib.values.paging import cursor
from chalicelib.web import lists
from chalicelib.web import schedules as actions
from chalicelib.web.pages import cards
from chalicelib.web.pages.messages import complaint
from chalicelib.web.pages.page_rendering import language, render
from chalicelib.web.problems import status_of
from chalicelib.web.request import Call

NEW = {
    "every": "week",
    "weekday": "MO",
    "day": "1",
    "time": "03:00",
    "timezone": "UTC",
    "rrule": "",
    "name": "",
}
"""What the form for a new schedule shows at first."""

MONTH_DAYS = (*range(1, 29), -1)
"""The days of a month that every month has; -1 is the last."""


@dataclass(frozen=True)
class Shown:
    """A schedule for the template.

    Attributes:
        schedule: The row.
        title: What its task does.
        rule: When it runs, in words; the rule itself where there are none for it.
        runs: Its next times, by the clock of its zone.
        has_failed: Whether it was disabled because its tasks failed.
    """

    schedule: Schedule
    title: str
    rule: str
    runs: list[str]
    has_failed: bool


def schedules(call: Call) -> Response:
    """The caller's schedules, the newest first, and the form for a new one."""
    return _render(call)


def _render(
    call: Call,
    *,
    status: int = 200,
    given: dict[str, str] | None = None,
    told: str | None = None,
) -> Response:
    page, spoken = lists.page_of(call.query(ListQuery)), language(call)
    with call.wiring.database.read() as session:
        found, more = kernel.list_schedules(session, page=page, user_id=call.user.id)
    last = found[-1] if more else None
    zone = {"timezone": found[0].timezone} if found else {}
    return render(
        call,
        "schedules.html",
        status=status,
        shown=[_show(one, spoken, now=call.now) for one in found],
        more=cursor(last.created_at, last.id) if last else None,
        offered={name: cards.title(name, spoken) for name in _without_parameters()},
        weekdays={code: spoken.weekday(number) for number, code in enumerate(WEEKDAYS)},
        month_days=MONTH_DAYS,
        zones=_zones(),
        given={**NEW, **zone, **(given or {})},
        complaint=told,
    )


def _show(schedule: Schedule, spoken: Language, *, now: datetime) -> Shown:
    runs = kernel.next_runs(schedule, now=now, most=SHOWN_RUNS)
    zone = find_zone(schedule.timezone) if runs else None
    return Shown(
        schedule=schedule,
        title=cards.title(schedule.name, spoken),
        rule=in_words(schedule.rrule, spoken),
        runs=[spoken.local_time(one.astimezone(zone)) for one in runs],
        has_failed=not schedule.enabled and schedule.failures >= MAX_FAILURES,
    )


def _without_parameters() -> list[str]:
    """The kinds of task that the form can offer: it asks for no parameters."""
    return [
        kind.name
        for kind in TASKS.values()
        if not any(field.required for field in msgspec.structs.fields(kind.model))
    ]


@cache
def _zones() -> list[str]:
    """Every zone that has a place in its name, and UTC."""
    return sorted(one for one in available_timezones() if "/" in one or one == "UTC")


def in_words(rrule: str, spoken: Language) -> str:
    """Say when a rule runs; the rule itself where that takes more than a few words."""
    try:
        rule = parse(rrule)
    except RuleError:
        return rrule
    if rrule.upper() == "FREQ=HOURLY":
        return spoken.gettext("Every hour")
    return _plain_words(rule, spoken) if _is_plain(rule) else rrule


def _plain_words(rule: Rule, spoken: Language) -> str:
    weekday = next((spoken.weekday(number) for _, number in rule.by_day), None)
    day = next(iter(rule.by_month_day), None)
    (hour,), minute = rule.by_hour, next(iter(rule.by_minute), 0)
    if weekday is not None:
        said = spoken.gettext("Every %(day)s at %(time)s")
    elif day == -1:
        said = spoken.gettext("Every month on the last day at %(time)s")
    elif day is not None:
        said = spoken.gettext("Every month on day %(day)s at %(time)s")
    else:
        said = spoken.gettext("Every day at %(time)s")
    return said % {"time": f"{hour:02}:{minute:02}", "day": weekday or day}


def _is_plain(rule: Rule) -> bool:
    """Whether a rule is one that the form makes: one time of a day, a week or a month."""
    days = {"DAILY": (0, 0), "WEEKLY": (1, 0), "MONTHLY": (0, 1)}
    plain = Rule(
        frequency=rule.frequency,
        by_day=rule.by_day,
        by_month_day=rule.by_month_day,
        by_hour=rule.by_hour,
        by_minute=rule.by_minute,
    )
    counted = (len(rule.by_day), len(rule.by_month_day))
    return (
        rule == plain
        and len(rule.by_hour) == 1
        and len(rule.by_minute) <= 1
        and counted == days.get(rule.frequency)
        and min((*rule.by_month_day, 1)) >= -1
    )


def submit(call: Call) -> Response:
    """Add a schedule, or show what is wrong with it."""
    given = {name: call.form.get(name, "") for name in NEW}
    try:
        new = {
            "task": {"name": given["name"]},
            "rrule": given["rrule"].strip() or _rule_of(given),
            "timezone": given["timezone"].strip(),
        }
        actions.create(call, check(new, NewSchedule))
    except (Invalid, Conflict) as error:
        told = complaint(error, language(call))
        return _render(call, status=status_of(error), given=given, told=told)
    return call.see_other("/schedules")


def _rule_of(given: dict[str, str]) -> str:
    """The rule that the form's fields describe; what is wrong with them is wrong with it."""
    hour, _, minute = given["time"].partition(":")
    clock = f"BYHOUR={hour};BYMINUTE={minute}"
    rules = {
        "hour": "FREQ=HOURLY",
        "day": f"FREQ=DAILY;{clock}",
        "week": f"FREQ=WEEKLY;BYDAY={given['weekday']};{clock}",
        "month": f"FREQ=MONTHLY;BYMONTHDAY={given['day']};{clock}",
    }
    return rules.get(given["every"], "?")


def submit_switch(call: Call, schedule_id: str, *, enabled: bool) -> Response:
    """Pause or resume a schedule."""
    actions.change(call, schedule_id, ScheduleChange(enabled=enabled))
    return call.see_other("/schedules")


def submit_deletion(call: Call, schedule_id: str) -> Response:
    """Delete a schedule."""
    actions.delete(call, schedule_id)
    return call.see_other("/schedules")
