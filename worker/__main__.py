"""The worker's command line: `python -m worker COMMAND`."""

import logging
import sys
from typing import NoReturn

import click
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from chalicelib.adapters.job_queue import QueueError
from chalicelib.errors import CarryoutError
from worker.commands import (
    completion,
    datasets,
    files,
    imports,
    operating,
    oversight,
    people,
    schedules,
    webhooks,
)
from worker.commands.completion import COMPLETE
from worker.commands.printing import PROGRAM, example

log = logging.getLogger(__name__)

WRONG_USE = 2
"""What a command line that cannot be understood exits with."""

INTERRUPTED = 130
"""What shells report of a command that was interrupted by Ctrl-C."""

ABOUT = """Settings are read from the environment, then from .env; .env.example describes each.
With --json, whatever prints facts prints one JSON object a line. What goes wrong is said in one
line on standard error: exit status 1, or 2 where the command line itself can't be understood."""


@click.group(
    commands=[
        *operating.COMMANDS,
        *people.COMMANDS,
        *files.COMMANDS,
        *datasets.COMMANDS,
        *imports.COMMANDS,
        *schedules.COMMANDS,
        *webhooks.COMMANDS,
        *oversight.COMMANDS,
        *completion.COMMANDS,
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"{ABOUT}\n\n{example('tasks list --status failed --json')}",
)
def main() -> None:
    """Run and manage tasks, manage users, and load or export their data."""


def run() -> None:
    """Run a command; what went wrong is said in a line, with what to do."""
    try:
        status = main(prog_name=PROGRAM, complete_var=COMPLETE, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.UsageError as error:
        _give_up(_how_to_use(error), status=WRONG_USE)
    except click.ClickException as error:
        _give_up(error.format_message(), status=error.exit_code)
    except click.Abort:
        sys.exit(INTERRUPTED)
    except CarryoutError as error:
        _give_up(error.detail)
    except QueueError:
        _give_up("Redis isn't responding; check REDIS_URL, and that it is running")
    except SQLAlchemyError as error:
        _give_up(_what_ails_the_database(error))
    except OSError as error:
        _give_up(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except Exception as error:
        log.exception("a command failed", extra={"action": "command"})
        _give_up(f"unexpected {type(error).__name__}; the log line above says where")
    sys.exit(status if isinstance(status, int) else 0)


def _give_up(message: str, *, status: int = 1) -> NoReturn:
    click.echo(f"Error: {' '.join(message.split())}", err=True)
    sys.exit(status)


def _how_to_use(error: click.UsageError) -> str:
    command = error.ctx.command_path if error.ctx else PROGRAM
    return f"{error.format_message().rstrip('.')}; see {command} --help"


def _what_ails_the_database(error: SQLAlchemyError) -> str:
    if not isinstance(error, DBAPIError):
        return f"the database: {error}"
    reason = str(error.orig).strip().partition("\n")[0]
    unmigrated = "no such table" in reason or "does not exist" in reason
    remedy = "run python -m worker migrate" if unmigrated else "check DATABASE_URL"
    return f"the database: {reason}; {remedy}"


if __name__ == "__main__":
    run()
