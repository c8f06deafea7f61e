"""The command that has a shell complete the others.

click completes a program by its name, and `python -m worker` has none: `bin/carryout` is one.
"""

import shlex
from pathlib import Path

import click

from worker.commands.printing import example

BIN = Path(__file__).parents[2] / "bin"

NAME = "carryout"
"""The program in that folder."""

COMPLETE = "_CARRYOUT_COMPLETE"
"""The variable by which a shell asks for completions."""


@click.command(epilog=example("completion bash > ~/.carryout.bash"))
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes SHELL know the command `carryout`, and complete it.

    Put `source ~/.carryout.bash` into your shell's start file; from then on `carryout tasks list`
    is `python -m worker tasks list`, and Tab completes commands and options.
    """
    from click import shell_completion as shells  # noqa: PLC0415

    kinds = {"bash": shells.BashComplete, "zsh": shells.ZshComplete, "fish": shells.FishComplete}
    folder = shlex.quote(str(BIN))
    click.echo(f"set -gx PATH $PATH {folder}" if shell == "fish" else f'PATH="$PATH":{folder}')
    click.echo(kinds[shell](context.find_root().command, {}, NAME, COMPLETE).source())


COMMANDS = [completion]
