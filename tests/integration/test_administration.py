"""What operators see of everybody, and do: over the API, on the pages, on the command line."""

import json
import logging
import re
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from chalicelib import logs
from chalicelib.accounts.rate_limits import EXPORTS_PER_USER
from chalicelib.db.models import OutboxMessage, Task, Webhook
from chalicelib.errors import TooMany
from chalicelib.operations.oversight import Owned
from chalicelib.operations.stories import Attempt, Event, Story
from chalicelib.wiring import Wiring
from infra.local.stack import free_port
from tests.conftest import Join, Rewire, both_databases
from tests.harness import ledgers
from tests.harness.commands import Call
from tests.harness.pages import Browser
from tests.harness.people import Person, refused
from tests.harness.processes import ROOT

SECRET_URL = "https://example.com/s3cret"
FIRST_LOAD_BYTES = 80_000
STATIC = ROOT / "chalicelib" / "web" / "static"


@dataclass(frozen=True)
class Things:
    """What susan has: ids of a failed task, a schedule, a webhook that fails, and an import."""

    task: str
    schedule: str
    webhook: str
    upload: str


@pytest.fixture
def root(join: Join) -> Person:
    return join("root", is_admin=True)


@pytest.fixture
def things(susan: Person, wiring: Wiring) -> Things:
    """Susan has one of each; her webhook failed to hear of her task."""
    wanted = {"task": {"name": "export_posts"}, "rrule": "FREQ=DAILY", "timezone": "UTC"}
    schedule = susan.call("POST", "/v1/schedules", wanted, 201)["id"]
    webhook = susan.call("POST", "/v1/webhooks", {"url": SECRET_URL}, 201)["id"]
    upload = susan.call("POST", "/v1/imports", {"filename": "mine.zip"}, 201)["id"]
    database = wiring.database
    task = ledgers.launch(database, susan.user_id)
    ledgers.fail(database, task)
    with database.write() as session:
        delivery = sa.update(OutboxMessage).where(OutboxMessage.webhook_id == webhook)
        session.execute(delivery.values(state="failed", status_code=503, tries=15))
        session.execute(sa.update(Webhook).values(failing_since=ledgers.now()))
    return Things(task, str(schedule), str(webhook), str(upload))


def listed(person: Person, path: str) -> list[dict[str, Any]]:
    """The items of a list."""
    items: list[dict[str, Any]] = person.call("GET", path)["items"]
    return items


@both_databases
def test_everybodys_things(root: Person, susan: Person, things: Things) -> None:
    """Each list says whose a thing is, and nothing that its owner would keep to themselves."""
    owner = {"id": susan.user_id, "username": "susan"}
    (schedule,) = listed(root, "/v1/admin/schedules")
    (webhook,) = listed(root, "/v1/admin/webhooks")
    (upload,) = listed(root, "/v1/admin/imports")
    assert [one["id"] for one in (schedule, webhook, upload)] == [
        things.schedule,
        things.webhook,
        things.upload,
    ]
    assert [one["owner"] for one in (schedule, webhook, upload)] == [owner] * 3
    assert (webhook["receiver"], webhook["deliveries"]) == ("https://example.com", 1)
    assert upload["status"] == "waiting"
    messages = listed(root, "/v1/admin/outbox?topic=webhook")
    assert [(one["state"], one["status"], one["n"]) for one in messages] == [("failed", 503, 1)]
    everything = json.dumps([schedule, webhook, upload, messages])
    assert all(secret not in everything for secret in ("s3cret", "whsec", "mine.zip", "@"))


