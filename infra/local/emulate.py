"""S3, SES and a mailbox page alone, for a stack of containers: `python -m infra.local.emulate`."""

import os
import signal
from pathlib import Path

import click

from infra.local.emulator import Emulator, serve
from infra.local.mailbox import Mailbox
from infra.local.plan import DEFAULTS, EMULATOR_CREDENTIALS


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    default=5000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The port of S3 and SES.",
)
@click.option(
    "--mailbox-port",
    default=8025,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The port of the page that shows the emails.",
)
@click.option(
    "--data-dir",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of the objects and emails.",
)
def main(*, host: str, port: int, mailbox_port: int, data_dir: Path) -> None:
    """Serve until SIGTERM; EXPORT_BUCKET and MAIL_SENDER are created at start."""
    stopping = signal.SIGTERM, signal.SIGINT
    signal.pthread_sigmask(signal.SIG_BLOCK, stopping)
    os.environ |= EMULATOR_CREDENTIALS
    env = {name: os.environ.get(name, value) for name, value in DEFAULTS.items()}
    env["PUBLIC_URL"] = os.environ.get("PUBLIC_URL", "")
    emulator = Emulator(data_dir, env=env, host=host, port=port)
    mailbox = serve(Mailbox(data_dir / "mail"), host=host, port=mailbox_port)
    click.echo(f"S3 and SES at {emulator.endpoint_url}, emails at http://{host}:{mailbox.port}/")
    signal.sigwait(stopping)
    mailbox.shutdown()
    emulator.close()


if __name__ == "__main__":
    main()
