"""Exports as kinds of task: what is written when one is claimed, succeeds, ends or is retried.

One declaration of an `Export` carries all that differs between two of them; the worker's engine,
storage, the email, pages and the command line read it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import orm as so

from chalicelib.adapters.object_store import Content
from chalicelib.db.models import Task
from chalicelib.errors import DeclarationError
from chalicelib.exports import publication, removals
from chalicelib.exports.datasets import Dataset
from chalicelib.exports.publication import File, Publisher
from chalicelib.outbox import messages
from chalicelib.tasks.registry import TASKS, TaskKind
from chalicelib.values.fields import format_time
from chalicelib.values.languages import N_, NN_

TOPIC = "export"
"""What the outbox calls a message about an export's outcome."""

GRACE_S = 2.0
"""For how long an email is left to the work horse that has just published the file and has it at
hand: a sender that came first would have to read it from S3 again."""

ONE_DATASET = "worker.tasks.export.export"
"""The function that writes one dataset as one document."""


@dataclass(frozen=True)
class ExportFacts:
    """What all attempts at an export agree on.

    Attributes:
        username: Whose rows they are.
        snapshot: By dataset, the newest row when the first attempt began, as JSON; None when there
            was none. Later rows are not in the export.
        language: What they read. It may change between two attempts.
        files: How many files of the kind there were at the claim.
    """

    username: str
    snapshot: dict[str, Any]
    language: str
    files: int


@dataclass(frozen=True, kw_only=True)
class ExportWords:
    """What people read about an export, as messages marked with `N_`; each has a general default.

    Attributes:
        heading: What the button and its card say.
        offer: Under the heading: what one gets. Singular and plural; `%(number)s` is filled in.
        count: So many rows, such as "%(number)s posts". Singular and plural.
        ready: The first sentence of the email. Singular and plural; `%(number)s`, `%(size)s`.
        rows: The label of the number of rows.
        contents: What the file holds; `%(username)s` is filled in.
        safe: What a failure did not touch.
        retry: Where a failed one can be tried again; the link follows.
        footer: Why somebody receives the email.
        delete: The question before the file is deleted.
    """

    heading: str = N_("Export your data")
    offer: tuple[str, str] = NN_(
        "Everything in one file. We'll email you when it's ready.",
        "Everything in one file. We'll email you when it's ready.",
    )
    count: tuple[str, str] = NN_("Rows: %(number)s", "Rows: %(number)s")
    ready: tuple[str, str] = NN_(
        "The export you requested is ready (%(size)s).",
        "The export you requested is ready (%(size)s).",
    )
    rows: str = N_("Rows")
    contents: str = N_("Data of %(username)s")
    safe: str = N_("Your data is safe.")
    retry: str = N_("Your data is safe. You can try again here:")
    footer: str = N_(
        "You're receiving this email because an export of your data was requested from your"
        " account."
    )
    delete: str = N_("Delete this file? You can't undo this, but you can export your data again.")


