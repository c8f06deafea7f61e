"""Tasks as pages show them: what they do, how long they will take, what they wait for."""

from dataclasses import dataclass
from datetime import datetime

from chalicelib.db.models import ACTIVE, ExportFile, Task
from chalicelib.exports.kinds import Export, export_of, titled_rows
from chalicelib.exports.views import Email, TaskView, tasks_in_progress
from chalicelib.imports.kinds import import_of
from chalicelib.schemas.serializers import Json
from chalicelib.tasks.registry import TASKS, kind_of
from chalicelib.values.languages import Language
from chalicelib.web import lists
from chalicelib.web.request import Call

UNSEEN_AFTER_S = 5
"""How long after a worker's last heartbeat pages say that there is no sign of progress.

Workers send one each second.
"""


@dataclass(frozen=True)
class Card:
    """A task for a template.

    Attributes:
        task: The row.
        kind: The export that it is of; None for other tasks.
        export: What an export adds to it.
        rows: What an export holds: the title of each dataset, and how many rows.
        filename: What its file is called where it is downloaded; None before it begins.
        email: The email about an export's outcome.
        shown: The task as the API shows it.
        title: What the task does.
        page: The path of its own page; None where it has none.
        active: Whether it is not over.
        remaining_s: How long it will still take, in seconds; None while that is unknown.
        unseen_s: The time since its worker's last heartbeat, in seconds; None while that is
            recent.
    """

    task: Task
    kind: Export | None
    export: ExportFile | None
    rows: list[tuple[str, int]]
    filename: str | None
    email: Email | None
    shown: Json
    title: str
    page: str | None
    active: bool
    remaining_s: float | None
    unseen_s: float | None


def card(call: Call, view: TaskView, language: Language) -> Card:
    """Make the card of a task."""
    task, kind, now = view.task, export_of(view.task), call.wiring.now()
    at = task.started_at
    return Card(
        task=task,
        kind=kind,
        export=view.export,
        rows=titled_rows(kind, view.export.rows or {}) if kind and view.export else [],
        filename=kind.name_of(call.user.username, at) if kind and at else None,
        email=view.email,
        shown=lists.show(call, view),
        title=language.gettext(kind_of(task).title),
        page=_page(task),
        active=task.status in ACTIVE,
        remaining_s=_remaining_s(task, now),
        unseen_s=_unseen_s(task, now),
    )


def _page(task: Task) -> str | None:
    if export_of(task) is not None:
        return f"/exports/{task.id}"
    return f"/imports/{task.params['import_id']}" if import_of(task) is not None else None


def active(call: Call, language: Language) -> list[Card]:
    """The cards of the caller's tasks that are not over."""
    with call.wiring.database.read() as session:
        found = tasks_in_progress(session, call.user.id)
    return [card(call, view, language) for view in found]


def title(name: str, language: Language) -> str:
    """What a kind of task does, in the user's language."""
    return language.gettext(TASKS[name].title) if name in TASKS else name


def _remaining_s(task: Task, now: datetime) -> float | None:
    """The time for what is left, at the average speed so far."""
    if task.status != "running" or task.started_at is None or not 0 < task.done < task.total:
        return None
    return (now - task.started_at).total_seconds() * (task.total - task.done) / task.done


def _unseen_s(task: Task, now: datetime) -> float | None:
    if task.status not in {"running", "cancelling"} or task.last_seen_at is None:
        return None
    unseen_s = (now - task.last_seen_at).total_seconds()
    return unseen_s if unseen_s > UNSEEN_AFTER_S else None
