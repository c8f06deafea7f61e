"""The commands of `python -m worker`; each imports what it needs when it is run."""

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
