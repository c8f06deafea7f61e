"""Schedules: tasks that are launched again and again by a recurrence rule.

`settled_at` says up to when the runs of a schedule are accounted for; the next one is the first of
its rule after that. The reconciler launches what is due, in one commit with the next time, so that
many reconcilers make one task; whatever an outage kept it from is caught up with by one run.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.engine import Database, db_clock
from chalicelib.db.models import Schedule, User
from chalicelib.errors import (
    CoolingDown,
    NotFound,
    ScheduleEnded,
    TaskInProgress,
    TooManySchedules,
    Unauthenticated,
)
from chalicelib.tasks.recurrence import Recurrence, RuleError, find_zone, parse
from chalicelib.tasks.registry import TASKS, TaskKind
from chalicelib.tasks.requests import TaskRequest, launch_task
from chalicelib.values.paging import Page

log = logging.getLogger(__name__)

MOST_PER_USER = 500
"""How many schedules a user may have."""

ROW = cast("sa.Table", Schedule.__table__).c

MakeRequest = Callable[[TaskKind, Mapping[str, Any]], TaskRequest]
"""Makes the request of a run out of its kind and its parameters."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to run, and when; every part valid already.

    Attributes:
        name: A registered kind of task.
        params: Its parameters, as JSON can hold them.
    """

    name: str
    params: Mapping[str, Any]
    rrule: str
    timezone: str


def recurrence(rrule: str, timezone: str, *, anchor: datetime) -> Recurrence:
    """When a rule runs.

    Raises:
        RuleError: The rule or the zone is not valid.
    """
    return Recurrence(parse(rrule), find_zone(timezone), anchor)


def next_runs(schedule: Schedule, *, now: datetime, most: int) -> list[datetime]:
    """The next times of a schedule; none while it is disabled, and none after its last."""
    if not schedule.enabled:
        return []
    try:
        return _recurrence_of(schedule).after(max(now, schedule.settled_at), most=most)
    except RuleError:  # the machine has no data of this zone any more
        return []


def _recurrence_of(schedule: Schedule) -> Recurrence:
    return recurrence(schedule.rrule, schedule.timezone, anchor=schedule.anchor)


# --- What users do ---


def create(session: so.Session, user_id: int, plan: Plan) -> Schedule:
    """Add a schedule.

    Raises:
        Unauthenticated: The user is gone.
        TooManySchedules: They have as many as they may.
    """
    now = _lock_user(session, user_id)
    if now is None:
        raise Unauthenticated
    count = sa.select(sa.func.count()).select_from(Schedule).where(Schedule.user_id == user_id)
    if (session.scalar(count) or 0) >= MOST_PER_USER:
        raise TooManySchedules
    schedule = Schedule(
        id=str(uuid4()),
        user_id=user_id,
        name=plan.name,
        params=dict(plan.params),
        rrule=plan.rrule,
        timezone=plan.timezone,
        created_at=now,
        enabled=True,
        skipped=0,
        failures=0,
    )
    _begin(schedule, now)
    session.add(schedule)
    session.flush()
    return schedule


def _begin(schedule: Schedule, now: datetime) -> None:
    """Count the rule from now on."""
    schedule.anchor = schedule.settled_at = now
    _plan_next(schedule)


def _plan_next(schedule: Schedule) -> None:
    runs = _recurrence_of(schedule).after(schedule.settled_at, most=1) if schedule.enabled else []
    schedule.next_run_at = runs[0] if runs else None


def get(session: so.Session, schedule_id: str, *, owner: int | None = None) -> Schedule:
    """One schedule.

    Args:
        session: A session to read with.
        schedule_id: Which one.
        owner: The user whose it must be; None for anybody's.

    Raises:
        NotFound: There is none of this id, or it is somebody else's.
    """
    return _found(session.scalar(_of(schedule_id, owner)))


def _of(schedule_id: str, owner: int | None) -> sa.Select[Schedule]:
    statement = sa.select(Schedule).where(Schedule.id == schedule_id)
    return statement if owner is None else statement.where(Schedule.user_id == owner)


def _found(schedule: Schedule | None) -> Schedule:
    if schedule is None:
        raise NotFound
    return schedule


def list_schedules(
    session: so.Session, *, page: Page, user_id: int | None = None
) -> tuple[Sequence[Schedule], bool]:
    """A page of schedules, the newest first, and whether more follow: a user's, or everybody's."""
    statement = sa.select(Schedule)
    if user_id is not None:
        statement = statement.where(Schedule.user_id == user_id)
    found = session.scalars(page.of(statement, Schedule.created_at, Schedule.id))
    return page.cut(found.all())


def change(
    session: so.Session,
    schedule_id: str,
    *,
    owner: int | None = None,
    enabled: bool | None = None,
    plan: Callable[[Schedule], Plan] | None = None,
) -> Schedule:
    """Change a schedule.

    Args:
        session: A writing session.
        schedule_id: Which one.
        owner: The user whose it must be; None for anybody's.
        enabled: Whether it runs; None leaves it as it is. Runs of the time while it did not are
            not caught up with.
        plan: Makes the new plan out of the schedule as it stands; None leaves it as it is. A new
            rule or zone counts from now on.

    Raises:
        NotFound: There is none of this id, or it is somebody else's.
        ScheduleEnded: It is to be enabled, and its rule names no time from now on.
    """
    schedule = _found(session.scalar(_of(schedule_id, owner).with_for_update()))
    now = _clock(session)
    if plan is not None:
        _replan(schedule, plan(schedule), now)
    if enabled is not None and enabled != schedule.enabled:
        schedule.enabled, schedule.failures, schedule.settled_at = enabled, 0, now
        _plan_next(schedule)
    if enabled and schedule.next_run_at is None:
        raise ScheduleEnded
    session.flush()
    return schedule


def _replan(schedule: Schedule, plan: Plan, now: datetime) -> None:
    schedule.name, schedule.params = plan.name, dict(plan.params)
    if (plan.rrule, plan.timezone) != (schedule.rrule, schedule.timezone):
        schedule.rrule, schedule.timezone = plan.rrule, plan.timezone
        _begin(schedule, now)


def delete(session: so.Session, schedule_id: str, *, owner: int | None = None) -> None:
    """Delete a schedule; the tasks that it launched stay.

    Raises:
        NotFound: There is none of this id, or it is somebody else's.
    """
    statement = sa.delete(Schedule).where(Schedule.id == schedule_id)
    if owner is not None:
        statement = statement.where(Schedule.user_id == owner)
    if session.scalar(statement.returning(Schedule.id)) is None:
        raise NotFound


def _clock(session: so.Session) -> datetime:
    return session.execute(sa.select(db_clock())).scalar_one()


def _lock_user(session: so.Session, user_id: int) -> datetime | None:
    """Lock a user before anything of theirs, as everybody does, or two could wait in a circle.

    Returns:
        The time; None when the user is gone.
    """
    statement = sa.select(User.id).where(User.id == user_id).with_for_update()
    return None if session.scalar(statement) is None else _clock(session)


# --- What the reconciler does ---


_DUE = sa.and_(ROW.next_run_at.is_not(None), ROW.next_run_at <= db_clock())
"""In the words of the partial index."""


def launch_due(database: Database, make_request: MakeRequest, *, most: int) -> int:
    """Launch what is due, each with a commit of its own.

    Left out are kinds of tasks that this code does not know, as after a rollback.

    Args:
        database: The ledger, by whose clock schedules run.
        make_request: Makes the request of a run.
        most: How many.

    Returns:
        How many tasks were launched.
    """
    statement = (
        sa.select(ROW.id, ROW.user_id)
        .where(_DUE, ROW.name.in_(TASKS))
        .order_by(ROW.next_run_at)
        .limit(most)
    )
    with database.read() as session:
        due = session.execute(statement).all()
    return sum(_launch_or_leave(database, *row, make_request) for row in due)


def _launch_or_leave(
    database: Database, schedule_id: str, user_id: int, make_request: MakeRequest
) -> bool:
    try:
        return _launch(database, schedule_id, user_id, make_request)
    except Exception:
        # One that cannot be launched must not keep the others from it; the next pass tries again.
        facts = {"action": "schedule", "schedule_id": schedule_id}
        log.warning("could not launch", extra=facts, exc_info=True)
        return False


def _launch(database: Database, schedule_id: str, user_id: int, make_request: MakeRequest) -> bool:
    with database.write() as session:
        now = _lock_user(session, user_id)
        # Under the lock it may be due no longer: another reconciler was here.
        due = _of(schedule_id, user_id).where(_DUE).with_for_update()
        schedule = session.scalar(due.execution_options(populate_existing=True))
        if now is None or schedule is None:
            return False
        # By today's rules of the zone, which may have changed since the time was planned.
        planned = _recurrence_of(schedule).after(schedule.settled_at, most=1)
        request, task_id = make_request(TASKS[schedule.name], schedule.params), None
        if planned and planned[0] <= now:
            task_id = _run(session, schedule, request, now)
            schedule.settled_at = now
        _plan_next(schedule)
    if task_id is not None:
        facts = {"action": "schedule", "schedule_id": schedule_id, "task_id": task_id}
        log.info("scheduled task launched", extra=facts)
    return task_id is not None


def _run(
    session: so.Session, schedule: Schedule, request: TaskRequest, now: datetime
) -> str | None:
    """Launch a task, or skip this run because one of its kind is in progress, or too fresh."""
    request = replace(request, schedule_id=schedule.id)
    try:
        task = launch_task(session, schedule.user_id, request, now=now).task
    except (TaskInProgress, CoolingDown):
        schedule.skipped += 1
        return None
    schedule.last_task_id = task.id
    return task.id