@both_databases
def test_filters_and_pages(root: Person, susan: Person, things: Things) -> None:
    """Lists are filtered, and end where a page says that more follow."""
    assert listed(root, "/v1/admin/outbox?state=sent") == []
    (failed,) = listed(root, "/v1/admin/outbox?state=failed")
    assert failed["task_id"] == things.task
    assert len(listed(root, "/v1/admin/webhooks?state=failing")) == 1
    susan.call("POST", "/v1/webhooks", {"url": "https://example.com/2"}, 201)
    first = root.get("/v1/admin/webhooks?limit=1")
    assert first.headers["Link"].startswith("</v1/admin/webhooks?")
    second = listed(root, f"/v1/admin/webhooks?limit=1&cursor={first.json_body['next']}")
    assert [one["id"] for one in second] == [things.webhook]
    assert len(listed(root, "/v1/admin/webhooks?state=failing")) == 1
    refused(root.get("/v1/admin/outbox?state=lost"), 422, "invalid")


@both_databases
def test_a_story(root: Person, wiring: Wiring, things: Things) -> None:
    """A task's story has its attempt, what happened in order, and what the outbox has about it."""
    story = root.call("GET", f"/v1/admin/tasks/{things.task}")
    assert (story["task"]["id"], story["owner"]["username"]) == (things.task, "susan")
    assert [one["outcome"] for one in story["attempts"]] == ["failed"]
    events = [one["event"] for one in story["history"]]
    assert events[:3] == ["requested", "started", "failed"]
    assert {one["topic"] for one in story["messages"]} == {"webhook", "export"}
    assert {one["task_id"] for one in story["messages"]} == {things.task}
    assert things.task in story["log_query"]
    assert story["log"] is None
    assert wiring.settings.log_file is None
    refused(root.get("/v1/admin/tasks/x"), 404, "not_found")


def test_attempts_follow_from_events() -> None:
    """An attempt lasts from a claim to what ended it; what comes between is none of its ends."""
    at = ledgers.now()
    told = ["requested", "started", "returned", "started", "published", "succeeded", "emailed"]
    events = [Event(at + timedelta(seconds=number), name) for number, name in enumerate(told)]
    story = Story(Owned(Task(), "susan"), events, [])
    second = timedelta(seconds=1)
    assert story.attempts == [
        Attempt(at + second, at + 2 * second, "returned"),
        Attempt(at + 3 * second, at + 5 * second, "succeeded"),
    ]
    assert Story(Owned(Task(), "susan"), events[:2], []).attempts == [Attempt(at + second)]


def test_lines_in_the_log(root: Person, rewire: Rewire, tmp_path: Path, things: Things) -> None:
    """With LOG_FILE, each process appends its lines, and a task's are found; none of others."""
    log = tmp_path / "carryout.log"
    root_logger = logging.getLogger()
    before, level = root_logger.handlers[:], root_logger.level
    try:
        logs.configure("text", file=str(log))
        written = logging.getLogger("tests")
        for task_id in (things.task, "another"):
            written.info("attempt raised", extra={"action": "failed", "task_id": task_id})
        written.info("of no task, but it names one", extra={"about": things.task})
        with log.open("a") as file:
            file.write(f'{{"half a line, {things.task}')
    finally:
        for handler in set(root_logger.handlers) - set(before):
            handler.close()
        root_logger.handlers[:] = before
        root_logger.setLevel(level)
    rewire(LOG_FILE=str(log))
    (line,) = root.call("GET", f"/v1/admin/tasks/{things.task}")["log"]
    assert (line["message"], line["action"]) == ("attempt raised", "failed")
    page = Browser(root.client, root.token).get(f"/admin/tasks/{things.task}").body.decode()
    assert "attempt raised" in page
    assert "another" not in page


@both_databases
def test_switches(root: Person, susan: Person, things: Things) -> None:
    """Operators pause and resume anybody's schedule and webhook; owners see it."""
    for kind, thing in (("schedules", things.schedule), ("webhooks", things.webhook)):
        for enabled in (False, True):
            body = {"enabled": enabled}
            shown = root.call("PATCH", f"/v1/admin/{kind}/{thing}", body)
            assert (shown["enabled"], shown["owner"]["username"]) == (enabled, "susan")
            assert susan.call("GET", f"/v1/{kind}/{thing}")["enabled"] == enabled
        refused(root.patch(f"/v1/admin/{kind}/x", {"enabled": True}), 404, "not_found")
        refused(root.patch(f"/v1/admin/{kind}/{thing}", {}), 422, "invalid")


