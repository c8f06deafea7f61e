import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from chalice.test import Client
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from app import app
from chalicelib.errors import RequestError
from chalicelib.web import openapi, problems
from chalicelib.web.openapi import document
from tests.harness.people import Person
from tests.integration.test_problems import REQUEST_ERRORS, make

DOCUMENT = document(app.endpoints, prefix="/api")
OPERATIONS = [
    (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


def test_it_is_openapi() -> None:
    """The document is valid by the schema of OpenAPI 3.1 itself."""
    assert [error.message for error in OPENAPI_31_VALIDATOR.iter_errors(DOCUMENT)] == []


def places(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Everything in the document that a reader wants described, and where it is."""
    if isinstance(node, list):
        for number, one in enumerate(node):
            yield from places(one, f"{path}/{number}")
    if not isinstance(node, dict):
        return
    for key, one in node.items():
        at = f"{path}/{key}"
        if key in {"example", "examples", "value"}:
            continue  # what an API says, not what is said of it
        if key in DESCRIBED and isinstance(one, dict) and not at.endswith("/properties/headers"):
            yield from ((f"{at}/{name}", what) for name, what in one.items())
        elif key in {"parameters", "tags"} and isinstance(one, list):
            yield from ((f"{at}/{number}", what) for number, what in enumerate(one))
        elif key == "requestBody":
            yield at, one
        yield from places(one, at)


DESCRIBED = {"properties", "responses", "headers", "links", "schemas", "securitySchemes"}


def test_everything_is_described() -> None:
    """No field, parameter, header, link, request or response is without a description."""
    found = [(at, what) for at, what in places(DOCUMENT) if isinstance(what, dict)]
    assert len(found) > 1000
    assert [at for at, what in found if not what.get("description")] == []


def test_descriptions_say_more_than_the_summary() -> None:
    """A response's description is about the response, and nothing shows Python's own sections."""
    for _, _, operation in OPERATIONS:
        said = {one["description"] for one in operation["responses"].values()}
        assert operation["summary"] not in said
        assert operation["tags"]
    assert "Attributes:" not in json.dumps(DOCUMENT)
    assert '"const"' not in json.dumps(DOCUMENT)


def test_defaults_are_stated() -> None:
    """A query parameter with a default says so."""
    by_name = {
        parameter["name"]: parameter["schema"]
        for _, _, operation in OPERATIONS
        for parameter in operation["parameters"]
    }
    defaults = {name: by_name[name].get("default") for name in ("limit", "wait", "after", "cursor")}
    assert defaults == {"limit": 20, "wait": 0.0, "after": 0, "cursor": None}


def examples() -> list[Any]:
    """Each example in the document, with the schema that it must fit."""
    found = []
    for method, path, operation in OPERATIONS:
        contents = [("request", operation.get("requestBody", {}))]
        contents += list(operation["responses"].items())
        for status, one in contents:
            for content in one.get("content", {}).values():
                shown = [case["value"] for case in content.get("examples", {}).values()]
                shown += [content["example"]] if "example" in content else []
                found.append(pytest.param(content["schema"], shown, id=f"{method} {path} {status}"))
    return found


@pytest.mark.parametrize(("schema", "shown"), examples())
def test_examples_fit(schema: dict[str, Any], shown: list[Any]) -> None:
    """Each request and response has examples, and they are as their schema says."""
    if schema == {"type": "object"}:
        return  # `/openapi.json`, which is its own example
    assert shown
    whole = {**schema, "components": DOCUMENT["components"]}
    validator = jsonschema_rs.Draft202012Validator(whole)
    for example in shown:
        assert [error.message for error in validator.iter_errors(example)] == []


def test_examples_of_schemas_fit() -> None:
    """So do the examples of each schema and of each of its fields."""
    for name, schema in DOCUMENT["components"]["schemas"].items():
        whole = {**schema, "components": DOCUMENT["components"]}
        for example in schema.get("examples", ()):
            assert list(jsonschema_rs.Draft202012Validator(whole).iter_errors(example)) == [], name
        for field, one in schema.get("properties", {}).items():
            part = {**one, "components": DOCUMENT["components"]}
            for example in one.get("examples", ()):
                found = list(jsonschema_rs.Draft202012Validator(part).iter_errors(example))
                assert found == [], f"{name}.{field}"


def test_links_lead_to_their_own_kind() -> None:
    """An account's links are an account's, a task's are a task's, also in examples."""
    links = DOCUMENT["components"]["schemas"]["UserLinks"]["properties"]
    assert links["self"]["examples"] == ["/v1/me"]
    assert links["posts"]["examples"] == ["/v1/users/susan/posts"]
    task = DOCUMENT["components"]["schemas"]["TaskLinks"]["properties"]
    assert task["self"]["examples"][0].startswith("/v1/tasks/")


def test_it_names_the_routes() -> None:
    """The document has every route that is no page, no preflight and no HEAD, and no other."""
    routes = {
        (method, path)
        for path, methods in app.routes.items()
        for method in methods
        if path.startswith("/v1/") or path in {"/healthz", "/readyz", "/metrics", "/openapi.json"}
    }
    documented = {(method, path) for method, path, _ in OPERATIONS}
    preflights = {("OPTIONS", path) for _, path in documented}
    heads = {("HEAD", path) for method, path in documented if method == "GET"}
    assert routes == documented | preflights | heads


def test_references_lead_somewhere() -> None:
    """Whatever is referred to exists, in schemas and in links, and nothing else is there."""
    schemas = DOCUMENT["components"]["schemas"]
    found = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT)))
    assert found == set(schemas)
    operations = {operation["operationId"] for _, _, operation in OPERATIONS}
    assert len(operations) == len(OPERATIONS)
    linked = set()
    for _, _, operation in OPERATIONS:
        for response in operation["responses"].values():
            linked |= set(response.get("links", {}))
    assert linked <= operations
    assert {"show_one_task", "cancel_task", "retry_task", "download_export"} <= linked


@pytest.mark.parametrize("kind", REQUEST_ERRORS, ids=lambda kind: str(kind.__name__))
def test_headers_of_problems(kind: type[RequestError]) -> None:
    """The document tells of the header that an error brings along."""
    if problems.status_of(kind) == 405:
        return  # no operation's answer: the method has none
    header = openapi.header_of(kind)
    error = make(kind)
    assert isinstance(error, RequestError)
    assert set(error.headers) == ({header} if header else set())


def test_it_is_served_where_it_stands(client: Client) -> None:
    """Anybody may read it; its paths are relative to where it was asked for."""
    shown = Person(client).get("/openapi.json").json_body
    assert shown["openapi"].startswith("3.1")
    assert shown["servers"] == [{"url": "/"}]
    assert DOCUMENT["servers"] == [{"url": "/api"}]
