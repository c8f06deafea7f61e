"""Commands about webhooks: list, show, pause, resume, delete, redeliver."""

from typing import Any

import click

from chalicelib.settings import MOST
from worker.commands import at_most, find_user_id, wire
from worker.commands.printing import ID, Found, document, example, found, listed, prints


@click.group(epilog=example("webhooks list --user susan"))
def webhooks() -> None:
    """List, show, pause, resume and delete webhooks, and deliver to them again."""


@webhooks.command("list", epilog=example("webhooks list --failing --json"))
@click.option("--user", "username", help="Only webhooks of this user.")
@click.option("--failing", is_flag=True, help="Only webhooks that fail, or are disabled for that.")
@at_most("webhooks")
@prints
def list_webhooks(username: str | None, limit: int, *, failing: bool) -> Found:
    """List the newest webhooks: of all users, or of one."""
    from chalicelib.operations.oversight import list_webhooks as find  # noqa: PLC0415
    from chalicelib.schemas.administration import show_webhook  # noqa: PLC0415
    from chalicelib.values.paging import Page  # noqa: PLC0415

    wiring = wire()
    user_id = None if username is None else find_user_id(wiring, username)
    with wiring.database.read() as session:
        rows, _ = find(session, page=Page(limit), failing=failing, user_id=user_id)
    facts = [show_webhook(one.row, one.username) for one in rows]
    return listed(facts, _line, "no webhooks")


def _line(facts: Any) -> str:
    state = "enabled" if facts["enabled"] else facts["disabled_reason"] or "disabled"
    return f"{facts['id']}  user {facts['owner']['id']:<6} {state:<8} {facts['receiver']}"


@webhooks.command(epilog=example(f"webhooks show {ID}"))
@click.argument("webhook_id")
@at_most("deliveries")
@prints
def show(webhook_id: str, limit: int) -> Found:
    """Show a webhook and its newest deliveries as JSON, as the API does; never its secret."""
    from chalicelib.outbox.webhooks import get_webhook, list_deliveries  # noqa: PLC0415
    from chalicelib.schemas.webhooks import show_delivery, show_webhook  # noqa: PLC0415
    from chalicelib.values.paging import Page  # noqa: PLC0415

    wiring = wire()
    with wiring.database.read() as session:
        webhook = get_webhook(session, webhook_id)
        deliveries, _ = list_deliveries(session, webhook_id, page=Page(limit))
    shown: dict[str, Any] = {**show_webhook(webhook, prefix="")}
    shown["deliveries"] = [show_delivery(one, prefix="") for one in deliveries]
    return document(shown)


@webhooks.command(epilog=example(f"webhooks pause {ID}"))
@click.argument("webhook_id")
@prints
def pause(webhook_id: str) -> Found:
    """Deliver nothing to a webhook until it is resumed."""
    _enable(webhook_id, enabled=False)
    return found("paused", id=webhook_id, enabled=False)


@webhooks.command(epilog=example(f"webhooks resume {ID}"))
@click.argument("webhook_id")
@prints
def resume(webhook_id: str) -> Found:
    """Deliver to a webhook again, whatever disabled it."""
    _enable(webhook_id, enabled=True)
    return found("enabled", id=webhook_id, enabled=True)


def _enable(webhook_id: str, *, enabled: bool) -> None:
    from chalicelib.outbox.webhooks import WebhookChange, change_webhook  # noqa: PLC0415

    with wire().database.write() as session:
        change_webhook(session, webhook_id, WebhookChange(enabled=enabled))


@webhooks.command(epilog=example(f"webhooks delete {ID}"))
@click.argument("webhook_id")
@prints
def delete(webhook_id: str) -> Found:
    """Delete a webhook and its deliveries."""
    from chalicelib.outbox.webhooks import delete_webhook  # noqa: PLC0415

    with wire().database.write() as session:
        delete_webhook(session, webhook_id)
    return found("deleted", id=webhook_id, deleted=True)


@webhooks.command(epilog=example(f"webhooks redeliver {ID} 3"))
@click.argument("webhook_id")
@click.argument("number", type=click.IntRange(min=1, max=MOST))
@prints
def redeliver(webhook_id: str, number: int) -> Found:
    """Deliver an event once more: the NUMBER of its delivery is what `show` calls `n`."""
    from chalicelib.outbox.webhooks import redeliver as deliver_again  # noqa: PLC0415

    with wire().database.write() as session:
        delivery = deliver_again(session, webhook_id, number)
    return found(f"delivery {delivery.number}", webhook_id=webhook_id, n=delivery.number)


COMMANDS = [webhooks]
