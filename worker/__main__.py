"""The worker's command line: `python -m worker COMMAND`."""

import sys
from typing import NoReturn

import click
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from chalicelib.errors import CarryoutError
from worker.commands import datasets, files, imports, operating, people, schedules, webhooks


@click.group(
    commands=[
        *operating.COMMANDS,
        *people.COMMANDS,
        *files.COMMANDS,
        *datasets.COMMANDS,
        *imports.COMMANDS,
        *schedules.COMMANDS,
        *webhooks.COMMANDS,
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Settings are read from the environment, then from .env; .env.example describes each.",
)
def main() -> None:
    """Run and manage tasks, manage users, and load or export their data."""


def run() -> None:
    """Run a command; what went wrong is said in a line, with what to do."""
    try:
        main(prog_name="python -m worker")
    except CarryoutError as error:
        _give_up(error.detail)
    except (OperationalError, ProgrammingError) as error:
        _give_up(_what_ails_the_database(error))
    except OSError as error:
        _give_up(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _give_up(message: str) -> NoReturn:
    click.echo(f"Error: {message}", err=True)
    sys.exit(1)


def _what_ails_the_database(error: DBAPIError) -> str:
    reason = str(error.orig).partition("\n")[0]
    unmigrated = "no such table" in reason or "does not exist" in reason
    return f"the database: {reason}" + "; run python -m worker migrate" * unmigrated


if __name__ == "__main__":
    run()
