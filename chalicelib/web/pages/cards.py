"""Tasks as pages show them: what is going on, how long it will take, what it waits for."""

from dataclasses import dataclass
from datetime import datetime

from chalicelib.db.models import ACTIVE, Task
from chalicelib.schemas.serializers import Json
from chalicelib.tasks import registry
from chalicelib.tasks import requests as task_requests
from chalicelib.tasks.requests import Seen
from chalicelib.values.languages import Language
from chalicelib.web import answers
from chalicelib.web.api import Call

SILENT_AFTER_S = 5
"""How long after its last sign of life a worker is said to be silent; it gives one each second."""


@dataclass(frozen=True)
class Card:
    """A task for a template.

    Attributes:
        task: The row.
        shown: The task as the API shows it.
        title: What the task does.
        active: Whether it is not over.
        remaining_s: How long it will take from now on, in seconds; None while nobody can tell.
        silent_s: For how long its worker has been silent, in seconds; None when it is not.
    """

    task: Task
    shown: Json
    title: str
    active: bool
    remaining_s: float | None
    silent_s: float | None


def card(call: Call, seen: Seen, language: Language) -> Card:
    """Make the card of a task."""
    task, now = seen.task, call.wiring.now()
    return Card(
        task=task,
        shown=answers.show(call, seen),
        title=title(task.name, language),
        active=task.status in ACTIVE,
        remaining_s=_remaining_s(task, now),
        silent_s=_silent_s(task, now),
    )


def active(call: Call, language: Language) -> list[Card]:
    """The cards of the tasks of the one who calls that are not over."""
    with call.wiring.database.read() as session:
        found = task_requests.get_tasks_in_progress(session, call.user.id)
        seen = [task_requests.get_task(session, call.user.id, task.id) for task in found]
    return [card(call, one, language) for one in seen]


def title(name: str, language: Language) -> str:
    """What a task does, in the user's language."""
    titles = {
        "export_posts": language.gettext("Exporting your posts"),
        "example": language.gettext("Counting the seconds"),
    }
    return titles.get(name) or registry.describe(name)


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
