import base64
import json
import re
from collections.abc import Iterator
from itertools import product
from typing import Any

import msgspec
import pytest
from chalice.test import Client
from werkzeug.test import Client as Browser

from app import app
from chalicelib import errors
from chalicelib.web.problems import render, status_of
from infra.servers.gateway import Gateway
from tests.conftest import Join, both_databases
from tests.harness.events import proxy_event, shown
from tests.harness.people import JSON, Person, pointers, refused


def kinds(base: type[errors.CarryoutError]) -> Iterator[type[errors.CarryoutError]]:
    """Every error below one."""
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


def make(kind: type[errors.CarryoutError]) -> errors.CarryoutError:
    """An error with whatever it needs."""
    needed: dict[type, tuple[Any, ...]] = {
        errors.MethodNotAllowed: (["GET"],),
        errors.TaskInProgress: ("x",),
        errors.TooMany: (1,),
    }
    arguments = next((needed[one] for one in kind.__mro__ if one in needed), ())
    return kind(*arguments)


REQUEST_ERRORS = list(kinds(errors.RequestError))


@pytest.mark.parametrize("kind", REQUEST_ERRORS, ids=lambda kind: str(kind.__name__))
def test_every_error_has_an_answer(kind: type[errors.RequestError]) -> None:
    """Each error has a status of its own, a code of its own and a sentence."""
    error = make(kind)
    answer = render(error)
    document = json.loads(answer.body)
    assert 400 <= status_of(error) < 600
    assert status_of(error) != 500
    assert document["status"] == answer.status == status_of(error)
    assert document["detail"] == (kind.__doc__ or "").splitlines()[0]
    assert sum(one.code == kind.code for one in REQUEST_ERRORS) == 1


def test_other_errors_say_nothing() -> None:
    """What is not a caller's fault answers 500 and keeps its reasons to itself."""
    for kind in (errors.CarryoutError, errors.SettingsError, errors.TaskError):
        answer = render(kind("the password is x"))
        document = json.loads(answer.body)
        assert (answer.status, document["code"]) == (500, "internal_error")
        assert "password" not in answer.body


DEEP = 100_000
MALFORMED = [
    b"{",
    b"[]",
    b'"x"',
    b"null",
    b"1",
    b"{}x",
    b"{'body': 'x'}",
    b'{"body": "x",}',
    b'{"body": NaN}',
    b'{"body": -Infinity}',
    b'{"body": "\x01"}',
    b'\xef\xbb\xbf{"body": "x"}',  # RFC 8259, section 8.1: no byte order mark
    '{"body": "x"}'.encode("utf-16"),
    b"[" * DEEP,
    b'{"body": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    b'{"body": ' + b'{"a": ' * DEEP + b"1" + b"}" * DEEP + b"}",
    b'{"body": ' + b"9" * 5000 + b"}",
]


@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_json(susan: Person, body: bytes) -> None:
    """What is no JSON object is told so, however it is broken."""
    refused(susan.post("/v1/posts", body), 422, "malformed_json")


@pytest.mark.parametrize("body", [b"\xff", b'{"body": "\xed\xa0\x80"}', b'{"body": "\xc0\x80"}'])
def test_body_that_is_not_utf8(susan: Person, body: bytes) -> None:
    """Bytes that are no UTF-8 come from API Gateway in base64, and are no JSON."""
    text = base64.b64encode(body).decode()
    event = proxy_event(
        "POST", "/v1/posts", headers=susan.headers | JSON, body=text, is_base64=True
    )
    answer = app(event, None)
    assert (answer["statusCode"], shown(answer)["code"]) == (422, "malformed_json")


def test_empty_body_is_an_empty_object(susan: Person) -> None:
    """An empty body counts as `{}`, whatever its media type is said to be."""
    for headers in ({}, {"Content-Type": "text/plain"}):
        problem = refused(susan.post("/v1/posts", b"", headers=headers), 422, "invalid")
        assert pointers(problem) == {"/body"}
    assert susan.post("/v1/exports", b"").status_code == 202


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "x", "text/json"],
)
def test_other_media_types(susan: Person, media_type: str) -> None:
    """Only JSON is taken."""
    answer = susan.post("/v1/posts", b'{"body": "x"}', headers={"Content-Type": media_type})
    refused(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "media_type", ["application/json", "Application/JSON ; charset=utf-8", "application/json;x"]
)
def test_json_by_any_spelling(susan: Person, media_type: str) -> None:
    """Parameters and case of a media type do not matter."""
    answer = susan.post("/v1/posts", b'{"body": "x"}', headers={"Content-Type": media_type})
    assert answer.status_code == 201


def test_last_of_two_members_counts(susan: Person) -> None:
    """A name that comes twice is not refused; Python's decoder takes the last."""
    assert susan.post("/v1/posts", b'{"body": "a", "body": "b"}').json_body["body"] == "b"


