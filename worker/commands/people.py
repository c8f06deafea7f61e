"""Commands about accounts, and a shell."""

import sys

import click

from worker.commands import wire
from worker.commands.printing import Found, example, found, prints


@click.command(
    "create-user", epilog=example("create-user susan --email susan@example.com --language es")
)
@click.argument("username")
@click.option("--email", required=True, help="The user's email address.")
@click.option("--admin", is_flag=True, help="Make the user an administrator.")
@click.option("--language", default="en", show_default=True, help="en, es or ko.")
@prints
def create_user(username: str, email: str, *, admin: bool, language: str) -> Found:
    """Create an account; the password is prompted for, or read from standard input."""
    from chalicelib.accounts import accounts  # noqa: PLC0415
    from chalicelib.errors import Invalid  # noqa: PLC0415
    from chalicelib.schemas.requests import SignUp  # noqa: PLC0415
    from chalicelib.values.fields import check  # noqa: PLC0415

    fields = {"username": username, "email": email, "language": language}
    try:
        valid = check({**fields, "password": _password()}, SignUp)
    except Invalid as error:
        faults = "; ".join(f"{one.pointer[1:]} {one.detail}" for one in error.faults)
        raise click.UsageError(faults) from error
    new = accounts.NewUser(
        valid.username,
        valid.email,
        valid.password,
        valid.language,
        is_admin=admin,
        confirmed=True,  # the operator vouches for it
    )
    wiring = wire()
    with wiring.database.write() as session:
        user = accounts.sign_up(session, new, now=wiring.now())
    return found(f"created {user.username} (id {user.id})", id=user.id, username=user.username)


def _password() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\r\n")


@click.command("set-admin", epilog=example("set-admin susan on"))
@click.argument("username")
@click.argument("state", type=click.Choice(["on", "off"]))
@prints
def set_admin(username: str, state: str) -> Found:
    """Grant or revoke administrator rights."""
    from chalicelib.accounts.accounts import find_user  # noqa: PLC0415

    with wire().database.write() as session:
        user = find_user(session, username)
        if user is None:
            raise click.ClickException(f"no user named {username}; create one with create-user")
        user.is_admin = state == "on"
    return found(f"{username}: administrator {state}", username=username, is_admin=state == "on")


@click.command(epilog=example("shell"))
def shell() -> None:
    """Open a Python shell with the models and a session; only session.commit() saves changes."""
    import code  # noqa: PLC0415

    from sqlalchemy import orm  # noqa: PLC0415

    from chalicelib.db import models as ledger  # noqa: PLC0415
    from chalicelib.microblog import models as application  # noqa: PLC0415

    wiring = wire()
    known = vars(ledger) | vars(application)
    names = {name: thing for name, thing in known.items() if isinstance(thing, type)}
    with orm.Session(wiring.database.engine) as session:
        code.interact(
            banner="wiring, session, User, Post, Task, … ; session.commit() saves",
            local={"wiring": wiring, "session": session, **names},
            exitmsg="",
        )


COMMANDS = [create_user, set_admin, shell]
