"""What users do with schedules, and operators with pauses, over the API and with the pages."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import msgspec
from chalice.app import Response

from chalicelib.adapters.job_queue import QueueError, Workers
from chalicelib.db.models import Schedule
from chalicelib.errors import Fault, Invalid, NotFound
from chalicelib.exports.views import view_tasks
from chalicelib.schemas import responses
from chalicelib.schemas import schedules as schemas
from chalicelib.schemas.requests import ListQuery
from chalicelib.tasks import pauses, schedules
from chalicelib.tasks.recurrence import RuleError, find_zone, parse
from chalicelib.tasks.registry import TASKS, repeatable_kinds
from chalicelib.tasks.schedules import Plan
from chalicelib.values.fields import check
from chalicelib.values.paging import cursor
from chalicelib.web import actions, lists, status
from chalicelib.web.request import Call

log = logging.getLogger(__name__)


def create(call: Call, new: schemas.NewSchedule) -> schemas.Schedule:
    """Add a schedule of the caller's.

    Raises:
        Invalid: No kind has this name, its parameters are not valid, or the rule or the zone is
            not, or never runs.
        TooManySchedules: The caller has as many as they may.
    """
    plan = check_plan(new.task, new.rrule, new.timezone, now=call.now)
    with call.wiring.database.write() as session:
        schedule = schedules.create(session, call.user.id, plan)
    log.info("schedule created", extra={"action": "schedule", "schedule_id": schedule.id})
    return show(call, [schedule])[0]


def check_plan(task: dict[str, Any], rrule: str, timezone: str, *, now: datetime) -> Plan:
    """Make a plan of what somebody asks for.

    Raises:
        Invalid: With everything that is wrong.
    """
    faults: list[Fault] = []
    name, params = "", dict[str, Any]()
    with _collecting(faults):
        name, params = _check_task(task)
    with _collecting(faults):
        _check_rule(rrule, timezone, now=now)
    if faults:
        raise Invalid(*faults)
    return Plan(name=name, params=params, rrule=rrule, timezone=timezone)


@contextmanager
def _collecting(faults: list[Fault]) -> Iterator[None]:
    try:
        yield
    except Invalid as error:
        faults += error.faults


def _check_task(task: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    choice = check(task, schemas.TaskChoice, at="/task")
    if choice.name not in repeatable_kinds():
        raise Invalid(Fault("/task/name", "must be one of " + ", ".join(repeatable_kinds())))
    kind = TASKS[choice.name]
    return kind.name, actions.stored_params(kind, choice.params, at="/task/params")


def _check_rule(rrule: str, timezone: str, *, now: datetime) -> None:
    faults = []
    for pointer, read, text in (("/rrule", parse, rrule), ("/timezone", find_zone, timezone)):
        try:
            read(text)
        except RuleError as error:
            faults.append(Fault(pointer, str(error)))
    if faults:
        raise Invalid(*faults)
    if not schedules.recurrence(rrule, timezone, anchor=now).after(now, most=1):
        raise Invalid(Fault("/rrule", "must name a time within the next 50 years"))


def get(call: Call, schedule_id: str) -> schemas.Schedule:
    """A schedule of the caller's.

    Raises:
        NotFound: They have none of this id.
    """
    with call.wiring.database.read() as session:
        schedule = schedules.get(session, schedule_id, owner=call.user.id)
    return show(call, [schedule])[0]


def list_all(call: Call) -> Response:
    """A page of the caller's schedules."""
    page = lists.page_of(call.query(ListQuery))
    with call.wiring.database.read() as session:
        found, more = schedules.list_schedules(session, page=page, user_id=call.user.id)
    last = found[-1] if more else None
    after = cursor(last.created_at, last.id) if last else None
    return lists.list_response(call, show(call, found), after=after)


def change(call: Call, schedule_id: str, wanted: schemas.ScheduleChange) -> schemas.Schedule:
    """Change a schedule of the caller's.

    Raises:
        NotFound: They have none of this id.
        Invalid: As for `create`.
        ScheduleEnded: It is to be enabled, and its rule names no time from now on.
    """
    given = {
        name: value
        for name, value in msgspec.structs.asdict(wanted).items()
        if value is not msgspec.UNSET
    }
    enabled = given.pop("enabled", None)

    def plan(schedule: Schedule) -> Plan:
        asked = {
            "task": {"name": schedule.name, "params": schedule.params},
            "rrule": schedule.rrule,
            "timezone": schedule.timezone,
        }
        return check_plan(**asked | given, now=call.now)

    with call.wiring.database.write() as session:
        schedule = schedules.change(
            session,
            schedule_id,
            owner=call.user.id,
            enabled=enabled,
            plan=plan if given else None,
        )
    return show(call, [schedule])[0]


def delete(call: Call, schedule_id: str) -> None:
    """Delete a schedule of the caller's.

    Raises:
        NotFound: They have none of this id.
    """
    with call.wiring.database.write() as session:
        schedules.delete(session, schedule_id, owner=call.user.id)


def show(call: Call, found: Sequence[Schedule]) -> list[schemas.Schedule]:
    """Schedules as the API shows them, with their last tasks."""
    with call.wiring.database.read() as session:
        views = view_tasks(session, [one.last_task_id for one in found if one.last_task_id])
    queued = any(view.task.status == "queued" for view in views.values())
    alive = status.workers_alive(call) if queued else Workers(1)
    tasks = {task_id: lists.show(call, view, alive=alive) for task_id, view in views.items()}
    return [
        schemas.show_schedule(
            one,
            runs=schedules.next_runs(one, now=call.now, most=schemas.SHOWN_RUNS),
            last_task=tasks.get(one.last_task_id or ""),
            prefix=call.prefix,
        )
        for one in found
    ]


# --- Pauses ---


def pause(call: Call, name: str | None) -> responses.Queue:
    """Keep workers from claiming tasks of a kind, or of any.

    Raises:
        Invalid: No kind has this name.
    """
    with call.wiring.database.write() as session:
        pauses.pause(session, _kind_to_pause(name))
    log.info("paused", extra={"action": "pause", "task_name": name})
    return status.queue_state(call)


def resume(call: Call, name: str | None) -> responses.Queue:
    """End a pause, and wake the workers up at once; for all kinds, those of each kind, too.

    Raises:
        Invalid: No kind has this name.
    """
    with call.wiring.database.write() as session:
        due = pauses.resume(session, _kind_to_pause(name))
    log.info("resumed", extra={"action": "resume", "task_name": name})
    try:
        call.wiring.queue.enqueue(due)
    except QueueError:
        log.warning("could not enqueue", extra={"action": "resume"}, exc_info=True)
    return status.queue_state(call)


def _kind_to_pause(name: str | None) -> str:
    if name is None:
        return pauses.EVERYTHING
    if name not in TASKS:
        raise Invalid(Fault("/name", "must be one of " + ", ".join(TASKS)))
    return name


def paused_kind(name: str) -> str | None:
    """What a form names: a kind, or all of them by `*`.

    Raises:
        NotFound: There is no such kind.
    """
    if name != pauses.EVERYTHING and name not in TASKS:
        raise NotFound
    return None if name == pauses.EVERYTHING else name
