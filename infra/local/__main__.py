"""`python -m infra.local run` and `python -m infra.local demo`: what `make` calls."""

import os
import signal
import sys
import threading
from pathlib import Path

import click
from dotenv import dotenv_values

from infra.local.console import Console
from infra.local.plan import given
from infra.local.stack import ROOT, Options, Stack, StackError, Stopped


@click.group()
def main() -> None:
    """The embedded stack."""


@main.command()
@click.option("--port", envvar="PORT", default=8000, type=click.IntRange(0, 65535))
@click.option("--data-dir", envvar="DATA_DIR", default=".local", type=click.Path(path_type=Path))
@click.option("--workers", envvar="WORKERS", default=1, type=click.IntRange(min=1))
def run(port: int, data_dir: Path, workers: int) -> None:
    """Run the stack until Ctrl-C or SIGTERM."""
    options = Options(
        port=port,
        data_dir=data_dir.absolute(),
        workers=workers,
        chosen=given(os.environ, dotenv_values(ROOT / ".env")),
    )
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stopping.set())
    console = Console()
    stack = Stack(options, say=console.say, stopping=stopping)
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
    sys.exit(failure)


def _welcome(stack: Stack) -> list[str]:
    lines = [f"ready {stack.app_url}/"]
    if stack.mailbox_url:
        lines.append(f"mailbox {stack.mailbox_url}")
    return [*lines, "press Ctrl-C to stop"]


@main.command()
def demo() -> None:
    """Watch an export run, from request to email."""
    from infra.local.demo import show  # noqa: PLC0415 - its client is not needed by `run`

    sys.exit(show())


if __name__ == "__main__":
    main()
