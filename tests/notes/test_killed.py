"""An export of notes by real worker processes, killed in the middle of it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa

from chalicelib.db.engine import Database
from chalicelib.db.models import Task
from chalicelib.tasks.registry import TASKS
from chalicelib.wiring import Wiring
from tests.conftest import both_databases
from tests.harness.ledgers import launch, make_user, the_email, the_export, the_task
from tests.harness.waiting import wait_until
from tests.notes.datasets import NOTES
from tests.notes.models import Base, Note
from tests.notes.tasks import EXPORT_NOTES
from worker.export import local

pytestmark = both_databases

ROOT = Path(__file__).parents[2]
NOTES_KEPT = 2500
"""Enough for three parts."""

START = datetime(2026, 1, 1, tzinfo=UTC)
Command = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def command(environment: dict[str, str], tmp_path: Path) -> Iterator[Command]:
    """Runs a command of the application's worker; whatever it starts ends with the test."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, **more: str) -> subprocess.Popen[bytes]:
        log = (tmp_path / f"log-{len(running)}").open("wb")
        with log:
            running.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.notes.worker", *arguments],
                    cwd=ROOT,
                    env={**os.environ, **environment, **more},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
        return running[-1]

    yield start
    for process in running:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=150)


@pytest.fixture
def user_id(
    database: Database,
    create_tables: Callable[[sa.MetaData], None],
    monkeypatch: pytest.MonkeyPatch,
) -> int:
    """Somebody who has kept a lot of notes, of this application."""
    monkeypatch.setitem(TASKS, EXPORT_NOTES.name, EXPORT_NOTES)
    create_tables(Base.metadata)
    user_id = make_user(database)
    rows = [row(number) | {"user_id": user_id} for number in range(NOTES_KEPT)]
    with database.write() as session:
        session.execute(sa.insert(Note), rows)
    return user_id


def row(number: int) -> dict[str, object]:
    return {
        "id": UUID(int=number * 2**115 % (2**128 - 59)),
        "text": f"{number} " + "\u2028 ünï \\ " * 600 if number % 10 else None,
        "price": Decimal(number).scaleb(-2),
        "is_done": number % 2 == 0,
        "tags": {"number": number, "of": ["é", None, 0.5]},
        "day": START.date() + timedelta(days=number),
        "created_at": START + timedelta(seconds=number),
    }


def undisturbed(database: Database, user_id: int, at: datetime) -> bytes:
    """The document as it is without any task."""
    file = BytesIO()
    document = local.document(database, NOTES, user_id=user_id, now=at)
    local.write(document, file, progress=lambda _percent: None)
    return file.getvalue()


def checkpointed_parts(task: Task) -> int:
    return len(task.checkpoint["parts"]) if task.checkpoint else 0


@pytest.mark.parametrize("part", [1, 2], ids=["first part", "second part"])
def test_killed_and_resumed(
    wiring: Wiring, command: Command, user_id: int, part: int, tmp_path: Path
) -> None:
    """Worker and horse are killed with SIGKILL; the next worker goes on to the same bytes."""
    database = wiring.database
    task_id = launch(database, user_id, "export_notes")
    wiring.queue.enqueue([(task_id, "export_notes")])
    worker = command("run", KILL_AT_PART=str(part))
    wait_until(lambda: worker.poll() is not None, "the worker is dead")
    assert worker.returncode == -9
    before = the_task(database, task_id)
    assert (before.status, before.attempt, checkpointed_parts(before)) == ("running", 1, part - 1)
    assert before.started_at is not None
    expected = undisturbed(database, user_id, before.started_at)
    late = row(NOTES_KEPT) | {"id": UUID(int=2**127 + 1), "user_id": user_id}
    with database.write() as session:
        session.execute(sa.insert(Note), late)

    command("run")
    wait_until(lambda: the_task(database, task_id).status == "succeeded", "it goes on")
    after, export = the_task(database, task_id), the_export(database, task_id)
    assert export.object_key is not None
    found = b"".join(wiring.object_store.read(export.object_key))
    assert found == expected
    assert after.attempt == 2
    began_by = 1 if part > 1 else 2
    assert export.object_key == f"exports/{user_id}/{task_id}/{began_by}/notes.json"
    assert (export.rows, export.size_bytes) == ({"notes": NOTES_KEPT}, len(expected))

    def is_sent() -> bool:
        email = the_email(database, task_id)
        return email is not None and email.state == "sent"

    wait_until(is_sent, "its user is told")
    file = tmp_path / "notes.json"
    file.write_bytes(found)
    assert command("verify", str(file), "--sha256", str(export.sha256)).wait(timeout=150) == 0


def test_from_the_command_line(
    database: Database, command: Command, user_id: int, tmp_path: Path
) -> None:
    """`export` and `verify` know this application's data by its name."""
    out = tmp_path / "notes.json"
    arguments = ("export", "--user", "susan", "--dataset", "notes", "--out", str(out))
    assert command(*arguments).wait(timeout=150) == 0
    whole, again = out.read_bytes(), undisturbed(database, user_id, START)
    assert whole.partition(b'"notes":[')[2] == again.partition(b'"notes":[')[2] != b""
    assert command("verify", str(out)).wait(timeout=150) == 0
    assert f"notes:   {NOTES_KEPT}\n" in (tmp_path / "log-1").read_text()
    out.write_bytes(whole.replace(b'"is_done":true', b'"is_done":null', 1))
    assert command("verify", str(out)).wait(timeout=150) == 1
    assert ": is_done: must be true or false" in (tmp_path / "log-2").read_text()
