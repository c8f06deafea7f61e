"""`python -m tests.faults.emulate FOLDER`: S3 and SES in a process of their own, until SIGTERM.

moto keeps its state in module globals, so two emulators cannot live in one process. The address is
written to `FOLDER/url`, the emails to `FOLDER/mail`.
"""

import os
import signal
import sys
from pathlib import Path

from infra.local.emulator import Emulator
from infra.local.plan import DEFAULTS, EMULATOR_CREDENTIALS


def main(folder: Path) -> None:
    """Serve until told to stop, or until the parent is gone."""
    os.environ |= EMULATOR_CREDENTIALS
    stopping = signal.SIGTERM, signal.SIGINT
    signal.pthread_sigmask(signal.SIG_BLOCK, stopping)
    emulator = Emulator(folder, env=DEFAULTS)
    unfinished = folder / ".url"
    unfinished.write_text(emulator.endpoint_url)
    unfinished.replace(folder / "url")
    signal.sigwait(stopping)
    emulator.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
