"""`python -m tests.hostile.worker`: the worker's commands, for this application's tasks."""

from chalicelib.tasks.registry import register
from tests.hostile.tasks import KINDS
from worker import __main__ as command_line

if __name__ == "__main__":
    register(*KINDS)
    command_line.run()
