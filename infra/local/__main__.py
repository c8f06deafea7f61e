"""`python -m infra.local run` and `python -m infra.local demo`: what `make` calls."""

import os
import signal
import sys
from pathlib import Path

import click
from dotenv import dotenv_values

from infra.local import demo as demonstration
from infra.local.console import Console
from infra.local.plan import given
from infra.local.stack import ROOT, Options, Stack, StackError, Stopped
from worker import process


@click.group()
def main() -> None:
    """The embedded stack."""


@main.command()
@click.option(
    "--port",
    envvar="PORT",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The application's port; 0 for any free one.",
)
@click.option(
    "--data-dir",
    envvar="DATA_DIR",
    default=".local",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The folder of all data and logs.",
)
@click.option(
    "--workers",
    envvar="WORKERS",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="How many workers to run.",
)
@click.option("--traces", envvar="TRACES", is_flag=True, help="Write spans to traces.jsonl.")
def run(port: int, data_dir: Path, workers: int, *, traces: bool) -> None:
    """Run the stack until Ctrl-C or SIGTERM."""
    chosen = given(os.environ, dotenv_values(ROOT / ".env"))
    if traces:
        chosen.setdefault("TRACES_FILE", str(data_dir.absolute() / "traces.jsonl"))
    options = Options(
        port=port,
        data_dir=data_dir.absolute(),
        workers=workers,
        chosen=chosen,
    )
    process.stop_on_signals()
    console = Console()
    stack = Stack(options, say=console.say)
    failure = None
    try:
        stack.start()
        for line in _welcome(stack):
            console.say(line)
        stack.supervise()
    except (StackError, OSError) as error:
        failure = f"error: {error}"
    except Stopped:
        pass
    finally:
        stack.stop()
        console.close()
        # An ending interpreter takes its handlers back: a late signal would kill it.
        signal.pthread_sigmask(signal.SIG_BLOCK, process.STOPPING)
    sys.exit(failure)


def _welcome(stack: Stack) -> list[str]:
    lines = [f"ready {stack.app_url}/"]
    if stack.mailbox_url:
        lines.append(f"mailbox {stack.mailbox_url}")
    return [*lines, "press Ctrl-C to stop"]


@main.command()
def demo() -> None:
    """Watch an export run, from request to email."""
    sys.exit(demonstration.show())


if __name__ == "__main__":
    main()
