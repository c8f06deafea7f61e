"""Commands for those who keep it running: run, sweep, migrate, health, tasks."""

import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import click
import sqlalchemy as sa

from chalicelib.db.engine import Database
from chalicelib.settings import MOST
from chalicelib.values.fields import Status
from chalicelib.wiring import Wiring
from worker.commands import at_most, find_user_id, wire
from worker.commands.printing import ID, Found, document, example, found, listed, prints

MIGRATIONS = Path(__file__).parents[2] / "infra" / "migrations"

MIGRATION_LOCK = 0x63617272796F7574
"""The advisory lock of migrations: "carryout", as a 64-bit number."""


@click.command(epilog=example("run"))
def run() -> None:
    """Process jobs from the queue until SIGTERM or SIGINT.

    When stopped, a worker saves a checkpoint and hands its task back for another to continue.
    """
    from worker.runner import Runner, alive_file  # noqa: PLC0415

    wiring = wire()
    # The first process of a container has no default for SIGTERM, and waiting for Redis takes long.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    Runner(wiring, alive=alive_file(wiring)).run()


@click.command(epilog=example("sweep"))
@prints
def sweep() -> Found:
    """Run one pass of the reconciler: find lost work and restart it.

    Every worker does this automatically every SWEEP_INTERVAL_S seconds.
    """
    wiring = wire()
    counts = wiring.reconciler.sweep(now=wiring.now())
    return found(", ".join(f"{name}: {count}" for name, count in counts.items()), **counts)


@click.command(epilog=example("migrate"))
@click.option(
    "--application-url",
    envvar="APPLICATION_DATABASE_URL",
    help="Also create the user of this URL, which may read and write rows and nothing else.",
)
@click.option(
    "--application-secret",
    envvar="APPLICATION_DATABASE_SECRET",
    help="Likewise the user of this secret in Secrets Manager.",
)
@prints
def migrate(application_url: str | None, application_secret: str | None) -> Found:
    """Upgrade the database schema to the latest revision, if it isn't there already.

    A schema that is newer than this code (after a rollback) is left unchanged. Run it as the
    owner of the database; the API and workers can then sign in as a user with fewer rights. Each
    run sets that user's password and rights again.
    """
    wiring = wire()
    is_newest = upgrade(wiring.database)
    for name, password in application_users(wiring, application_url, application_secret):
        from chalicelib.db import application_role  # noqa: PLC0415

        application_role.set_up(wiring.database, name=name, password=password)
    newer = ["the schema is newer than this code and was left unchanged"]
    return Found([{"newest": is_newest}], [] if is_newest else newer)


def application_users(
    wiring: Wiring, url: str | None, secret: str | None
) -> Iterator[tuple[str, str]]:
    """Name and password of the users that the application signs in as."""
    if url:
        parts = sa.make_url(url)
        if not parts.username or parts.password is None:
            raise click.UsageError("--application-url has no user and password")
        yield parts.username, str(parts.password)
    if secret:
        credentials = wiring.read_secret(secret)
        yield credentials.username, credentials.password


def upgrade(database: Database) -> bool:
    """Bring a database's schema to the newest revision.

    Returns:
        Whether it is there; False when it is at a revision that this code does not know.
    """
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["database"] = database
    known = {one.revision for one in ScriptDirectory.from_config(config).walk_revisions()}
    with alone(database):
        with database.engine.connect() as connection:
            present = set(MigrationContext.configure(connection).get_current_heads())
        if present - known:
            return False
        command.upgrade(config, "head")
    return True


@contextmanager
def alone(database: Database) -> Iterator[None]:
    """Wait until no other process migrates this database, and keep others from it.

    A deployment that lost sight of its migration may start a second one beside it. The lock is
    the session's: PostgreSQL drops it when the process dies. SQLite has one writer at a time.
    """
    if database.engine.dialect.name == "sqlite":
        yield
        return
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # Outside a transaction: one that idles for as long as a migration takes would be ended.
        connection.execute(sa.select(sa.func.pg_advisory_lock(MIGRATION_LOCK)))
        try:
            yield
        finally:
            connection.execute(sa.select(sa.func.pg_advisory_unlock(MIGRATION_LOCK)))


@click.command(epilog=example("health"))
@prints
def health() -> Found:
    """Exit with 0 if a worker for this queue is alive on this machine, otherwise with 1."""
    from worker.runner import is_alive  # noqa: PLC0415

    if not is_alive(wire()):
        raise click.ClickException("no worker on this machine has reported recently")
    return found("alive", alive=True)


@click.group(epilog=example("tasks list --status failed"))
def tasks() -> None:
    """List, show, retry and cancel tasks."""


@tasks.command("list", epilog=example("tasks list --status failed --json"))
@click.option("--status", type=click.Choice(get_args(Status)), help="Only tasks in this state.")
@click.option("--name", help="Only tasks of this kind.")
@at_most("tasks", most=MOST)
@prints
def list_tasks(status: str | None, name: str | None, limit: int) -> Found:
    """List the newest tasks of all users."""
    from chalicelib.exports.views import list_tasks as find  # noqa: PLC0415
    from chalicelib.values.paging import Page  # noqa: PLC0415

    wiring = wire()
    names = None if name is None else [name]
    with wiring.database.read() as session:
        rows, _ = find(session, page=Page(limit), status=status, names=names)
    facts = [_facts(view.task) for view in rows]
    return listed(facts, _line, "no tasks")


