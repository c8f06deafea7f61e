"""`python -m tests.notes.worker`: the worker's commands, for this application's tasks.

With `KILL_AT_PART` in the environment, the worker and its work horse kill themselves as soon as a
part of that number is uploaded, before anything is written down about it.
"""

import os
import signal

from chalicelib.tasks.registry import register
from tests.notes.tasks import EXPORT_NOTES
from worker import __main__ as command_line
from worker.export.upload import Upload


def kill_at(part: int) -> None:
    """Lose power in the middle of an export."""
    add = Upload.add

    def add_and_die(self: Upload, data: bytes | bytearray) -> None:
        add(self, data)
        if len(self.parts) == part:
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

    Upload.add = add_and_die  # type: ignore[method-assign]


if __name__ == "__main__":
    register(EXPORT_NOTES)
    if "KILL_AT_PART" in os.environ:
        kill_at(int(os.environ["KILL_AT_PART"]))
    command_line.run()
