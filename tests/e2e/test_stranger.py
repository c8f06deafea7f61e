"""Somebody who knows the address and the reference alone gets everything done.

Once with a script that sends HTTP requests, once with a client that a generator makes of the
OpenAPI document.
"""

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from importlib import import_module
from types import ModuleType
from typing import Any

import jsonschema_rs
import pytest
import requests
from standardwebhooks import Webhook

from tests.harness.processes import BIN, output
from tests.harness.receivers import Receiver, receiving
from tests.harness.stacks import Stack

TIMEOUT_S = 60
BODIES = ["first", "zweiter \u2028 \U0001f600"]
FILE = json.dumps({"body": "from elsewhere", "timestamp": "2020-02-02T02:02:02Z"}).encode() + b"\n"
CLIENT = "client_of_a_stranger"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """The stranger's own server."""
    with receiving() as receiver:
        yield receiver


class Stranger:
    """Sends requests, and holds every response against the document.

    Args:
        url: The one thing that the stranger was told.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.token = ""
        page = requests.get(f"{url}/docs", timeout=TIMEOUT_S).text
        linked = re.search(r'href="(/[^"]*openapi.json)"', page)
        assert linked
        self.document = requests.get(url + linked[1], timeout=TIMEOUT_S).json()
        routes = re.findall(r"<summary><code>(\w+) (/[^<]+)</code>", page)
        self.routes = {f"{method} {path}" for method, path in routes}

    def ask(
        self, route: str, body: object = None, headers: dict[str, str] | None = None, **given: Any
    ) -> requests.Response:
        """Send a request to a route as the reference writes it: `GET /v1/tasks/{task_id}`.

        Args:
            route: Method and path.
            body: What goes as JSON.
            headers: More headers.
            given: Values of parameters, in the path or the query.
        """
        assert route in self.routes
        method, path = route.split()
        operation = self.document["paths"][path][method.lower()]
        places = {one["name"]: one["in"] for one in operation["parameters"]}
        query = {name: value for name, value in given.items() if places[name] == "query"}
        bearer = {"Authorization": f"Bearer {self.token}"} if operation["security"] else {}
        response = requests.request(
            method,
            self.url + path.format(**given),
            params=query,
            json=body,
            headers=bearer | (headers or {}),
            timeout=TIMEOUT_S,
            allow_redirects=False,
        )
        announced = operation["responses"][str(response.status_code)]
        required = {name for name, one in announced.get("headers", {}).items() if one["required"]}
        assert [name for name in required if name not in response.headers] == []
        if response.content:
            media_type = response.headers["Content-Type"].partition(";")[0]
            schema = announced["content"][media_type]["schema"]
            whole = {**schema, "components": self.document["components"]}
            validator = jsonschema_rs.Draft202012Validator(whole)
            assert [one.message for one in validator.iter_errors(response.json())] == []
        return response

    def follow(self, task_id: str) -> Any:
        """Wait for the end of a task, and for the email of an export, as the guide says."""
        headers: dict[str, str] = {}
        deadline = datetime.now(UTC) + timedelta(seconds=TIMEOUT_S)
        while datetime.now(UTC) < deadline:
            response = self.ask(
                "GET /v1/tasks/{task_id}", task_id=task_id, wait=20, headers=headers
            )
            if response.status_code == requests.codes.ok:
                task = response.json()
                mail = (task["result"] or {}).get("mail", {"state": "sent"})
                if task["finished_at"] and mail["state"] in {"sent", "failed"}:
                    return task
                headers = {"If-None-Match": response.headers["ETag"]}
        pytest.fail(f"the task has not ended: {task}")


def soon() -> datetime:
    """A whole second a moment ahead."""
    return (datetime.now(UTC) + timedelta(seconds=2)).replace(microsecond=0)


def every_hour_at(moment: datetime) -> str:
    return f"FREQ=HOURLY;BYMINUTE={moment.minute};BYSECOND={moment.second}"


def event_of(receiver: Receiver, secret: str, task_id: str) -> Any:
    """Wait for the event about a task, and verify it with the library of Standard Webhooks."""
    arrived: list[Any] = []
    while task_id not in [event["data"]["id"] for event in arrived]:
        requests_so_far = receiver.wait_for(len(arrived) + 1, within_s=TIMEOUT_S)
        arrived = [json.loads(one.body) for one in requests_so_far]
    (number,) = [at for at, event in enumerate(arrived) if event["data"]["id"] == task_id]
    request = receiver.requests[number]
    return Webhook(secret).verify(request.body, request.headers)


def test_a_script(stack: Stack, receiver: Receiver) -> None:
    """Sign up, export, wait, download, verify, import, schedule, get a webhook; all announced."""
    one = Stranger(stack.app_url)
    secrets = {"username": "stranger", "password": "correct horse"}
    one.ask("POST /v1/users", {**secrets, "email": "stranger@example.com"})
    refused = one.ask("POST /v1/tokens", {**secrets, "password": "wrong horse"})
    assert refused.json()["code"] == "wrong_credentials"
    one.token = one.ask("POST /v1/tokens", secrets).json()["token"]
    for body in BODIES:
        one.ask("POST /v1/posts", {"body": body})
    events = ["task.succeeded", "task.failed", "task.cancelled"]
    webhook = one.ask("POST /v1/webhooks", {"url": receiver.url, "events": events}).json()

    key = {"Idempotency-Key": "only-once"}
    first = one.ask("POST /v1/exports", {}, key).json()
    assert one.ask("POST /v1/exports", {}, key).json()["id"] == first["id"]
    task = one.follow(first["id"])
    assert task["status"] == "succeeded"
    found = one.ask("GET /v1/exports/{task_id}/download", task_id=task["id"])
    data = requests.get(found.headers["Location"], timeout=TIMEOUT_S).content
    assert hashlib.sha256(data).hexdigest() == task["result"]["sha256"]
    assert [post["body"] for post in json.loads(data)["posts"]] == BODIES
    event = event_of(receiver, webhook["secret"], task["id"])
    assert (event["type"], event["data"]["status"]) == ("task.succeeded", "succeeded")

    new = one.ask("POST /v1/imports", {"filename": "posts.jsonl", "size": len(FILE)}).json()
    upload = new["upload"]
    sent = requests.request(
        upload["method"],
        upload["url"],
        data=FILE,
        headers=upload["headers"],
        timeout=TIMEOUT_S,
    )
    assert sent.ok
    started = one.ask("POST /v1/imports/{import_id}/start", {}, import_id=new["id"]).json()
    assert one.follow(started["id"])["result"]["imported"] == 1
    page = one.ask("GET /v1/users/{username}/posts", username="stranger", limit=2).json()
    rest = one.ask(
        "GET /v1/users/{username}/posts", username="stranger", limit=2, cursor=page["next"]
    ).json()
    assert [post["body"] for post in page["items"] + rest["items"]][-1] in {
        "from elsewhere",
        *BODIES,
    }
    assert (len(page["items"] + rest["items"]), rest["next"]) == (3, None)

    moment = soon()
    plan = {"task": {"name": "example", "params": {"seconds": 0}}, "timezone": "Europe/Madrid"}
    schedule = one.ask("POST /v1/schedules", {**plan, "rrule": every_hour_at(moment)}).json()
    assert len(schedule["next_runs"]) == 5
    last = None
    after = 0
    deadline = datetime.now(UTC) + timedelta(seconds=TIMEOUT_S)
    while last is None and datetime.now(UTC) < deadline:
        after = one.ask("GET /v1/notifications", after=after, wait=1).json()["last_seq"]
        shown = one.ask("GET /v1/schedules/{schedule_id}", schedule_id=schedule["id"]).json()
        last = shown["last_task"]
    assert last is not None
    assert one.follow(last["id"])["status"] == "succeeded"
    assert event_of(receiver, webhook["secret"], last["id"])["data"]["name"] == "example"
    one.ask("DELETE /v1/schedules/{schedule_id}", schedule_id=schedule["id"])
    one.ask("DELETE /v1/webhooks/{webhook_id}", webhook_id=webhook["id"])
    gone = one.ask("GET /v1/schedules/{schedule_id}", schedule_id=schedule["id"])
    assert gone.json()["code"] == "not_found"


@pytest.fixture
def open_clients() -> Iterator[ExitStack]:
    """Closes clients at the end."""
    with ExitStack() as clients:
        yield clients


@pytest.fixture(scope="module")
def generated(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a module of a client that openapi-python-client makes, as it is.

    A warning of the generator's, such as one that it leaves out a route or a response, fails.
    """
    folder = tmp_path_factory.mktemp("generated")
    plain = folder / "plain.yaml"
    plain.write_text("post_hooks: []\n")  # nobody reads the code, so it needs no formatting
    said = output(
        BIN / "openapi-python-client",
        "generate",
        *("--url", f"{stack.app_url}/openapi.json", "--config", plain, "--meta", "none"),
        *("--output-path", folder / CLIENT, "--fail-on-warning"),
    )
    assert "WARNING" not in said
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield lambda name: import_module(f"{CLIENT}.{name}")
        for name in [name for name in sys.modules if name.partition(".")[0] == CLIENT]:
            patch.delitem(sys.modules, name)