def _facts(task: Any) -> dict[str, Any]:
    names = ("id", "user_id", "name", "status", "percent", "error_code")
    return {name: getattr(task, name) for name in names}


def _line(facts: dict[str, Any]) -> str:
    percent = f"{facts['percent']:>3} %"
    rest = f"{facts['status']:<10} {percent}  {facts['error_code'] or ''}"
    return f"{facts['id']}  {facts['name']:<14} {rest}"


@tasks.command(epilog=example(f"tasks show {ID}"))
@click.argument("task_id")
@prints
def show(task_id: str) -> Found:
    """Show a task's whole story as JSON: as the API does, with attempts, history, messages, log.

    `log` has its lines if LOG_FILE names a file of this machine, and is null otherwise.
    """
    return document({**_shown(task_id), **_story(task_id)})


@tasks.command(epilog=example(f"tasks retry {ID}"))
@click.argument("task_id")
@prints
def retry(task_id: str) -> Found:
    """Queue a failed or cancelled task again."""
    from chalicelib.tasks.requests import retry_task  # noqa: PLC0415

    wiring = wire()
    with wiring.database.write() as session:
        task = retry_task(session, task_id, now=wiring.now())
    hint(wiring, [(task.id, task.name)])
    return found(task.status, id=task.id, status=task.status)


@tasks.command(epilog=example(f"tasks cancel {ID}"))
@click.argument("task_id")
@prints
def cancel(task_id: str) -> Found:
    """Cancel a task: immediately if it is queued, otherwise once its worker has stopped."""
    from chalicelib.tasks.requests import cancel_task  # noqa: PLC0415

    wiring = wire()
    with wiring.database.write() as session:
        lease_s = wiring.settings.lease_s
        task = cancel_task(session, task_id, lease_s=lease_s, now=wiring.now())
    wiring.outbox_hint.send()
    return found(task.status, id=task.id, status=task.status)


@tasks.command(epilog=example("""tasks launch example --user susan --params '{"seconds": 5}'"""))
@click.argument("name")
@click.option("--user", "username", required=True, help="The user whose task it becomes.")
@click.option("--params", default="{}", help="Its parameters, as a JSON object.")
@prints
def launch(name: str, username: str, params: str) -> Found:
    """Launch the task NAME for a user, as the API does, and print its id."""
    import msgspec  # noqa: PLC0415

    from chalicelib.errors import Invalid  # noqa: PLC0415
    from chalicelib.tasks.registry import TASKS  # noqa: PLC0415
    from chalicelib.tasks.requests import TaskRequest, launch_task  # noqa: PLC0415
    from chalicelib.values.fields import check  # noqa: PLC0415

    wiring = wire()
    if name not in TASKS:
        raise click.UsageError(f"no task named {name}; there are {', '.join(TASKS)}")
    kind = TASKS[name]
    try:
        checked = check(msgspec.json.decode(params), kind.model)
    except msgspec.DecodeError as error:
        raise click.UsageError(f"--params is no JSON: {error}") from error
    except Invalid as error:
        flaws = "; ".join(f"{fault.pointer or 'it'} {fault.detail}" for fault in error.faults)
        raise click.UsageError(f"--params: {flaws}") from error
    request = TaskRequest(
        kind=kind, params=kind.store(checked), max_attempts=wiring.settings.task_max_attempts
    )
    user_id = find_user_id(wiring, username)
    with wiring.database.write() as session:
        task = launch_task(session, user_id, request, now=wiring.now()).task
    hint(wiring, [(task.id, task.name)])
    return found(task.id, id=task.id, status=task.status)


def hint(wiring: Wiring, jobs: Iterable[tuple[str, str]]) -> None:
    """Enqueue jobs for tasks, of these ids and kinds; without Redis, the reconciler does so."""
    from chalicelib.adapters.job_queue import QueueError  # noqa: PLC0415

    try:
        wiring.queue.enqueue(jobs)
    except QueueError:
        click.echo("Redis isn't responding; the next sweep will notify the workers.", err=True)


def _shown(task_id: str) -> Any:
    from chalicelib.adapters.job_queue import Workers  # noqa: PLC0415
    from chalicelib.exports.views import view_task  # noqa: PLC0415
    from chalicelib.schemas.serializers import show_task  # noqa: PLC0415

    wiring = wire()
    with wiring.database.read() as session:
        view = view_task(session, task_id)
    now = wiring.now()
    position = wiring.queue_positions.position(view.task, view.counted, now=now)
    return show_task(view, position=position, workers=Workers(1), now=now, prefix="")


def _story(task_id: str) -> dict[str, Any]:
    from chalicelib.operations import stories  # noqa: PLC0415

    wiring = wire()
    with wiring.database.read() as session:
        story = stories.tell(session, task_id)
    log = stories.log_of(wiring.settings.log_file, task_id)
    return {**stories.show_story(story), "log": log, "log_query": stories.log_query(task_id)}


COMMANDS = [run, sweep, migrate, health, tasks]
