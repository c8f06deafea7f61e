"""What may be chosen for an export, over HTTP: datasets, formats, a period, the viewer."""

import io
import json
import zipfile
from typing import Any

import pytest

from chalicelib.exports.archive import FORMATS
from chalicelib.wiring import Wiring
from tests.conftest import Rewire, both_databases
from tests.harness.ledgers import make_user, the_export, write_posts
from tests.harness.people import Person
from worker import attempts

NAMES = [
    "profile", "posts", "tasks", "notifications", "sessions", "emails", "schedules", "webhooks",
    "audit",
]  # fmt: skip
ALL = {"archive": True}


def faults(person: Person, body: dict[str, Any], *, path: str = "/v1/exports") -> dict[str, str]:
    """What is wrong with a request, by pointer."""
    response = person.post(path, body)
    assert response.status_code == 422, response.json_body
    return {one["pointer"]: one["detail"] for one in response.json_body["errors"]}


@pytest.mark.parametrize(
    ("choice", "kind"),
    [
        ({}, "export_posts"),
        ({"archive": False}, "export_posts"),
        (ALL, "export_archive"),
        ({**ALL, "datasets": ["posts", "audit"], "formats": [*FORMATS]}, "export_archive"),
        ({**ALL, "formats": ["activitystreams"]}, "export_archive"),  # of all, posts among them
        ({**ALL, "from": "2026-01-01T00:00:00Z", "viewer": False}, "export_archive"),
        (
            {**ALL, "from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:00:00.000001Z"},
            "export_archive",
        ),
    ],
)
def test_what_is_launched(susan: Person, choice: dict[str, Any], kind: str) -> None:
    """With nothing chosen it is the posts as ever, else an archive."""
    response = susan.post("/v1/exports", choice)
    assert (response.status_code, response.json_body["name"]) == (202, kind)
    assert response.headers["Location"] == f"/v1/tasks/{response.json_body['id']}"
    assert response.headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("choice", "pointers"),
    [
        ({"datasets": ["posts"]}, {"/datasets"}),
        ({"archive": False, "formats": ["json"], "viewer": True}, {"/formats", "/viewer"}),
        ({"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}, {"/from", "/to"}),
        ({"archive": 1}, {"/archive"}),
        ({"archive": None}, {"/archive"}),
        ({**ALL, "since": "2026-01-01T00:00:00Z"}, {"/since"}),
        ({**ALL, "datasets": []}, {"/datasets"}),
        ({**ALL, "datasets": None}, {"/datasets"}),
        ({**ALL, "datasets": "posts"}, {"/datasets"}),
        ({**ALL, "datasets": ["posts", "secrets"]}, {"/datasets/1"}),
        ({**ALL, "datasets": ["posts", "audit", "posts"]}, {"/datasets/2"}),
        ({**ALL, "formats": ["json", "pdf", "json"]}, {"/formats/1", "/formats/2"}),
        ({**ALL, "formats": []}, {"/formats"}),
        ({**ALL, "datasets": ["audit"], "formats": ["json", "activitystreams"]}, {"/formats/1"}),
        ({**ALL, "from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, {"/to"}),
        ({**ALL, "from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, {"/to"}),
        ({**ALL, "from": "2026-01-01"}, {"/from"}),
        ({**ALL, "to": "2026-02-30T00:00:00Z"}, {"/to"}),
        ({**ALL, "viewer": "yes"}, {"/viewer"}),
    ],
    ids=lambda given: repr(sorted(given) if isinstance(given, set) else given),
)
def test_what_is_refused(susan: Person, choice: dict[str, Any], pointers: set[str]) -> None:
    """Each thing that is wrong is named, and nothing is launched."""
    assert set(faults(susan, choice)) == pointers
    assert susan.get("/v1/tasks").json_body["items"] == []


def test_the_same_by_name(susan: Person) -> None:
    """Whoever launches the kind of task by its name is told the same of its parameters."""
    body = {
        "name": "export_archive",
        "params": {"datasets": ["audit"], "formats": ["activitystreams"]},
    }
    assert faults(susan, body, path="/v1/tasks") == {
        "/params/formats/0": "needs posts among the datasets"
    }
    body["params"] = {"datasets": ["audit"]}
    assert susan.post("/v1/tasks", body).status_code == 202


def test_one_of_a_kind(susan: Person) -> None:
    """An archive runs beside an export of posts; a second one does not, whatever is chosen."""
    posts, archive = susan.post("/v1/exports"), susan.post("/v1/exports", ALL)
    assert (posts.status_code, archive.status_code) == (202, 202)
    again = susan.post("/v1/exports", {**ALL, "datasets": ["audit"]})
    assert (again.status_code, again.json_body["code"]) == (409, "task_in_progress")
    assert again.headers["Location"] == archive.headers["Location"]


def test_a_key_names_one_choice(susan: Person) -> None:
    """The same key and choice are the same task; another choice is refused."""
    key = {"Idempotency-Key": "mine"}
    choice = {**ALL, "datasets": ["posts"]}
    first = susan.ask("POST", "/v1/exports", choice, key)
    again = susan.ask("POST", "/v1/exports", {**choice, "formats": ["json"]}, key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json_body["id"] == again.json_body["id"]
    for other in ({}, ALL, {**choice, "viewer": False}):
        response = susan.ask("POST", "/v1/exports", other, key)
        assert (response.status_code, response.json_body["code"]) == (
            422,
            "idempotency_key_reused",
        )


@both_databases
def test_its_result(susan: Person, wiring: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows by dataset, beside what every export has; the file has what was chosen, and no more."""
    monkeypatch.setattr(attempts, "process_wiring", lambda: wiring)
    write_posts(wiring.database, susan.user_id, ["one", "two"])
    write_posts(wiring.database, make_user(wiring.database, "david"), ["his"])
    choice = {"datasets": ["posts", "profile", "sessions"], "formats": ["ndjson"], "viewer": False}
    task_id = susan.post("/v1/exports", ALL | choice).json_body["id"]
    attempts.run(task_id)
    result = susan.get(f"/v1/tasks/{task_id}").json_body["result"]
    assert result["rows"] == {"profile": 1, "posts": 2, "sessions": 1}
    assert (result["posts"], result["available"]) == (2, True)
    assert {"bytes", "sha256", "expires_at", "mail"} <= result.keys()
    assert result["mail"]["state"] == "sent"
    key = the_export(wiring.database, task_id).object_key or ""
    data = b"".join(wiring.object_store.read(key))
    assert len(data) == result["bytes"]
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        assert found.namelist() == [
            "README.txt",
            "data/profile.ndjson",
            "data/posts.ndjson",
            "data/sessions.ndjson",
            "manifest.json",
        ]
        manifest = json.loads(found.read("manifest.json"))
        posts = found.read("data/posts.ndjson").splitlines()
    assert {one["name"]: one["rows"] for one in manifest["datasets"]} == result["rows"]
    assert [json.loads(line)["body"] for line in posts] == ["one", "two"]


def test_the_datasets(susan: Person, wiring: Wiring) -> None:
    """Everything there is, in one order; titles are in the reader's language."""
    write_posts(wiring.database, susan.user_id, ["one", "two"])
    shown = susan.get("/v1/datasets").json_body
    assert [one["name"] for one in shown["items"]] == NAMES
    assert shown["next"] is None
    posts = next(one for one in shown["items"] if one["name"] == "posts")
    assert posts.keys() == {"name", "title", "rows", "bytes", "seconds", "formats"}
    assert (posts["title"], posts["rows"], posts["formats"]) == ("Posts", 2, [*FORMATS])
    assert shown["items"][0]["formats"] == ["json", "ndjson", "csv"]
    assert susan.ask("PATCH", "/v1/me", {"language": "es"}).status_code == 200
    titles = [one["title"] for one in susan.get("/v1/datasets").json_body["items"]]
    assert titles[1] == "Publicaciones"


def test_pages_of_datasets(susan: Person) -> None:
    """The list has pages as every list has, with a link to the next."""
    seen: list[str] = []
    path: str | None = "/v1/datasets?limit=3"
    while path:
        response = susan.get(path)
        seen += [one["name"] for one in response.json_body["items"]]
        after = response.json_body["next"]
        assert ("Link" in response.headers) == (after is not None)
        path = f"/v1/datasets?limit=3&cursor={after}" if after else None
    assert seen == NAMES
    assert susan.get("/v1/datasets?cursor=x").status_code == 422
    assert susan.get("/v1/datasets?cursor=999_0").json_body == {"items": [], "next": None}


def test_the_cooldown_is_each_kinds_own(
    rewire: Rewire, susan: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an archive the next one waits; posts alone do not."""
    wiring = rewire(EXPORT_COOLDOWN_S="60")
    monkeypatch.setattr(attempts, "process_wiring", lambda: wiring)
    attempts.run(susan.post("/v1/exports", ALL).json_body["id"])
    again = susan.post("/v1/exports", {**ALL, "datasets": ["audit"]})
    assert (again.status_code, "Retry-After" in again.headers) == (429, True)
    assert susan.post("/v1/exports").status_code == 202
