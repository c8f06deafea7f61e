"""Tasks as pages show them: what is going on, how long it will take, what it waits for."""

from dataclasses import dataclass
from datetime import datetime

from chalicelib.db.models import ACTIVE, ExportFile, Task
from chalicelib.exports.kinds import Export, export_of
from chalicelib.exports.views import Email, TaskView, tasks_in_progress
from chalicelib.schemas.serializers import Json
from chalicelib.tasks.registry import TASKS, kind_of
from chalicelib.values.languages import Language
from chalicelib.web import lists
from chalicelib.web.api import Call

SILENT_AFTER_S = 5
"""How long after its last sign of life a worker is said to be silent; it gives one each second."""


@dataclass(frozen=True)
class Card:
    """A task for a template.

    Attributes:
        task: The row.
        kind: The export that it is of; None for other tasks.
        export: What an export adds to it.
        email: The email about an export's outcome.
        shown: The task as the API shows it.
        title: What the task does.
        active: Whether it is not over.
        remaining_s: How long it will take from now on, in seconds; None while nobody can tell.
        silent_s: For how long its worker has been silent, in seconds; None when it is not.
    """

    task: Task
    kind: Export | None
    export: ExportFile | None
    email: Email | None
    shown: Json
    title: str
    active: bool
    remaining_s: float | None
    silent_s: float | None


def card(call: Call, view: TaskView, language: Language) -> Card:
    """Make the card of a task."""
    task, now = view.task, call.wiring.now()
    return Card(
        task=task,
        kind=export_of(task),
        export=view.export,
        email=view.email,
        shown=lists.show(call, view),
        title=language.gettext(kind_of(task).title),
        active=task.status in ACTIVE,
        remaining_s=_remaining_s(task, now),
        silent_s=_silent_s(task, now),
    )


def active(call: Call, language: Language) -> list[Card]:
    """The cards of the tasks of the one who calls that are not over."""
    with call.wiring.database.read() as session:
        found = tasks_in_progress(session, call.user.id)
    return [card(call, view, language) for view in found]


def title(name: str, language: Language) -> str:
    """What a kind of task does, in the user's language."""
    return language.gettext(TASKS[name].title) if name in TASKS else name


def _remaining_s(task: Task, now: datetime) -> float | None:
    """As long as it took so far for each piece, for all the pieces that are left."""
    if task.status != "running" or task.started_at is None or not 0 < task.done < task.total:
        return None
    return (now - task.started_at).total_seconds() * (task.total - task.done) / task.done


def _silent_s(task: Task, now: datetime) -> float | None:
    if task.status not in {"running", "cancelling"} or task.last_seen_at is None:
        return None
    silent_s = (now - task.last_seen_at).total_seconds()
    return silent_s if silent_s > SILENT_AFTER_S else None
