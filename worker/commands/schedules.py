"""Commands about schedules, and about what is paused."""

from typing import Any

import click

from worker.commands import at_most, find_user_id, wire
from worker.commands.operating import hint, tasks
from worker.commands.printing import ID, Found, document, example, found, listed, prints


@click.group(epilog=example("schedules list --user susan"))
def schedules() -> None:
    """List, show, pause, resume and delete schedules."""


@schedules.command("list", epilog=example("schedules list --user susan --json"))
@click.option("--user", "username", help="Only the schedules of this user.")
@at_most("schedules")
@prints
def list_schedules(username: str | None, limit: int) -> Found:
    """List the newest schedules, of all users or of one."""
    from chalicelib.tasks.schedules import list_schedules as find  # noqa: PLC0415
    from chalicelib.values.paging import Page  # noqa: PLC0415

    wiring = wire()
    user_id = None if username is None else find_user_id(wiring, username)
    with wiring.database.read() as session:
        rows, _ = find(session, page=Page(limit), user_id=user_id)
    facts = [_facts(one) for one in rows]
    return listed(facts, _line, "no schedules")


def _facts(schedule: Any) -> dict[str, Any]:
    from chalicelib.schemas.serializers import show_time  # noqa: PLC0415

    names = ("id", "user_id", "name", "rrule", "timezone", "enabled", "skipped", "failures")
    known = {name: getattr(schedule, name) for name in names}
    return {**known, "next_run_at": show_time(schedule.next_run_at)}


def _line(facts: dict[str, Any]) -> str:
    state, following = "enabled" if facts["enabled"] else "paused", facts["next_run_at"] or "-"
    return f"{facts['id']}  {facts['name']:<14} {state:<8} {following:<20} {facts['rrule']}"


@schedules.command(epilog=example(f"schedules show {ID}"))
@click.argument("schedule_id")
@prints
def show(schedule_id: str) -> Found:
    """Show a schedule as JSON, with its next runs."""
    from chalicelib.schemas.schedules import SHOWN_RUNS, show_schedule  # noqa: PLC0415
    from chalicelib.tasks.schedules import get, next_runs  # noqa: PLC0415

    wiring = wire()
    with wiring.database.read() as session:
        schedule = get(session, schedule_id)
    runs = next_runs(schedule, now=wiring.now(), most=SHOWN_RUNS)
    shown = show_schedule(schedule, runs=runs, last_task=None, prefix="")
    shown_last = {"last_task": schedule.last_task_id, "user_id": schedule.user_id}
    return document({**shown, **shown_last})


@schedules.command(epilog=example(f"schedules pause {ID}"))
@click.argument("schedule_id")
@prints
def pause(schedule_id: str) -> Found:
    """Pause a schedule: nothing is launched until it is resumed."""
    return _switch(schedule_id, enabled=False)


@schedules.command(epilog=example(f"schedules resume {ID}"))
@click.argument("schedule_id")
@prints
def resume(schedule_id: str) -> Found:
    """Resume a schedule from now on."""
    return _switch(schedule_id, enabled=True)


def _switch(schedule_id: str, *, enabled: bool) -> Found:
    from chalicelib.tasks.schedules import change  # noqa: PLC0415

    with wire().database.write() as session:
        change(session, schedule_id, enabled=enabled)
    return found("enabled" if enabled else "paused", id=schedule_id, enabled=enabled)


@schedules.command(epilog=example(f"schedules delete {ID}"))
@click.argument("schedule_id")
@prints
def delete(schedule_id: str) -> Found:
    """Delete a schedule; the tasks that it launched stay."""
    from chalicelib.tasks.schedules import delete as remove  # noqa: PLC0415

    with wire().database.write() as session:
        remove(session, schedule_id)
    return found("deleted", id=schedule_id, deleted=True)


@tasks.command("pause", epilog=example("tasks pause export_posts"))
@click.argument("name", required=False)
@prints
def pause_tasks(name: str | None) -> Found:
    """Keep workers from beginning tasks of the kind NAME, or any; running tasks go on."""
    from chalicelib.tasks import pauses  # noqa: PLC0415

    wiring, kind = wire(), _kind(name)
    with wiring.database.write() as session:
        pauses.pause(session, kind)
        paused = pauses.list_paused(session)
    return _paused(paused)


@tasks.command("resume", epilog=example("tasks resume export_posts"))
@click.argument("name", required=False)
@prints
def resume_tasks(name: str | None) -> Found:
    """Resume tasks of the kind NAME, or all that is paused."""
    from chalicelib.tasks import pauses  # noqa: PLC0415

    wiring, kind = wire(), _kind(name)
    with wiring.database.write() as session:
        due = pauses.resume(session, kind)
        paused = pauses.list_paused(session)
    hint(wiring, due)
    return _paused(paused)


def _paused(kinds: list[str]) -> Found:
    return found(f"paused: {', '.join(kinds) or 'nothing'}", paused=kinds)


def _kind(name: str | None) -> str:
    from chalicelib.tasks.pauses import EVERYTHING  # noqa: PLC0415
    from chalicelib.tasks.registry import TASKS  # noqa: PLC0415

    if name is None:
        return EVERYTHING
    if name not in TASKS:
        raise click.UsageError(f"no task named {name}; there are {', '.join(TASKS)}")
    return name


COMMANDS = [schedules]
