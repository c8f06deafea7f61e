"""Commands about webhooks: list, show, pause, resume, delete, redeliver."""

import json
from typing import Any

import click

from worker.commands import find_user_id, wire


@click.group()
def webhooks() -> None:
    """List, show, pause, resume and delete webhooks, and deliver to them again."""


@webhooks.command("list")
@click.option("--user", "username", help="Only webhooks of this user.")
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(min=1),
    help="Maximum number of webhooks to list.",
)
def list_webhooks(username: str | None, limit: int) -> None:
    """List the newest webhooks: of all users, or of one."""
    from chalicelib.outbox.webhooks import list_webhooks as find  # noqa: PLC0415
    from chalicelib.values.paging import Page  # noqa: PLC0415

    wiring = wire()
    user_id = None if username is None else find_user_id(wiring, username)
    with wiring.database.read() as session:
        found, _ = find(session, page=Page(limit), user_id=user_id)
    for one in found:
        state = "enabled" if one.enabled else one.disabled_reason or "disabled"
        click.echo(f"{one.id}  user {one.user_id:<6} {state:<8} {_host(one.url)}")
    if not found:
        click.echo("no webhooks")


def _host(url: str) -> str:
    """Where a webhook leads; the rest of its URL may hold a secret of its receiver's."""
    return "/".join(url.split("/", 3)[:3])


@webhooks.command()
@click.argument("webhook_id")
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(min=1),
    help="Maximum number of deliveries to show.",
)
def show(webhook_id: str, limit: int) -> None:
    """Show a webhook and its newest deliveries as JSON, as the API does; never its secret."""
    from chalicelib.outbox.webhooks import get_webhook, list_deliveries  # noqa: PLC0415
    from chalicelib.schemas.webhooks import show_delivery, show_webhook  # noqa: PLC0415
    from chalicelib.values.paging import Page  # noqa: PLC0415

    wiring = wire()
    with wiring.database.read() as session:
        webhook = get_webhook(session, webhook_id)
        found, _ = list_deliveries(session, webhook_id, page=Page(limit))
    shown: dict[str, Any] = {**show_webhook(webhook, prefix="")}
    shown["deliveries"] = [show_delivery(one, prefix="") for one in found]
    click.echo(json.dumps(shown, indent=2, ensure_ascii=False))


@webhooks.command()
@click.argument("webhook_id")
def pause(webhook_id: str) -> None:
    """Deliver nothing to a webhook until it is resumed."""
    _enable(webhook_id, enabled=False)
    click.echo("paused")


@webhooks.command()
@click.argument("webhook_id")
def resume(webhook_id: str) -> None:
    """Deliver to a webhook again, whatever disabled it."""
    _enable(webhook_id, enabled=True)
    click.echo("enabled")


def _enable(webhook_id: str, *, enabled: bool) -> None:
    from chalicelib.outbox.webhooks import WebhookChange, change_webhook  # noqa: PLC0415

    with wire().database.write() as session:
        change_webhook(session, webhook_id, WebhookChange(enabled=enabled))


@webhooks.command()
@click.argument("webhook_id")
def delete(webhook_id: str) -> None:
    """Delete a webhook and its deliveries."""
    from chalicelib.outbox.webhooks import delete_webhook  # noqa: PLC0415

    with wire().database.write() as session:
        delete_webhook(session, webhook_id)
    click.echo("deleted")


@webhooks.command()
@click.argument("webhook_id")
@click.argument("number", type=click.IntRange(min=1))
def redeliver(webhook_id: str, number: int) -> None:
    """Deliver an event once more: the NUMBER of its delivery is what `show` calls `n`."""
    from chalicelib.outbox.webhooks import redeliver as deliver_again  # noqa: PLC0415

    with wire().database.write() as session:
        delivery = deliver_again(session, webhook_id, number)
    click.echo(f"delivery {delivery.number}")


COMMANDS = [webhooks]
