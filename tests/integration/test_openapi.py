import json
import re

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
    header = openapi._header_of(kind)
    error = make(kind)
    assert isinstance(error, RequestError)
    assert set(error.headers) == ({header} if header else set())


def test_it_is_served_where_it_stands(client: Client) -> None:
    """Anybody may read it; its paths are relative to where it was asked for."""
    shown = Person(client).get("/openapi.json").json_body
    assert shown["openapi"].startswith("3.1")
    assert shown["servers"] == [{"url": "/"}]
    assert DOCUMENT["servers"] == [{"url": "/api"}]
