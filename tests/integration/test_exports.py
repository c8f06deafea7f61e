import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest
import sqlalchemy as sa

from app import app
from chalicelib.accounts import link_keys
from chalicelib.db.engine import Database
from chalicelib.db.models import Base, User
from chalicelib.errors import ClaimLost
from chalicelib.wiring import Wiring
from infra.local.stack import free_port
from tests.conftest import Join, Rewire, both_databases
from tests.harness import ledgers, uploads
from tests.harness.events import proxy_event, shown
from tests.harness.people import Person, refused


def request_export(person: Person) -> str:
    task_id: str = person.post("/v1/exports", {}).json_body["id"]
    return task_id


@pytest.fixture
def export(susan: Person, wiring: Wiring) -> str:
    """The id of an export of susan's that is published."""
    task_id = request_export(susan)
    ledgers.publish(wiring, task_id)
    return task_id


def settle_email(wiring: Wiring, task_id: str, state: str) -> None:
    """Bring the emails about a task to a state."""
    ledgers.put_email(wiring.database, task_id, state=state)


@both_databases
def test_result(susan: Person, export: str) -> None:
    """A finished export says what it is, for how long, and where."""
    task = susan.get(f"/v1/tasks/{export}").json_body
    result = task["result"]
    assert task["status"] == "succeeded"
    assert task["progress"] == {"percent": 100, "done": 2, "total": 2}
    assert task["links"]["download"] == f"/v1/exports/{export}/download"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", result.pop("expires_at"))
    assert result == {
        "posts": 2,
        "rows": {"posts": 2},
        "bytes": 2,
        "sha256": "0" * 64,
        "available": True,
        "mail": {"state": "pending", "message_id": None, "sent_at": None},
    }


def test_download(susan: Person, export: str) -> None:
    """A download goes to a URL that was signed now, for a minute, and names the file."""
    answer = susan.get(f"/v1/exports/{export}/download")
    assert (answer.status_code, answer.body) == (303, b"")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="posts.json"'
    url = answer.headers["Location"]
    assert 0 < int(parse_qs(urlsplit(url).query)["X-Amz-Expires"][0]) <= 60
    with urlopen(url, timeout=60) as file:
        assert file.read() == b"{}"
        assert file.headers["Content-Disposition"] == 'attachment; filename="posts.json"'
        assert file.headers["Content-Type"] == "application/json"


def start(database: Database, task_id: str) -> None:
    ledgers.claim(database, task_id)


def cancel(database: Database, task_id: str) -> None:
    """Cancel a running task, up to its end."""
    lease = ledgers.claim(database, task_id)
    ledgers.put(database, task_id, status="cancelling")
    lease.cancel(now=ledgers.now())


@pytest.mark.parametrize(
    ("bring", "code"),
    [
        (lambda *_: None, "not_ready"),
        (start, "not_ready"),
        (ledgers.fail, "no_file"),
        (cancel, "no_file"),
    ],
)
def test_download_of_what_has_no_file(
    susan: Person, database: Database, bring: Callable[[Database, str], None], code: str
) -> None:
    """Before the end there is no file yet, and after a bad end there is none."""
    task_id = request_export(susan)
    bring(database, task_id)
    refused(susan.get(f"/v1/exports/{task_id}/download"), 409, code)
    refused(susan.post(f"/v1/exports/{task_id}/mail"), 409, code)


def gone(susan: Person, export: str) -> None:
    """Check that a file is gone, wherever one asks for it."""
    refused(susan.get(f"/v1/exports/{export}/download"), 410, "export_gone")
    refused(susan.post(f"/v1/exports/{export}/mail"), 410, "export_gone")
    task = susan.get(f"/v1/tasks/{export}").json_body
    assert (task["status"], task["result"]["available"]) == ("succeeded", False)
    assert task["links"]["download"] is None


def test_expired_at_its_minute(susan: Person, export: str, rewire: Rewire) -> None:
    """An export is gone when its time is over, whether or not somebody swept already."""
    rewire(later=timedelta(seconds=3590))
    assert susan.get(f"/v1/exports/{export}/download").status_code == 303
    rewire(later=timedelta(seconds=3600))
    gone(susan, export)


