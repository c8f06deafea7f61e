"""What each role may do is what its code does: nothing less, nothing more.

The code runs against emulated servers, and every request that botocore signs is written down.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import boto3
import botocore
import pytest
from redis import Redis

from app import app, sweep
from chalicelib.adapters.object_store import Part, UploadGoneError
from chalicelib.errors import TaskError
from chalicelib.exports import removals
from chalicelib.imports import uploads
from chalicelib.wiring import Wiring
from tests.conftest import Join
from tests.harness.ledgers import (
    JSON,
    launch,
    make_user,
    now,
    publish,
    the_email,
    the_export,
    write_posts,
)
from tests.harness.uploads import TIME, json_lines, launch_import
from tests.infra.templates import AWS, Template, actions, statements
from worker.attempts import Attempt, FailedAttemptError, perform
from worker.export.upload import Upload
from worker.protection import protected

PROTECT = "PUT /task-protection/v1/state"

NEEDS = {
    "s3.PutObject": {"s3:PutObject"},
    "s3.CreateMultipartUpload": {"s3:PutObject"},
    "s3.UploadPart": {"s3:PutObject"},
    "s3.CompleteMultipartUpload": {"s3:PutObject"},
    "s3.AbortMultipartUpload": {"s3:AbortMultipartUpload"},
    "s3.GetObject": {"s3:GetObject"},
    "s3.HeadObject": {"s3:GetObject", "s3:ListBucket"},  # the latter for a 404 instead of a 403
    "s3.ListObjectsV2": {"s3:ListBucket"},
    "s3.ListMultipartUploads": {"s3:ListBucketMultipartUploads"},
    "s3.DeleteObjects": {"s3:DeleteObject"},
    "sesv2.SendEmail": {"ses:SendRawEmail"},  # of raw content, as all of ours is
    "secrets-manager.GetSecretValue": {"secretsmanager:GetSecretValue"},
    PROTECT: {"ecs:UpdateTaskProtection"},  # the agent asks ECS in the task role's name
}
"""Which actions a request needs, by the Service Authorization Reference."""

BEFORE_THE_CODE = {"Log", "Network", "NetworkIsNotForTheCode"}
"""Statements for Lambda itself, which makes a network interface and writes the log."""


class Recorder:
    """Writes down what botocore signs, while it is told to.

    Attributes:
        requests: Names of operations, and where they went.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self._on = False

    def attach(self, session: Any) -> None:
        session.register("before-sign", self._note)

    def _note(self, event_name: str, request: Any, **_rest: Any) -> None:
        if self._on:
            self.requests.append((event_name.partition(".")[2], unquote(request.url)))

    @contextmanager
    def on(self) -> Iterator[None]:
        self._on = True
        yield
        self._on = False

    def needed(self) -> set[str]:
        return set().union(*(NEEDS[name] for name, _ in self.requests))


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Listens to every session that this test makes."""
    listening = Recorder()
    botocore.register_initializer(listening.attach)
    boto3.DEFAULT_SESSION = None
    yield listening
    botocore.unregister_initializer(listening.attach)
    boto3.DEFAULT_SESSION = None


@pytest.fixture
def environment(environment: dict[str, str], valkey_port: int) -> Iterator[dict[str, str]]:
    """The settings, with a queue whose password is in a secret."""
    name = f"queue-{uuid4().hex}"
    secret = json.dumps({"username": name, "password": "a-password"})
    endpoint_url = environment["AWS_ENDPOINT_URL"]
    boto3.client("secretsmanager", endpoint_url=endpoint_url).create_secret(
        Name=name, SecretString=secret
    )
    with Redis(port=valkey_port) as admin:
        admin.acl_setuser(
            name,
            enabled=True,
            passwords=["+a-password"],
            keys=["*"],
            channels=["*"],
            commands=["+@all"],
        )
        yield environment | {"REDIS_SECRET": name}
        admin.acl_deluser(name)


def granted(template: Template, role: str) -> set[str]:
    """What the code of a role may do."""
    of_the_code = [one for one in statements(template, role) if one["Sid"] not in BEFORE_THE_CODE]
    assert {one["Effect"] for one in of_the_code} == {"Allow"}
    return set().union(*map(actions, of_the_code))


OWN = {"${Bucket}/exports/*", "${Bucket}/imports/*"}


def leave_behind(wiring: Wiring, prefix: str) -> None:
    """An object and an unfinished upload, as an attempt leaves them that was killed."""
    wiring.object_store.put(f"{prefix}9/posts.json", b"{}", JSON)
    wiring.object_store.begin(f"{prefix}9/posts.json", JSON)


def begin_anew(wiring: Wiring) -> None:
    """Be as a process that has just begun: connected with nobody, and without any secret."""
    wiring.queue.redis.connection_pool.disconnect()
    held = wiring.redis_secret
    assert held
    held._known = None


def own_prefixes(requests: Sequence[tuple[str, str]]) -> bool:
    """Whether each request to S3 is about `exports/` or `imports/`."""
    about = [url for name, url in requests if name.startswith("s3.") and "Delete" not in name]
    ours = re.compile(r"/(ex|im)ports/\d+/|prefix=(ex|im)ports/")
    return bool(about) and all(map(ours.search, about))


def test_api(recorder: Recorder, join: Join, wiring: Wiring, app_template: Template) -> None:
    """Downloads and uploads are looked at and signed; files of erased accounts go."""
    susan, david = join("susan"), join("david")
    tasks = [launch(wiring.database, one.user_id) for one in (susan, david)]
    for task_id in tasks:
        publish(wiring, task_id)
    leave_behind(wiring, removals.prefix(david.user_id))
    begin_anew(wiring)
    with recorder.on():
        assert susan.get(f"/v1/exports/{tasks[0]}/download").status_code == 303
        assert susan.delete(f"/v1/exports/{tasks[0]}").status_code == 204
        assert susan.post("/v1/exports", {}).status_code == 202
        new = susan.call("POST", "/v1/imports", {}, 201)
        # Whoever has the URL acts by the rights of the role that signed it.
        wiring.object_store.put(f"imports/{susan.user_id}/{new['id']}/upload", b"{}", JSON)
        assert susan.post(f"/v1/imports/{new['id']}/start", {}).status_code == 202
        assert david.delete("/v1/me").status_code == 204
    assert recorder.needed() == granted(app_template, "ApiRole")
    assert own_prefixes(recorder.requests)


def test_reconciler(recorder: Recorder, wiring: Wiring, app_template: Template) -> None:
    """What nobody needs any more goes."""
    user_id = make_user(wiring.database)
    task_id = launch(wiring.database, user_id)
    publish(wiring, task_id, ttl_s=-1)
    leave_behind(wiring, removals.prefix(user_id, task_id))
    with wiring.database.write() as session:
        upload = uploads.create(session, user_id, filename=None, now=now() - timedelta(days=2))
    leave_behind(wiring, removals.import_prefix(user_id, upload.id))
    names = ("version", "account", "region", "detail", "detail-type", "source", "time", "id")
    app.__dict__["wiring"] = wiring
    begin_anew(wiring)
    with recorder.on():
        sweep({**dict.fromkeys(names, ""), "resources": []}, None)
    del app.__dict__["wiring"]
    assert the_export(wiring.database, task_id).gone_at
    assert recorder.needed() == granted(app_template, "SweepRole")
    assert own_prefixes(recorder.requests)
    (look,) = [one for one in statements(app_template, "SweepRole") if one["Sid"] == "Look"]
    assert look["Condition"] == {"StringLike": {"s3:prefix": ["exports/*", "imports/*"]}}


@pytest.fixture
def agent_url(recorder: Recorder) -> Iterator[str]:
    """ECS's agent, in so far as a worker knows it."""

    class Agent(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            recorder.requests.append((f"PUT {self.path}", ""))
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Agent)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_worker(recorder: Recorder, wiring: Wiring, agent_url: str, app_template: Template) -> None:
    """Small and large exports, one that fails, their emails, and what is left of the last one.

    An import reads what was uploaded, and removes it.
    """

    def broken(_attempt: Attempt) -> None:
        raise TaskError("It broke.", code="broken")

    small, large, third = (make_user(wiring.database, name) for name in ("small", "large", "third"))
    write_posts(wiring.database, large, ["x" * 10_000] * 700)
    done = [launch(wiring.database, user_id) for user_id in (small, large)]
    failed = launch(wiring.database, third)
    leave_behind(wiring, removals.prefix(third, failed))
    imported = launch_import(wiring, small, json_lines([("x", TIME)]))
    lost = Part(1, '"0"', 1)
    begin_anew(wiring)
    with recorder.on(), protected(agent_url):
        assert not wiring.queue.workers_alive()  # it registers itself as one
        for task_id in (*done, imported):
            perform(task_id, wiring)
        with pytest.raises(FailedAttemptError):
            perform(failed, wiring, function=broken)
        with pytest.raises(UploadGoneError):  # and looks whether the object is there
            Upload(wiring.object_store, "exports/0/lost", JSON, "lost", [lost]).finish(b"")
    for task_id in (*done, failed):
        email = the_email(wiring.database, task_id)
        assert email is not None
        assert email.state == "sent"
    assert recorder.needed() == granted(app_template, "WorkerRole")
    assert own_prefixes(recorder.requests)


