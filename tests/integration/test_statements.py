"""How much an export asks of the ledger: what the simulation of many takes for granted."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from chalicelib.wiring import Wiring
from infra.simulate.assumptions import Assumptions
from tests.harness.people import Person
from worker import attempts

RENEWAL = "UPDATE tasks SET lease_until"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_an_export_takes_as_many_statements_as_assumed(
    join: Callable[[str], Person], wiring: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the request to the email, and a look at the task and the download."""
    susan = join("susan")
    susan.post("/v1/posts", {"body": "hello"})
    monkeypatch.setattr(attempts, "process_wiring", lambda: wiring)
    counted: list[str] = []
    sa.event.listen(
        wiring.database.engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, *_: counted.append(statement),
    )
    task_id = susan.post("/v1/exports").json_body["id"]
    attempts.run(task_id)
    assert susan.get(f"/v1/tasks/{task_id}").json_body["result"]["mail"]["state"] == "sent"
    assert susan.get(f"/v1/exports/{task_id}/download").status_code == 303
    # How often the heartbeat renews the lease depends on how fast the machine is.
    assert len([one for one in counted if not one.startswith(RENEWAL)]) == Assumptions().statements
