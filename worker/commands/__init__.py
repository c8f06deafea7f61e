"""The commands of `python -m worker`; each imports what it needs when it is run."""

import json
from collections.abc import Iterable
from typing import Any

import click

from chalicelib import logs
from chalicelib.wiring import Wiring


def wire() -> Wiring:
    """Read the settings and set up the log.

    Raises:
        SettingsError: A setting is missing or bad.
    """
    wiring = Wiring.from_environment(pool_size=2)
    settings = wiring.settings
    logs.configure(settings.log_format, exceptions=settings.log_exceptions)
    return wiring


def find_user_id(wiring: Wiring, username: str) -> int:
    """The number of the user of this name.

    Raises:
        ClickException: There is none.
    """
    from chalicelib.accounts.accounts import find_user  # noqa: PLC0415

    with wiring.database.read() as session:
        user = find_user(session, username)
    if user is None:
        raise click.ClickException(f"no user named {username}; create one with create-user")
    return int(user.id)


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
"""The option of each command that lists facts, for programs."""


def print_lines(rows: Iterable[dict[str, Any]]) -> None:
    """Print each as JSON, on a line of its own."""
    for row in rows:
        click.echo(json.dumps(row, ensure_ascii=False))
