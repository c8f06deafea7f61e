"""What stops a publication in the middle of its one long statement."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from chalicelib.imports import publication
from chalicelib.wiring import Wiring
from tests.conftest import on_postgresql
from tests.harness.people import Person
from tests.harness.uploads import TIME, json_lines, posts_of, start
from worker.attempts import perform

pytestmark = on_postgresql  # on SQLite, who cancels waits for the one who writes


def test_a_publication_is_interrupted(
    susan: Person, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who cancels while the rows are published waits a moment only, and nothing is published."""
    _, task_id = start(susan, json_lines([("x", TIME)]))
    own = Wiring.from_environment(environment)
    publishing = threading.Event()
    publish = publication.publish

    def slowly(session: Session, *what: Any, **named: Any) -> int:
        added = publish(session, *what, **named)
        publishing.set()
        session.execute(sa.select(sa.func.pg_sleep(300)))
        return added

    monkeypatch.setattr(publication, "publish", slowly)
    with ThreadPoolExecutor(1) as pool:
        attempt = pool.submit(perform, task_id, own)
        assert publishing.wait(60)
        began = time.monotonic()
        assert susan.cancel(task_id).status_code == 202
        attempt.result(60)
    assert time.monotonic() - began < 30
    assert susan.task(task_id)["status"] == "cancelled"
    assert posts_of(susan) == []
    own.database.close()