def test_a_generated_client(
    stack: Stack,
    receiver: Receiver,
    open_clients: ExitStack,
    generated: Callable[[str], ModuleType],
) -> None:
    """The same story by types and functions alone, in which nothing of a response is lost."""
    models = generated("models")
    base = {"base_url": stack.app_url, "raise_on_unexpected_status": True}
    client = open_clients.enter_context(generated("client").Client(**base))

    def call(name: str, *arguments: Any, status: int = 200, **given: Any) -> Any:
        done = generated(f"api.{name}").sync_detailed(*arguments, client=client, **given)
        assert done.status_code == status, done
        assert done.parsed is not None or not done.content
        return done.parsed

    def follow(task: Any) -> Any:
        deadline = datetime.now(UTC) + timedelta(seconds=TIMEOUT_S)
        while task.finished_at is None and datetime.now(UTC) < deadline:
            task = call("tasks.show_one_task", task.id, wait=1)
        assert task.status == models.TaskStatus.SUCCEEDED
        return task

    secrets = {"username": "generated", "password": "correct horse"}
    new = models.SignUp(email="generated@example.com", **secrets)
    assert call("accounts.create_user", body=new, status=201).language.value == "en"
    taken = call("accounts.create_user", body=new, status=409)
    assert (taken.code.value, taken.status.value) == ("username_taken", 409)
    token = call("accounts.create_token", body=models.Credentials(**secrets), status=201).token
    signed_in = generated("client").AuthenticatedClient(token=token, **base)
    client = open_clients.enter_context(signed_in)
    for body in BODIES:
        call("posts.create_post", body=models.NewPost(body=body), status=201)
    hook = models.NewWebhook(url=receiver.url, events=[models.NewWebhookEventsItem.TASK_SUCCEEDED])
    webhook = call("webhooks.create_webhook", body=hook, status=201)

    export = follow(call("exports.create_export", body=models.NewExport(), status=202))
    assert isinstance(export.result, models.ExportResult)
    assert export.result.additional_properties == {"posts": len(BODIES)}
    found = generated("api.exports.download_export").sync_detailed(export.id, client=client)
    data = requests.get(found.headers["Location"], timeout=TIMEOUT_S).content
    assert hashlib.sha256(data).hexdigest() == export.result.sha256
    event = event_of(receiver, webhook.secret, str(export.id))
    assert models.Task.from_dict(event["data"]).id == export.id

    created = call("imports.create_import", body=models.NewImport(size=len(FILE)), status=201)
    headers = created.upload.headers.to_dict()
    assert requests.put(created.upload.url, FILE, headers=headers, timeout=TIMEOUT_S).ok
    started = call("imports.start_import", created.id, body=models.Nothing(), status=202)
    assert follow(started).result.imported == 1

    plan = models.NewSchedule(
        task=models.NewScheduleExampleTask(
            name=models.NewScheduleExampleTaskName.EXAMPLE, params=models.Example(seconds=0)
        ),
        rrule="FREQ=MONTHLY;BYMONTHDAY=1;BYHOUR=3",
        timezone="Europe/Madrid",
    )
    schedule = call("schedules.create_schedule", body=plan, status=201)
    assert len(schedule.next_runs) == 5
    assert schedule.task.params.to_dict() == {"seconds": 0}
    assert [one.id for one in call("schedules.list_schedules").items] == [schedule.id]
    assert call("notifications.list_notifications").last_seq > 0
