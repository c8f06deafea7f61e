"""Commands for what operators look at: the outbox, imports, limits."""

from typing import Any, get_args

import click

from chalicelib.values.fields import MessageState
from worker.commands import at_most, wire
from worker.commands.printing import Found, example, listed, prints


@click.group(epilog=example("outbox list --state failed"))
def outbox() -> None:
    """List and count emails and deliveries to webhooks."""


@outbox.command("list", epilog=example("outbox list --state failed --topic webhook --json"))
@click.option(
    "--state", type=click.Choice(get_args(MessageState)), help="Only messages in this state."
)
@click.option("--topic", help="Only messages of this topic: webhook, export, confirm, …")
@at_most("messages")
@prints
def list_outbox(state: str | None, topic: str | None, limit: int) -> Found:
    """List the newest messages of all users; never what they say or where they go."""
    from chalicelib.operations.oversight import list_messages  # noqa: PLC0415
    from chalicelib.schemas.administration import show_message  # noqa: PLC0415
    from chalicelib.values.paging import Page  # noqa: PLC0415

    with wire().database.read() as session:
        states = [state] if state else []
        messages, _ = list_messages(session, page=Page(limit), states=states, topic=topic)
    facts = [show_message(one.row, one.username) for one in messages]
    return listed(facts, _message_line, "no messages")


def _message_line(one: Any) -> str:
    why = one["error"] or one["status"] or ""
    names = f"{one['topic']:<16} {one['state']:<11} {one['owner']['username']:<16}"
    return f"{one['id']}  {names} {one['created_at']:<27} {why}".rstrip()


@outbox.command("count", epilog=example("outbox count"))
@prints
def count_outbox() -> Found:
    """Count messages by topic and state."""
    from chalicelib.operations.prometheus import count_messages  # noqa: PLC0415

    counts = sorted(count_messages(wire().database).items())
    facts = [{"topic": topic, "state": state, "count": count} for (topic, state), count in counts]
    return listed(
        facts,
        lambda one: f"{one['topic']:<16} {one['state']:<11} {one['count']:>9,}",
        "no messages",
    )


@click.group(epilog=example("imports list"))
def imports() -> None:
    """List the imports of all users; `import` imports a file."""


@imports.command("list", epilog=example("imports list --limit 100 --json"))
@at_most("imports")
@prints
def list_all_imports(limit: int) -> Found:
    """List the newest imports of all users."""
    from chalicelib.operations.oversight import list_imports  # noqa: PLC0415
    from chalicelib.schemas.administration import show_import  # noqa: PLC0415
    from chalicelib.values.paging import Page  # noqa: PLC0415

    wiring = wire()
    with wiring.database.read() as session:
        found, _ = list_imports(session, page=Page(limit))
    facts = [show_import(one.row, one.username, now=wiring.now()) for one in found]
    return listed(facts, _import_line, "no imports")


def _import_line(one: Any) -> str:
    names = f"{one['status']:<10} {one['owner']['username']:<16} {one['format'] or '-':<18}"
    added = "" if one["imported"] is None else f"{one['imported']:,} imported"
    return f"{one['id']}  {names} {one['created_at']:<27} {added}".rstrip()


@click.command(epilog=example("limits --json"))
@prints
def limits() -> Found:
    """List who was refused by which limit within a day, most often first."""
    from chalicelib.schemas.administration import show_refusal  # noqa: PLC0415

    refusals = [show_refusal(one) for one in wire().rate_limiter.refusals()]
    return listed(
        refusals,
        lambda one: f"{one['limit']:<24} {one['who'] or '-':<24} {one['count']:>9,}  {one['last']}",
        "nobody was refused within a day",
    )


COMMANDS = [outbox, imports, limits]