def test_missing_in_s3(susan: Person, export: str, wiring: Wiring) -> None:
    """It is looked for before anybody is sent there."""
    wiring.object_store.clear("exports/", needed=lambda: lambda _key: False)
    refused(susan.get(f"/v1/exports/{export}/download"), 410, "export_gone")
    settle_email(wiring, export, "sent")
    refused(susan.post(f"/v1/exports/{export}/mail"), 410, "export_gone")
    assert susan.get(f"/v1/tasks/{export}").json_body["result"]["mail"]["state"] == "sent"


def test_s3_away(susan: Person, export: str, rewire: Rewire) -> None:
    """While S3 does not answer nobody can say, so try again."""
    rewire(AWS_ENDPOINT_URL=f"http://127.0.0.1:{free_port()}")
    answer = susan.get(f"/v1/exports/{export}/download")
    refused(answer, 503, "unavailable")
    assert int(answer.headers["Retry-After"]) >= 1


def test_no_export(susan: Person, database: Database) -> None:
    """Another task is no export."""
    body = {"name": "example", "params": {"seconds": 1}}
    task_id = susan.post("/v1/tasks", body).json_body["id"]
    ledgers.claim(database, task_id).succeed({"seconds": 1}, now=ledgers.now())
    task = susan.get(f"/v1/tasks/{task_id}").json_body
    assert (task["result"], task["links"]["download"]) == ({"seconds": 1}, None)
    refused(susan.get(f"/v1/exports/{task_id}/download"), 404, "not_found")
    refused(susan.delete(f"/v1/exports/{task_id}"), 404, "not_found")
    refused(susan.post(f"/v1/exports/{task_id}/mail"), 404, "not_found")


@both_databases
def test_delete(susan: Person, export: str, wiring: Wiring) -> None:
    """A deleted file is gone from S3 with the answer, and deleting it again is no error."""
    key = ledgers.the_export(wiring.database, export).object_key or ""
    assert re.fullmatch(rf"exports/{susan.user_id}/{export}/.+", key)
    assert wiring.object_store.size(key) == 2
    for _ in range(2):
        answer = susan.delete(f"/v1/exports/{export}")
        assert (answer.status_code, answer.body) == (204, b"")
        assert wiring.object_store.size(key) is None
    gone(susan, export)
    mail = susan.get(f"/v1/tasks/{export}").json_body["result"]["mail"]
    assert mail["state"] == "failed"  # it was still to be sent: with no file there is no email


@pytest.mark.parametrize("bring", [lambda *_: None, start])
def test_delete_too_early(
    susan: Person, database: Database, bring: Callable[[Database, str], None]
) -> None:
    """While it is queued or running there is nothing to delete."""
    task_id = request_export(susan)
    bring(database, task_id)
    refused(susan.delete(f"/v1/exports/{task_id}"), 409, "not_ready")


@both_databases
def test_mail_again(susan: Person, export: str, wiring: Wiring) -> None:
    """An email can be asked for again when the last one is not on its way any more."""
    path = f"/v1/exports/{export}/mail"
    for state in ("pending", "sending"):
        settle_email(wiring, export, state)
        refused(susan.post(path), 409, "mail_in_progress")
    for state in ("sent", "unknown", "failed"):
        settle_email(wiring, export, state)
        answer = susan.post(path)
        assert answer.status_code == 202
        mail = {"state": "pending", "message_id": None, "sent_at": None}
        assert answer.json_body["result"]["mail"] == mail
        assert wiring.outbox_waiter.wait(0.1)


# --- Behind a stage ---


