import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests

from chalicelib.adapters.job_queue import JobQueue, api_client
from tests.conftest import both_databases
from tests.harness.events import proxy_event, shown
from tests.harness.pages import HOST
from tests.harness.people import JSON
from tests.harness.processes import worker
from tests.harness.stacks import emails_in
from tests.harness.waiting import wait_until
from tests.package.conftest import everything
from tests.package.runtime import TARGET, Function, Image

pytestmark = pytest.mark.package

BODIES = ["first", "second \u2028 \U0001f600", 'a "quoted" \\ one\nof two lines']
SUSAN = {"username": "susan", "password": "correct horse"}
SCHEDULED = {
    "id": "89d1a02d-5ec7-412e-82f5-13505f849b41",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "123456789012",
    "time": "2026-01-02T03:04:05Z",
    "region": "us-east-1",
    "resources": ["arn:aws:events:us-east-1:123456789012:rule/carryout-dev-sweep"],
    "version": "0",
    "detail": {},
}
FORM = {
    "Content-Type": "application/x-www-form-urlencoded",
    "Host": HOST,
    "Origin": f"https://{HOST}",
    "Accept": "text/html",
}


class Deployment:
    """Both functions as they are deployed, and the queue between them and a worker."""

    def __init__(self, image: Image, environment: dict[str, str], folder: Path) -> None:
        settings = {**environment, "LOG_FORMAT": "json", "PYTHONPROFILEIMPORTTIME": "1"}
        self.api = Function(image, "app.app", settings, log=folder / "api.log")
        self.sweep = Function(image, "app.sweep", settings, log=folder / "sweep.log")
        self.queue = JobQueue(api_client(environment["REDIS_URL"]), "microblog-tasks", timeout_s=1)
        self._environment = environment
        self._log = folder / "worker.log"
        self._workers = ExitStack()

    def ask(self, method: str, resource: str, **options: Any) -> dict[str, Any]:
        """Send a request through API Gateway's stage `api`."""
        parameters = options.pop("parameters", None)
        event = proxy_event(method, resource, parameters, stage="/api", **options)
        answer: dict[str, Any] = self.api.invoke(event)
        return answer

    def post(
        self, path: str, body: object, status: int, headers: dict[str, str] | None = None
    ) -> Any:
        """Post JSON; the answer must have this status."""
        given = {**JSON, **(headers or {})}
        answer = self.ask("POST", path, headers=given, body=json.dumps(body))
        assert answer["statusCode"] == status, answer
        return shown(answer)

    def start_worker(self) -> None:
        self._workers.enter_context(worker(self._environment, log=self._log))

    def stop(self) -> None:
        self._workers.close()
        self.api.stop()
        self.sweep.stop()
        self.queue.redis.close()


@pytest.fixture
def deployment(image: Image, environment: dict[str, str], tmp_path: Path) -> Iterator[Deployment]:
    running = Deployment(image, environment, tmp_path)
    yield running
    running.stop()


@both_databases
def test_from_sign_up_to_download(
    deployment: Deployment, image: Image, mail_dir: Path, environment: dict[str, str]
) -> None:
    """The unpacked package serves the whole story, its sweep included, with byte-code alone."""
    before = everything(image.task_root)
    deployment.post("/v1/users", {**SUSAN, "email": "susan@example.com"}, 201)
    token = deployment.post("/v1/tokens", SUSAN, 201)["token"]
    susan = {"Authorization": f"Bearer {token}"}
    for body in BODIES:
        deployment.post("/v1/posts", {"body": body}, 201, susan)

    task = deployment.post("/v1/exports", {}, 202, susan)
    assert task["links"]["self"] == f"/api/v1/tasks/{task['id']}"
    deployment.queue.redis.flushall()  # the job is lost, and no worker is there to notice
    assert deployment.sweep.invoke(SCHEDULED) is None
    assert deployment.queue.depth() == 1
    deployment.start_worker()
    poll(deployment, task["id"], susan)

    answer = deployment.ask(
        "GET",
        "/v1/exports/{task_id}/download",
        parameters={"task_id": task["id"]},
        headers=susan,
    )
    assert answer["statusCode"] == 303
    assert answer["headers"]["Location"].startswith(environment["AWS_ENDPOINT_URL"])
    data = requests.get(answer["headers"]["Location"], timeout=60).content
    assert [post["body"] for post in json.loads(data)["posts"]] == BODIES
    (email,) = wait_until(lambda: emails_in(mail_dir), "the email")
    (attachment,) = email.iter_attachments()
    assert attachment.get_payload(decode=True) == data

    look_at_pages(deployment, task["id"])
    refuse(deployment, susan)
    assert everything(image.task_root) == before
    assert {"babel.dates", "boto3", "jinja2"} <= loaded(deployment.api.log)
    for function in (deployment.api, deployment.sweep):
        assert "Traceback" not in function.log
        assert loaded(function.log) & uncompiled(image.task_root) == set()


def poll(deployment: Deployment, task_id: str, headers: dict[str, str]) -> None:
    """Ask for a task until it has succeeded, as a client does."""

    def succeeded() -> bool:
        answer = deployment.ask(
            "GET",
            "/v1/tasks/{task_id}",
            parameters={"task_id": task_id},
            headers=headers,
            query={"wait": "2"},
        )
        assert answer["statusCode"] == 200
        assert "ETag" in answer["headers"]
        return bool(shown(answer)["status"] == "succeeded")

    wait_until(succeeded, "the export succeeds")


def look_at_pages(deployment: Deployment, task_id: str) -> None:
    """Sign in with the form and see the export, in a language with numbers of its own."""
    form = urlencode({**SUSAN, "back": "/"})
    answer = deployment.ask("POST", "/sign-in", headers=FORM, body=form)
    assert answer["statusCode"] == 303
    assert answer["headers"]["Location"] == "/api/"
    cookie = answer["headers"]["Set-Cookie"].partition(";")[0]
    page = deployment.ask("GET", "/", headers={"Cookie": cookie, "Accept": "text/html"})
    assert page["statusCode"] == 200
    assert page["headers"]["Content-Type"].startswith("text/html")
    assert f"/api/exports/{task_id}" in page["body"]
    assets = set(re.findall(r'"/api/static/([\w.-]+)', page["body"]))
    assert len(assets) >= 2
    for match in assets:
        asset = deployment.ask("GET", "/static/{name}", parameters={"name": match})
        assert asset["statusCode"] == 200
        assert asset["body"]


def refuse(deployment: Deployment, headers: dict[str, str]) -> None:
    """What is not there is a problem document."""
    parameters = {"task_id": "no-such-task"}
    answer = deployment.ask("GET", "/v1/tasks/{task_id}", parameters=parameters, headers=headers)
    assert answer["statusCode"] == 404
    assert answer["headers"]["Content-Type"] == "application/problem+json"
    assert shown(answer)["code"] == "not_found"


def loaded(log: str) -> set[str]:
    """Every module of the package that was imported, by `-X importtime`."""
    names = {line.rpartition("|")[2].strip() for line in log.splitlines() if "import time:" in line}
    assert "chalicelib.wiring" in names
    return names


def uncompiled(folder: Path) -> set[str]:
    """Every module that has no byte-code, by its full name."""
    found = set()
    for path in folder.rglob("*.py"):
        bytecode = path.parent / "__pycache__" / f"{path.stem}.cpython-{TARGET.cpython}.pyc"
        if not bytecode.exists():
            parts = path.relative_to(folder).with_suffix("").parts
            found.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    assert "pip" in found
    return found