WITH_BODY = [one for one in app.endpoints if one.body is not None]
NAMES = {
    "username": "susan",
    "post_id": "1",
    "task_id": "x",
    "import_id": "x",
    "schedule_id": "x",
    "webhook_id": "x",
    "number": "1",
}
FIELDS = [
    (one, field.name)
    for one in WITH_BODY
    for field in msgspec.structs.fields(one.body or msgspec.Struct)
]


@pytest.mark.parametrize(
    "one", WITH_BODY, ids=lambda one: f"{one.method} {one.path.replace('/', '_')}"
)
def test_unknown_fields(join: Join, one: Any) -> None:
    """Every route with a body refuses a field that it does not know, by its pointer."""
    root = join("root", is_admin=True)
    path = one.path.format(**NAMES)
    problem = refused(root.ask(one.method, path, {"a/b~\ud800": 1}), 422, "invalid")
    assert "/a~1b~0?" in pointers(problem)


@both_databases
def test_unstorable_characters_in_bodies(join: Join) -> None:
    """NUL and lone surrogates are invalid in every field of every body, wherever they stand."""
    root = join("root", is_admin=True)
    for one, field in FIELDS:
        if one.path == "/v1/tokens":  # any string may be tried there
            continue
        for bad in ("a\0b", "\ud800", "\udfff x", ["\0"], {"\0": 1}, {"x": [{"y": "\ud83d"}]}):
            path = one.path.format(**NAMES)
            problem = refused(root.ask(one.method, path, {field: bad}), 422, "invalid")
            assert any(pointer.startswith(f"/{field}") for pointer in pointers(problem))


BAD = ("\0", "a\0b", "\ud800", "x\udfff")


@both_databases
def test_unstorable_characters_in_paths(join: Join) -> None:
    """Nothing is called what cannot be stored: 404, as for every other name."""
    root = join("root", is_admin=True)
    routes = [(one.method, one.path) for one in app.endpoints] + [
        ("GET", "/users/{username}"),
        ("GET", "/exports/{task_id}"),
        ("GET", "/imports/{import_id}"),
    ]
    for method, path in routes:
        if "{" not in path:
            continue
        names = re.findall(r"\{(\w+)\}", path)
        for name, bad in product(names, BAD):
            given = {one: NAMES[one] for one in names} | {name: bad}
            answer = app(proxy_event(method, path, given, headers=root.headers), None)
            assert answer["statusCode"] == 404, (method, path, ascii(bad))
            assert shown(answer)["code"] == "not_found"


@both_databases
def test_unstorable_characters_in_queries(susan: Person) -> None:
    """Every query parameter with such a character is refused, by its name."""
    checked = 0
    for one in app.endpoints:
        parameters = {n: v for n, v in NAMES.items() if f"{{{n}}}" in one.path} or None
        for field in msgspec.structs.fields(one.query):
            for bad in BAD:
                event = proxy_event(
                    one.method,
                    one.path,
                    parameters,
                    query={field.name: bad},
                    headers=susan.headers,
                )
                if "admin" in one.path:
                    continue
                answer = app(event, None)
                assert answer["statusCode"] == 422, (one.path, field.name, ascii(bad))
                assert pointers(shown(answer)) == {f"?{field.name}"}
                checked += 1
    assert checked


def test_unknown_query_parameters_are_ignored(susan: Person) -> None:
    """What a tracker adds to an address does no harm."""
    assert susan.get("/v1/tasks?utm_source=x&limit=1").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/v1/nothing", 404, None),
        ("GET", "/v1", 404, None),
        ("GET", "/V1/me", 404, None),
        ("GET", "/v1/tasks/x/y", 404, None),
        ("PUT", "/v1/me", 405, "DELETE, GET, HEAD, PATCH"),
        ("TRACE", "/v1/me", 405, "DELETE, GET, HEAD, PATCH"),
        ("POST", "/v1/tasks/x", 405, "GET, HEAD"),
        ("DELETE", "/", 405, "GET, HEAD"),
    ],
)
def test_unknown_paths_and_methods(
    client: Client, method: str, path: str, status: int, allow: str | None
) -> None:
    """Behind the project's own server each has its problem, and 405 says what would do."""
    assert client
    answer = Browser(Gateway(app)).open(path, method=method)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers.get("Allow") == allow
    assert answer.headers["X-Request-Id"]
    code = "not_found" if status == 404 else "method_not_allowed"
    assert json.loads(answer.data)["code"] == code


def test_failures_of_ours_say_nothing(susan: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug answers 500 as a problem, without what the exception said."""

    def broken(*_: object) -> None:
        raise RuntimeError("the password is x")

    monkeypatch.setattr("chalicelib.microblog.posts.count_posts", broken)
    problem = refused(susan.get("/v1/me"), 500, "internal_error")
    assert "password" not in json.dumps(problem)
