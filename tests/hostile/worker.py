"""`python -m tests.hostile.worker`: the worker's commands, for this application's tasks.

With `PATIENT_BATCHES` no task counts as long, however busy the machine is.
"""

import os

from chalicelib.tasks.registry import register
from tests.hostile.tasks import KINDS
from worker import __main__ as command_line
from worker import batch

if __name__ == "__main__":
    register(*KINDS)
    if "PATIENT_BATCHES" in os.environ:
        batch.AHEAD_S = batch.LONGEST_S = 600
    command_line.run()