def test_worker_sends_as_one(app_template: Template) -> None:
    """The right to send emails is narrowed to one address."""
    (mail,) = [one for one in statements(app_template, "WorkerRole") if one["Sid"] == "Mail"]
    assert mail["Condition"] == {"StringEquals": {"ses:FromAddress": {"Ref": "SenderAddress"}}}


def test_worker_sends_to_anybody(app_template: Template) -> None:
    """In the sandbox SES authorises the recipient's identity as well as the sender's."""
    (mail,) = [one for one in statements(app_template, "WorkerRole") if one["Sid"] == "Mail"]
    identity, configuration = (str(one["Fn::Sub"]) for one in mail["Resource"])
    assert identity.endswith(":identity/*")
    assert ":configuration-set/${Set}" in configuration


def test_migration(foundation: Template) -> None:
    """A migration signs in to the ledger, and does nothing else on AWS."""
    assert granted(foundation, "MigrationRole") == {"secretsmanager:GetSecretValue"}


def test_files_are_under_own_prefixes(app_template: Template) -> None:
    """What is said of objects is said of `exports/*` alone."""
    for role in ("ApiRole", "SweepRole", "WorkerRole"):
        for one in statements(app_template, role):
            if any(action.startswith("s3:") and "List" not in action for action in actions(one)):
                about = one["Resource"] if isinstance(one["Resource"], list) else [one["Resource"]]
                assert {re.sub(".*:::", "", each["Fn::Sub"][0]) for each in about} <= OWN


def test_every_star_is_explained() -> None:
    """No action and no resource is `*` without a reason beside it."""
    stars = re.compile(r"^\s*(Action|Resource|- )[^#]*[\"':]\*[\"']")
    lines = [
        line
        for name in ("foundation", "app")
        for line in (AWS / f"{name}.yaml").read_text().splitlines()
    ]
    found = [number for number, line in enumerate(lines) if stars.match(line)]
    assert found
    unexplained = [
        lines[number] for number in found if "#" not in lines[number] + _sid(lines, number)
    ]
    assert unexplained == []


def _sid(lines: list[str], number: int) -> str:
    """The line with which a statement begins."""
    return next(line for line in reversed(lines[:number]) if "- Sid:" in line or "- Effect" in line)
