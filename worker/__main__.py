"""The worker's command line: `python -m worker COMMAND`."""

import sys

import click

from chalicelib.errors import CarryoutError
from worker.commands import files, operating, people


@click.group(
    commands=[*operating.COMMANDS, *people.COMMANDS, *files.COMMANDS],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Settings come from the environment, then from .env; .env.example explains each.",
)
def main() -> None:
    """Work on tasks, look after them, and move posts in and out."""


def run() -> None:
    """Run a command; what went wrong is said in a line, with what to do."""
    try:
        main(prog_name="python -m worker")
    except CarryoutError as error:
        click.echo(f"Error: {error.detail}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    run()