@dataclass(frozen=True, kw_only=True)
class Export(TaskKind):
    """A kind of task that publishes a file and emails its user about the outcome.

    Attributes:
        filename: What the file is called, unless `name_of` says more.
        datasets: What is in it.
        content_type: The file's media type.
        words: What people read about it.
    """

    filename: str
    datasets: tuple[Dataset, ...]
    content_type: str = "application/json"
    words: ExportWords = field(default_factory=ExportWords)
    function: str = ONE_DATASET
    follow_up: str = "worker.export.follow_up.follow_up"
    resumable: bool = True

    def __post_init__(self) -> None:
        """Refuse a declaration that would only fail in a worker.

        Raises:
            DeclarationError: The function does not write as many datasets.
        """
        super().__post_init__()
        if self.function == ONE_DATASET and len(self.datasets) != 1:
            raise DeclarationError(f"{self.name}: {ONE_DATASET} writes one dataset")

    def name_of(self, username: str, exported_at: datetime) -> str:
        """What the file of a user is called where it is downloaded or attached."""
        del username, exported_at
        return self.filename

    def content(self, username: str, exported_at: datetime) -> Content:
        """What the file of a user is, for those who download it."""
        return Content(self.name_of(username, exported_at), self.content_type)

    def chosen(self, params: Mapping[str, Any]) -> Sequence[Dataset]:
        """Which datasets a task of these parameters exports."""
        del params
        return self.datasets

    def on_claim(self, session: so.Session, task: Task, *, now: datetime) -> ExportFacts:
        """Fix the snapshot, if this is the first attempt."""
        del now
        chosen = self.chosen(task.params)
        username, language, snapshot, files = publication.fix_snapshot(session, task, chosen)
        return ExportFacts(username, snapshot, language, files)

    def on_success(
        self, session: so.Session, task: Task, outcome: Any, *, lease_s: int, now: datetime
    ) -> None:
        """Publish the file, and have its owner told."""
        if not isinstance(outcome, File):
            raise TypeError(f"{self.name} returned a {type(outcome).__name__}, not a File")
        if not outcome.key.startswith(removals.prefix(task.user_id, task.id)):
            raise ValueError(f"{self.name} wrote to a key that would be lost: use `publish`")
        expires_at = now + timedelta(seconds=outcome.ttl_s)
        file = {
            "key": outcome.key,
            "rows": outcome.rows,
            "size_bytes": outcome.size_bytes,
            "sha256": outcome.sha256,
            "expires_at": format_time(expires_at),
        }
        about = {**_outcome_of(task), **file}
        email_id = _put(session, task, about, now=now, due_in_s=GRACE_S)
        publisher = Publisher(session, task, lease_s, now)
        publisher.publish(outcome, expires_at=expires_at, email_id=email_id)
        if task.claim > 1:
            # An earlier attempt may have left something behind; after the first claim nobody has.
            removals.request_removal(session, task.user_id, task.id, now=now, lease_s=lease_s)

    def on_end(self, session: so.Session, task: Task, *, lease_s: int, now: datetime) -> None:
        """Tell its owner, and have removed what its attempts left behind."""
        email_id = _put(session, task, _outcome_of(task), now=now)
        publication.note_email(session, task.id, email_id)
        if task.claim:
            removals.request_removal(session, task.user_id, task.id, now=now, lease_s=lease_s)

    def on_retry(self, session: so.Session, task: Task, *, now: datetime) -> None:
        """Take a new snapshot with the next attempt; the email about the past is not sent."""
        del now
        publication.begin_anew(session, task.id)


def _outcome_of(task: Task) -> dict[str, Any]:
    """What an email tells about any outcome; times are as the API writes them."""
    times = {
        "requested_at": task.created_at,
        "exported_at": task.started_at,
        "finished_at": task.finished_at,
    }
    return {
        "name": task.name,
        "status": task.status,
        **{name: time and format_time(time) for name, time in times.items()},
        "error_code": task.error_code,
        "error_detail": task.error_detail,
    }


def _put(
    session: so.Session, task: Task, payload: dict[str, Any], *, now: datetime, due_in_s: float = 0
) -> str:
    return messages.put(
        session, task.user_id, TOPIC, payload, now=now, task_id=task.id, due_in_s=due_in_s
    )


def titled_rows(kind: Export, rows: Mapping[str, int]) -> list[tuple[str, int]]:
    """What a file of this kind holds: a message for each dataset, and how many rows."""
    if len(kind.datasets) == 1:
        return [(kind.words.rows, sum(rows.values()))]
    titles = {one.name: one.title for one in kind.datasets}
    # A dataset that this code does not know any more is called what it was.
    return [(titles.get(name, name), count) for name, count in rows.items()]


def export_kinds() -> list[Export]:
    """Every registered export."""
    return [kind for kind in TASKS.values() if isinstance(kind, Export)]


def export_of(task: Task) -> Export | None:
    """The export that a task is of, or None when it publishes no file."""
    kind = TASKS.get(task.name)
    return kind if isinstance(kind, Export) else None
