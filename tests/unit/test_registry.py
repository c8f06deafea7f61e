"""Kinds of task: what is declared works, and what cannot work is refused at once."""

from collections.abc import Iterator
from dataclasses import fields
from datetime import date
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pytest
from msgspec import Meta

from chalicelib.db.engine import Database
from chalicelib.errors import DeclarationError, TaskInProgress
from chalicelib.exports.kinds import ExportWords, export_kinds
from chalicelib.tasks.registry import TASKS, TaskKind, register
from chalicelib.tasks.requests import TaskRequest, get_task_in_progress, launch_task
from chalicelib.values.fields import check
from chalicelib.values.languages import LANGUAGES, language_for
from chalicelib.wiring import Wiring
from tests.harness.ledgers import make_user, now
from worker.attempts import perform

TYPED = TaskKind(
    name="typed",
    title="Trying types",
    params={
        "number": UUID,
        "price": Decimal,
        "day": date,
        "currency": Annotated[str, Meta(pattern=r"^[A-Z]{3}$(?!\n)")],
    },
)
GIVEN = {
    "number": "0b9e8e6c-6f0e-4d3e-9d3f-1a2b3c4d5e6f",
    "price": "12.50",
    "day": "2026-01-02",
    "currency": "EUR",
}


@pytest.fixture
def registered() -> Iterator[TaskKind]:
    """A kind of task with parameters of every sort."""
    register(TYPED)
    yield TYPED
    del TASKS[TYPED.name]


def launch(database: Database, user_id: int, kind: TaskKind, **given: Any) -> str:
    params = kind.store(check(given, kind.model))
    with database.write() as session:
        request = TaskRequest(kind=kind, params=params, max_attempts=1)
        return launch_task(session, user_id, request, now=now()).task.id


def test_parameters_keep_their_types(wired: Wiring, registered: TaskKind) -> None:
    """A UUID, a Decimal and a date are JSON in the ledger, and themselves in the function."""
    task_id = launch(wired.database, make_user(wired.database), registered, **GIVEN)
    seen: list[dict[str, Any]] = []
    perform(task_id, wired, function=lambda _attempt, **params: seen.append(params))
    assert seen == [
        {
            "number": UUID(GIVEN["number"]),
            "price": Decimal("12.50"),
            "day": date(2026, 1, 2),
            "currency": "EUR",
        }
    ]


def test_unique_by(database: Database) -> None:
    """A user may have one in progress for each value of what the kind is unique by."""
    kind = TaskKind(name="per_day", title="By day", params={"day": date}, unique_by=("day",))
    user_id = make_user(database)
    first = launch(database, user_id, kind, day="2026-01-02")
    launch(database, user_id, kind, day="2026-01-03")
    with pytest.raises(TaskInProgress) as refused:
        launch(database, user_id, kind, day="2026-01-02")
    assert refused.value.task_id == first
    with database.read() as session:
        found = get_task_in_progress(
            session, user_id, "per_day", unique_key=kind.unique_key({"day": "2026-01-03"})
        )
    assert found is not None
    assert found.params == {"day": "2026-01-03"}


@pytest.mark.parametrize(
    ("declared", "complaint"),
    [
        ({"name": "Has-Dash"}, "must be a_lower_case_name"),
        ({"unique_by": ("day",)}, "unique_by names no parameter"),
        # In Python this lets "EUR\n" through.
        ({"params": {"currency": Annotated[str, Meta(pattern="^[A-Z]{3}$")]}}, "final newline"),
        ({"params": {"many": list[Annotated[str, Meta(pattern="x$")]]}}, "final newline"),
        ({"params": {"thing": object}}, "is no JSON"),
        ({"params": {"thing": complex}}, "is no JSON"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused(declared: dict[str, Any], complaint: str) -> None:
    """A declaration that would fail at a launch, or in silence, is an error where it stands."""
    with pytest.raises(DeclarationError, match=complaint):
        TaskKind(**{"name": "broken", "title": "Breaking", **declared})


def test_two_of_a_name() -> None:
    """A second kind of the same name is an error, the same one twice is not."""
    register(TASKS["example"])
    with pytest.raises(DeclarationError, match="two kinds of task called example"):
        register(TaskKind(name="example", title="Another one"))


SAME = {"Webhooks"}
"""What Spanish calls as English does."""


@pytest.mark.parametrize("code", [code for code in LANGUAGES if code != "en"])
def test_kinds_speak_every_language(code: str) -> None:
    """The title of each kind, and all that people read about an export, are translated."""
    language = language_for(code)
    said = {kind.title for kind in TASKS.values()}
    for kind in export_kinds():
        said |= {dataset.title for dataset in kind.datasets}
        for field in fields(ExportWords):
            words = getattr(kind.words, field.name)
            if isinstance(words, str):
                said.add(words)
            else:
                singular, plural = words
                assert language.ngettext(singular, plural, 2) not in words, words
    untranslated = {words for words in said - SAME if language.gettext(words) == words}
    assert untranslated == set()