def test_addresses_carry_the_stage(susan: Person, export: str) -> None:
    """`Location`, `Link` and `links` begin with the prefix under which the request came."""

    def ask(method: str, resource: str, **parameters: str) -> dict[str, Any]:
        event = proxy_event(
            method,
            resource,
            parameters or None,
            headers=susan.headers,
            query={"limit": "1"},
            stage="/api",
        )
        answer: dict[str, Any] = app(event, None)
        return answer

    task = ask("GET", "/v1/tasks/{task_id}", task_id=export)
    assert shown(task)["links"] == {
        "self": f"/api/v1/tasks/{export}",
        "cancel": None,
        "retry": None,
        "download": f"/api/v1/exports/{export}/download",
    }
    newer = susan.post("/v1/tasks", {"name": "example", "params": {"seconds": 1}}).json_body["id"]
    listed = ask("GET", "/v1/tasks")
    assert shown(listed)["items"][0]["links"]["self"] == f"/api/v1/tasks/{newer}"
    assert listed["headers"]["Link"].startswith("</api/v1/tasks?limit=1&cursor=")
    assert shown(ask("GET", "/v1/me"))["links"]["self"] == "/api/v1/me"
    home = ask("GET", "/")["body"]
    assert 'action="/api/exports"' in home
    assert not re.search(r'(?:href|action|src)="/(?!api/)', home)
    for status in (202, 409):  # the new one, and where the running one is
        answer = ask("POST", "/v1/exports")
        assert answer["statusCode"] == status
        assert answer["headers"]["Location"].startswith("/api/v1/tasks/")
    new = shown(ask("GET", "/v1/tasks"))["items"][0]["links"]
    assert new["cancel"] == f"{new['self']}/cancel"
    signed = ask("GET", "/v1/exports/{task_id}/download", task_id=export)
    assert signed["headers"]["Location"].startswith("http://127.0.0.1")


# --- Erasure ---


@both_databases
def test_erased_account_leaves_nothing(susan: Person, david: Person, wiring: Wiring) -> None:
    """Posts, tasks, plans, receivers, tokens and files are gone; other people's are not."""
    for person in (susan, david):
        person.post("/v1/posts", {"body": "x"})
        plan = {"task": {"name": "export_posts"}, "rrule": "FREQ=DAILY", "timezone": "UTC"}
        person.call("POST", "/v1/schedules", plan, 201)
        person.call("POST", "/v1/webhooks", {"url": "http://127.0.0.1/"}, 201)
        uploads.upload(person, b"{}")
        headers = {"Idempotency-Key": "k"}
        task_id = person.post("/v1/exports", {}, headers=headers).json_body["id"]
        ledgers.publish(wiring, task_id)
        with wiring.database.write() as session:
            user = session.get_one(User, person.user_id)
            link_keys.send_link(session, user, "reset", now=ledgers.now())
        link_keys.make_key(
            wiring.database, person.user_id, "reset", address=user.email, now=ledgers.now()
        )
    running = susan.post("/v1/tasks", {"name": "example", "params": {"seconds": 1}}).json_body["id"]
    lease = ledgers.claim(wiring.database, running)

    answer = susan.delete("/v1/me")
    assert (answer.status_code, answer.body) == (204, b"")
    refused(susan.get("/v1/me"), 401, "unauthenticated")
    refused(david.get("/v1/users/susan/posts"), 404, "not_found")
    owned = [table for table in Base.metadata.sorted_tables if "user_id" in table.c]
    assert {table.name for table in owned} >= {
        "posts",
        "tasks",
        "notifications",
        "tokens",
        "outbox",
        "schedules",
        "webhooks",
        "imports",
    }
    with wiring.database.read() as session:
        for table in owned:
            if table.name not in {"audit", "removals"}:  # numbers only, kept for good or to be done
                owners = set(session.scalars(sa.select(table.c.user_id)))
                assert owners == {david.user_id}, table.name
    keys = wiring.object_store._s3.list_objects_v2(Bucket=wiring.object_store.bucket)["Contents"]
    assert {one["Key"].split("/")[1] for one in keys} == {str(david.user_id)}
    assert lease.renew() is None
    with pytest.raises(ClaimLost):
        lease.report(1, 1, now=ledgers.now())


@both_databases
def test_name_is_free_but_not_the_number(susan: Person, join: Join) -> None:
    """Somebody else may take the name, but never the number: it is part of S3 keys."""
    assert susan.delete("/v1/me").status_code == 204
    again = join("susan")
    assert again.user_id > susan.user_id
    assert again.get("/v1/tasks").json_body["items"] == []
