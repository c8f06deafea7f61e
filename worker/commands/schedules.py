"""Commands about schedules, and about what is paused."""

import json

import click

from worker.commands import find_user_id, wire
from worker.commands.operating import tasks


@click.group()
def schedules() -> None:
    """List, show, pause, resume and delete schedules."""


@schedules.command("list")
@click.option("--user", "username", help="Only the schedules of this user.")
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(min=1, max=1_000_000),
    help="Maximum number of schedules to list.",
)
def list_schedules(username: str | None, limit: int) -> None:
    """List the newest schedules, of all users or of one."""
    from chalicelib.tasks.schedules import list_schedules as find  # noqa: PLC0415
    from chalicelib.values.fields import format_time  # noqa: PLC0415
    from chalicelib.values.paging import Page  # noqa: PLC0415

    wiring = wire()
    user_id = None if username is None else find_user_id(wiring, username)
    with wiring.database.read() as session:
        found, _ = find(session, page=Page(limit), user_id=user_id)
    for one in found:
        following = format_time(one.next_run_at) if one.next_run_at else "-"
        state = "enabled" if one.enabled else "paused"
        click.echo(f"{one.id}  {one.name:<14} {state:<8} {following:<20} {one.rrule}")
    if not found:
        click.echo("no schedules")


@schedules.command()
@click.argument("schedule_id")
def show(schedule_id: str) -> None:
    """Show a schedule as JSON, with its next runs."""
    from chalicelib.schemas.schedules import SHOWN_RUNS, show_schedule  # noqa: PLC0415
    from chalicelib.tasks.schedules import get, next_runs  # noqa: PLC0415

    wiring = wire()
    with wiring.database.read() as session:
        schedule = get(session, schedule_id)
    runs = next_runs(schedule, now=wiring.now(), most=SHOWN_RUNS)
    shown = show_schedule(schedule, runs=runs, last_task=None, prefix="")
    shown_last = {"last_task": schedule.last_task_id, "user_id": schedule.user_id}
    click.echo(json.dumps({**shown, **shown_last}, indent=2, ensure_ascii=False))


@schedules.command()
@click.argument("schedule_id")
def pause(schedule_id: str) -> None:
    """Pause a schedule: nothing is launched until it is resumed."""
    _switch(schedule_id, enabled=False)


@schedules.command()
@click.argument("schedule_id")
def resume(schedule_id: str) -> None:
    """Resume a schedule from now on."""
    _switch(schedule_id, enabled=True)


def _switch(schedule_id: str, *, enabled: bool) -> None:
    from chalicelib.tasks.schedules import change  # noqa: PLC0415

    with wire().database.write() as session:
        change(session, schedule_id, enabled=enabled)
    click.echo("enabled" if enabled else "paused")


@schedules.command()
@click.argument("schedule_id")
def delete(schedule_id: str) -> None:
    """Delete a schedule; the tasks that it launched stay."""
    from chalicelib.tasks.schedules import delete as remove  # noqa: PLC0415

    with wire().database.write() as session:
        remove(session, schedule_id)
    click.echo("deleted")


@tasks.command("pause")
@click.argument("name", required=False)
def pause_tasks(name: str | None) -> None:
    """Keep workers from beginning tasks of the kind NAME, or any; running tasks go on."""
    from chalicelib.tasks import pauses  # noqa: PLC0415

    wiring, kind = wire(), _kind(name)
    with wiring.database.write() as session:
        pauses.pause(session, kind)
        paused = pauses.list_paused(session)
    click.echo(f"paused: {', '.join(paused)}")


@tasks.command("resume")
@click.argument("name", required=False)
def resume_tasks(name: str | None) -> None:
    """Resume tasks of the kind NAME, or all that is paused."""
    from chalicelib.adapters.job_queue import QueueError  # noqa: PLC0415
    from chalicelib.tasks import pauses  # noqa: PLC0415

    wiring, kind = wire(), _kind(name)
    with wiring.database.write() as session:
        due = pauses.resume(session, kind)
        paused = pauses.list_paused(session)
    try:
        wiring.queue.enqueue(due)
    except QueueError:
        click.echo("Redis isn't responding; the next sweep will notify the workers.", err=True)
    click.echo(f"paused: {', '.join(paused) or 'nothing'}")


def _kind(name: str | None) -> str:
    from chalicelib.tasks.pauses import EVERYTHING  # noqa: PLC0415
    from chalicelib.tasks.registry import TASKS  # noqa: PLC0415

    if name is None:
        return EVERYTHING
    if name not in TASKS:
        raise click.UsageError(f"no task named {name}; there are {', '.join(TASKS)}")
    return name


COMMANDS = [schedules]