def test_redelivery(root: Person, things: Things) -> None:
    """A delivery that failed is made again, once it is over."""
    path = f"/v1/admin/webhooks/{things.webhook}/deliveries"
    again = root.call("POST", f"{path}/1/redeliver", {}, 202)
    assert (again["n"], again["state"], again["owner"]["username"]) == (2, "pending", "susan")
    refused(root.post(f"{path}/2/redeliver", {}), 409, "delivery_in_progress")
    refused(root.post(f"{path}/x/redeliver", {}), 404, "not_found")


def test_limits(root: Person, susan: Person, rewire: Rewire, worker: Call) -> None:
    """Operators see how often each limit refused somebody lately, and whom."""
    limiter = rewire(LIMITS="on").rate_limiter
    for _ in range(EXPORTS_PER_USER.most + 2):
        try:
            limiter.spend((EXPORTS_PER_USER, susan.user_id))
        except TooMany:
            continue
    shown = root.call("GET", "/v1/admin/limits")
    assert shown["enabled"] is True
    (refusal,) = shown["refusals"]
    wanted = (EXPORTS_PER_USER.name, str(susan.user_id), 2)
    assert (refusal["limit"], refusal["who"], refusal["count"]) == wanted
    figures = {(one["what"], one["by"]): one["refused"] for one in shown["items"]}
    assert figures["exports, retries among them", "user"] == 2
    assert figures["uploads", "user"] == 0
    assert figures["tokens", "user"] is None  # nobody is refused: the oldest ends
    page = Browser(root.client, root.token).get("/admin/limits").body.decode()
    assert 'href="/users/susan">susan</a></td><td>2</td>' in page
    assert wanted[0] in worker("limits").out
    rewire(LIMITS="on", REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert root.call("GET", "/v1/admin/limits")["refusals"] is None
    page = Browser(root.client, root.token).get("/admin/limits").body.decode()
    assert "Redis isn&#39;t responding." in page or "Redis isn't responding." in page


SECTIONS = {
    "/admin/outbox": "message-",
    "/admin/outbox?show=failed": "{task}",
    "/admin/schedules": "schedule-{schedule}",
    "/admin/webhooks?show=failing": "webhook-{webhook}",
    "/admin/imports": "import-{upload}",
}
"""Each section, and what it shows."""


def test_sections(root: Person, susan: Person, things: Things) -> None:
    """Each section shows what is there, to administrators alone, and leads to the others."""
    operator, user = Browser(root.client, root.token), Browser(susan.client, susan.token)
    for path, shows in {**SECTIONS, f"/admin/tasks/{things.task}": "started"}.items():
        page = operator.get(path).body.decode()
        assert shows.format(**asdict(things)) in page, path
        assert "s3cret" not in page
        assert page.count('href="/admin/') >= 5
        assert user.get(path).status_code == 403
    waiting = operator.get("/admin/outbox?show=waiting").body.decode()
    assert waiting.count('id="message-') == 1  # the email about the failure
    assert operator.get("/admin/outbox?show=x").status_code == 422


def test_buttons_of_sections(root: Person, susan: Person, things: Things, wiring: Wiring) -> None:
    """What the pages' buttons do is what the API does; users may not."""
    operator, user = Browser(root.client, root.token), Browser(susan.client, susan.token)
    for path in (
        f"/admin/schedules/{things.schedule}/pause",
        f"/admin/schedules/{things.schedule}/resume",
        f"/admin/webhooks/{things.webhook}/pause",
        f"/admin/webhooks/{things.webhook}/resume",
        f"/admin/webhooks/{things.webhook}/deliveries/1/redeliver",
    ):
        assert user.send(path).status_code == 403
        answer = operator.send(path)
        assert (
            answer.headers["Location"]
            == path.partition(f"/{things.schedule}")[0].partition(f"/{things.webhook}")[0]
        )
    with wiring.database.read() as session:
        assert session.scalars(sa.select(Webhook.deliveries)).one() == 2


def test_plots_have_tables_and_zoom(root: Person, things: Things) -> None:
    """Behind each plot are its figures, and each of its parts leads to a look at it alone."""
    operator = Browser(root.client, root.token)
    page = operator.get("/admin").body.decode()
    assert things.task in page
    links = re.findall(r'href="(/admin/period\?until=\d+&amp;span=(\d+))"', page)
    assert sorted({int(span) for _, span in links}) == [120, 1800, 3600, 86400]
    for link, span in links:
        closer = operator.get(link.replace("&amp;", "&")).body.decode()
        (row,) = re.findall(r'<tr><th scope="row">.*?</tr>', closer)
        assert re.findall(r"<td>(.*?)</td>", row)[:3] == ["0", "1", "0"]
        assert f"span={int(span) // 30}" in row
    assert "None." in operator.get("/admin/period?until=1&span=86400").body.decode()
    assert operator.get("/admin/period?until=1&span=0").status_code == 422


def test_first_load(root: Person, susan: Person, wiring: Wiring, things: Things) -> None:
    """A day full of tasks makes no page larger than 80 kB with all that it loads."""
    assert things
    moment = ledgers.now()
    rows: list[dict[str, Any]] = [
        {
            "id": f"00000000-0000-4000-8000-{number:012}",
            "user_id": susan.user_id,
            "name": "example",
            "params": {},
            "status": ("succeeded", "failed", "cancelled")[number % 3],
            "created_at": moment,
            "queued_at": moment,
            "due_at": moment,
            "started_at": moment - timedelta(minutes=number + 3),
            "finished_at": moment - timedelta(minutes=number),
            "max_attempts": 5,
            "error_code": "task_failed",
            "error_detail": "x" * 200,
        }
        for number in range(24 * 60)
    ]
    for row in rows[:20]:
        row |= {"status": "queued", "finished_at": None, "unique_key": row["id"]}
    messages: list[dict[str, Any]] = [
        {
            "id": f"00000000-0000-4000-8000-{number:012}",
            "user_id": susan.user_id,
            "topic": "export",
            "payload": {},
            "created_at": moment,
            "due_at": moment,
        }
        for number in range(100)
    ]
    with wiring.database.write() as session:
        session.execute(sa.insert(Task), rows)
        session.execute(sa.insert(OutboxMessage), messages)
    assets = sum((STATIC / name).stat().st_size for name in ("app.css", "app.js", "icon.svg"))
    operator = Browser(root.client, root.token)
    sizes = {
        path: len(operator.get(path).body) + assets
        for path in (
            "/admin",
            "/admin/period?span=86400",
            *SECTIONS,
            "/admin/limits",
            f"/admin/tasks/{things.task}",
        )
    }
    assert max(sizes.values()) <= FIRST_LOAD_BYTES, sizes


def test_commands(worker: Call, things: Things) -> None:
    """The command line lists the same."""
    assert things.task in worker("outbox", "list", "--state", "failed", "--json").out
    assert "webhook          failed" in worker("outbox", "list").out
    assert "webhook          failed" in worker("outbox", "count").out
    assert things.upload in worker("imports", "list").out
    assert things.webhook in worker("webhooks", "list", "--failing").out
    assert worker("outbox", "list", "--state", "sent").out == "no messages\n"
    assert worker("limits").out == "nobody was refused within a day\n"
    story = json.loads(worker("tasks", "show", things.task).out)
    assert [one["outcome"] for one in story["attempts"]] == ["failed"]
    assert {one["topic"] for one in story["messages"]} == {"webhook", "export"}
