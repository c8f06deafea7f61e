"""The commands of `python -m worker`; each imports what it needs when it is run."""

from collections.abc import Callable
from typing import TypeVar

import click

from chalicelib import logs
from chalicelib.wiring import Wiring

C = TypeVar("C", bound=Callable[..., object])

MOST_LISTED = 1_000_000


def at_most(what: str, *, most: int = MOST_LISTED) -> Callable[[C], C]:
    """The option of a command that shows a list: how much of it.

    Args:
        what: What the list is of, in the help.
        most: The largest number that may be given.
    """
    return click.option(
        "--limit",
        default=20,
        show_default=True,
        type=click.IntRange(min=1, max=most),
        help=f"Maximum number of {what} to list.",
    )


def wire() -> Wiring:
    """Read the settings and set up the log.

    Raises:
        SettingsError: A setting is missing or bad.
    """
    wiring = Wiring.from_environment(pool_size=2)
    settings = wiring.settings
    logs.configure(settings.log_format, exceptions=settings.log_exceptions, file=settings.log_file)
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
