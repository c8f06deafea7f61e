"""Which tasks exist.

The API reads this table to validate what users ask for, the queue to refuse everything else, the
worker to find the function. A new task is one line in `TASKS` and one function of the same name in
a module of the same name under `worker/tasks/`.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec


@dataclass(frozen=True)
class TaskType:
    """One kind of task.

    Attributes:
        name: What users and the ledger call it.
        description: What it is doing, as a sentence for people.
        params: The parameters it takes, as a msgspec structure.
        exports: Whether it publishes a file and mails about its outcome.
    """

    name: str
    description: str
    params: type[msgspec.Struct]
    exports: bool = False

    @property
    def function(self) -> str:
        """The import string that stands in the queue."""
        return f"worker.tasks.{self.name}.{self.name}"


def _task(name: str, description: str, *, exports: bool = False, **params: Any) -> TaskType:
    model = msgspec.defstruct(name, list(params.items()), forbid_unknown_fields=True, frozen=True)
    return TaskType(name, description, model, exports)


Seconds = Annotated[int, msgspec.Meta(ge=0, le=3600, description="How long to count, in seconds")]

TASKS = {
    task.name: task
    for task in (
        _task("export_posts", "Exporting your posts", exports=True),
        _task("example", "Counting the seconds", seconds=Seconds),
    )
}
"""Every task there is, by name."""

LETTER = "letter"
"""What a job is called that sends a mail about an account; no task, so nobody can launch it."""

FUNCTION_OF = {name: task.function for name, task in TASKS.items()} | {
    LETTER: "worker.outbox.account_sender.deliver"
}

FUNCTIONS = frozenset(FUNCTION_OF.values())
"""The only functions that a job may name."""


def describe(name: str) -> str:
    """What a task is doing; a task of a kind that is gone describes itself by its name."""
    return TASKS[name].description if name in TASKS else name
