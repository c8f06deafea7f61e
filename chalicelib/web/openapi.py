"""The OpenAPI 3.1 document, made from the routes and the types of requests and responses."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import msgspec

from chalicelib import errors
from chalicelib.errors import RequestError
from chalicelib.exports.archive import Archive
from chalicelib.exports.kinds import export_kinds
from chalicelib.schemas import imports, responses
from chalicelib.schemas.requests import Nothing, Number
from chalicelib.schemas.schedules import Schedule
from chalicelib.schemas.webhooks import ShownWebhook
from chalicelib.tasks.registry import TASKS, repeatable_kinds
from chalicelib.values.fields import IdempotencyKey, Username
from chalicelib.web import problems
from chalicelib.web.api import Endpoint
from chalicelib.web.request import COOKIE

Json = dict[str, Any]

COMPONENT = "#/components/schemas/{name}"

HEADERS: dict[str, tuple[str, Json]] = {
    "Location": ("Where to continue", {"type": "string", "format": "uri-reference"}),
    "ETag": (
        "Identifies this state of the task",
        {"type": "string", "pattern": '^"[0-9a-f]{32}"$'},
    ),
    "Retry-After": ("When to ask again, in seconds", {"type": "integer", "minimum": 1}),
    "Link": ('The next page: `rel="next"`', {"type": "string"}),
    "Content-Disposition": ("The file's name", {"type": "string"}),
    "X-Request-Id": ("The request's id, which the logs have, too", {"type": "string"}),
    "WWW-Authenticate": (
        "The authentication scheme (RFC 9110)",
        {"type": "string", "const": "Bearer"},
    ),
}
EVERY_RESPONSE = ("X-Request-Id",)
"""The headers that no response lacks."""

REQUEST_HEADERS: dict[str, tuple[str, Any]] = {
    "Idempotency-Key": (
        "Requests with the same key and body within 24 hours create one task",
        IdempotencyKey,
    ),
    "If-None-Match": ("ETags of what the client has already", str),
}
IN_PATHS: dict[str, Any] = {
    "username": Username,
    "post_id": Number,
    "task_id": responses.TaskId,
    "import_id": responses.TaskId,
    "schedule_id": responses.TaskId,
    "webhook_id": responses.TaskId,
    "number": Number,
}
"""The types of path parameters; any other value is a 404, like all that does not exist."""

PROBLEM_HEADERS: dict[type[RequestError], str] = {
    errors.Unauthenticated: "WWW-Authenticate",
    errors.TaskInProgress: "Location",
    errors.TooMany: "Retry-After",
    errors.Unavailable: "Retry-After",
}
"""The header that each kind of problem carries."""

VALUES: dict[Any, tuple[str, str]] = {
    responses.Task: ("task_id", "/id"),
    responses.Post: ("post_id", "/id"),
    responses.User: ("username", "/username"),
    imports.Import: ("import_id", "/id"),
    Schedule: ("schedule_id", "/id"),
    ShownWebhook: ("webhook_id", "/id"),
}
"""The path parameter for which a response has a value, and the value's pointer in the body."""


def document(endpoints: Iterable[Endpoint], *, prefix: str) -> Json:
    """Make the document.

    Args:
        endpoints: Every declared route.
        prefix: The API's path prefix, for `servers`.
    """
    endpoints = list(endpoints)
    paths: Json = {}
    for one in endpoints:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, endpoints)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Carryout",
            "version": "1",
            "summary": "Background jobs: request a task, follow its progress, fetch the result.",
            "description": (
                "Each GET route also answers HEAD, and each path the preflights (OPTIONS) of"
                " allowed origins."
            ),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": prefix or "/"}],
        "paths": paths,
        "components": {
            "schemas": _schemas(endpoints),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
            },
        },
    }


def _schemas(endpoints: list[Endpoint]) -> Json:
    requests = {one.body.__name__: one.body for one in endpoints if one.body is not None}
    returned = [kind for one in endpoints for kind in (one.returns, *one.also.values()) if kind]
    params = {kind.model.__name__: kind.model for kind in TASKS.values()}
    kinds = [
        *requests.values(),
        *params.values(),
        *returned,
        responses.ExportResult,
        imports.ImportResult,
        responses.Fault,
    ]
    _, schemas = msgspec.json.schema_components(kinds, ref_template=COMPONENT)
    for name in (*requests, *params):
        schemas[name]["additionalProperties"] = False
    schemas["NewExport"] |= _how_fields_go_together(schemas["NewExport"])
    later = {"not_before": schemas["NewTask"]["properties"]["not_before"]}
    schemas["NewTask"] = {
        "title": "NewTask",
        "oneOf": [_task_choice(name, **later) for name in TASKS],
    }
    for name in ("NewSchedule", "ScheduleChange"):
        examples = {"examples": schemas[name]["properties"]["task"]["examples"]}
        choices = {"oneOf": [_task_choice(name) for name in repeatable_kinds()]}
        schemas[name]["properties"]["task"] = choices | examples
    known = [{"$ref": COMPONENT.format(name=name)} for name in ("ExportResult", "ImportResult")]
    other = {
        "type": "object",
        "not": {"anyOf": [{"required": ["sha256"]}, {"required": ["imported"]}]},
    }
    schemas["Task"]["properties"]["result"] = {"anyOf": [*known, other, {"type": "null"}]}
    return {**schemas, "Problem": _problem_schema()}


def _how_fields_go_together(new_export: Json) -> Json:
    """What the type of a request for an export cannot say: names, and what needs an archive."""
    names = [
        one.name for kind in export_kinds() if isinstance(kind, Archive) for one in kind.datasets
    ]
    new_export["properties"]["datasets"]["items"] = {"type": "string", "enum": names}
    archive = {"properties": {"archive": {"const": True}}, "required": ["archive"]}
    nothing = {"properties": {"archive": {"const": False}}, "additionalProperties": False}
    return {"anyOf": [archive, nothing]}


def _task_choice(name: str, **more: Json) -> Json:
    params = TASKS[name].model
    needed = [field.name for field in msgspec.structs.fields(params) if field.required]
    return {
        "type": "object",
        "properties": {
            "name": {"const": name},
            "params": {"$ref": COMPONENT.format(name=params.__name__)},
            **more,
        },
        "required": ["name", *(["params"] if needed else [])],
        "additionalProperties": False,
    }


def _problem_schema() -> Json:
    text = {"type": "string"}
    return {
        "type": "object",
        "description": "A problem (RFC 9457); `code` is stable.",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": {"type": "string", "format": "uri"},
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "code": text,
            "errors": {"type": "array", "items": {"$ref": COMPONENT.format(name="Fault")}},
        },
    }


def _operation(one: Endpoint, endpoints: list[Endpoint]) -> Json:
    operation: Json = {
        "operationId": one.name,
        "summary": one.summary,
        "parameters": list(_parameters(one)),
        "responses": _responses(one, endpoints),
        "security": [] if one.who == "anybody" else [{"bearer": []}, {"session": []}],
    }
    if one.body is not None:
        schema = {"$ref": COMPONENT.format(name=one.body.__name__)}
        required = any(field.required for field in msgspec.structs.fields(one.body))
        content = {"schema": schema, **_example(one.body)}
        operation["requestBody"] = {
            "required": required,
            "content": {"application/json": content},
        }
    return operation


def _example(body: type[msgspec.Struct]) -> Json:
    """A body made of its fields' examples."""
    if body is Nothing:
        return {"example": {}}
    if body.__name__ == "NewTask":
        return {"example": {"name": "example", "params": {"seconds": 1}}}
    _, schemas = msgspec.json.schema_components([body])
    fields = schemas[body.__name__]["properties"]
    return {
        "example": {name: one["examples"][0] for name, one in fields.items() if "examples" in one}
    }


def _parameters(one: Endpoint) -> Iterator[Json]:
    for name in re.findall(r"{(\w+)}", one.path):
        schema = msgspec.json.schema(IN_PATHS[name])
        yield {"name": name, "in": "path", "required": True, "schema": schema}
    for field in msgspec.structs.fields(one.query):
        schema = msgspec.json.schema(field.type)
        yield {"name": field.name, "in": "query", "required": False, "schema": schema}
    for name in one.reads:
        description, kind = REQUEST_HEADERS[name]
        schema = msgspec.json.schema(kind)
        yield {"name": name, "in": "header", "description": description, "schema": schema}


def _responses(one: Endpoint, endpoints: list[Endpoint]) -> Json:
    shown = {one.status: one.returns, **one.also}
    responses = {
        str(status): {
            "description": one.summary,
            "headers": dict(_headers(one.headers, EVERY_RESPONSE)),
            **_content(kind, one.media_type),
            **_links(kind, endpoints),
        }
        for status, kind in shown.items()
    }
    by_status: dict[int, list[type[errors.CarryoutError]]] = {}
    for kind in _problems(one):
        by_status.setdefault(problems.status_of(kind), []).append(kind)
    for status, kinds in by_status.items():
        responses.setdefault(str(status), _problem_response(status, kinds))
    return dict(sorted(responses.items()))


def _content(kind: Any, media_type: str) -> Json:
    if kind is None:
        return {}
    schema = msgspec.json.schema_components([kind], ref_template=COMPONENT)[0][0]
    return {"content": {media_type: {"schema": schema}}}


def _headers(*names: Iterable[str]) -> Iterator[tuple[str, Json]]:
    for name in chain(*names):
        description, schema = HEADERS[name.strip("[]")]
        required = not name.startswith("[")
        yield name.strip("[]"), {"description": description, "required": required, "schema": schema}


def _links(kind: Any, endpoints: list[Endpoint]) -> Json:
    """Every operation that a client can call next with a value of the response."""
    if kind not in VALUES:
        return {}
    parameter, pointer = VALUES[kind]
    found = {
        other.name: {
            "operationId": other.name,
            "parameters": {parameter: f"$response.body#{pointer}"},
        }
        for other in endpoints
        if f"{{{parameter}}}" in other.path
    }
    return {"links": found}


def _problems(one: Endpoint) -> Iterator[type[errors.CarryoutError]]:
    """Everything that may go wrong with a route: its own problems, and those of its kind."""
    yield from one.problems
    if one.who != "anybody":
        yield errors.Unauthenticated
    if one.who == "administrator":
        yield errors.Forbidden
    if "{" in one.path:
        yield errors.NotFound
    if one.body is not None:
        yield from (errors.UnsupportedMediaType, errors.BodyTooLarge, errors.MalformedJson)
    if one.body is not None or one.reads or one.query is not Nothing:
        yield errors.Invalid
    if one.path.startswith("/v1/"):
        yield from (errors.TooMany, errors.Unavailable)
    yield errors.CarryoutError


def _problem_response(status: int, kinds: list[type[errors.CarryoutError]]) -> Json:
    codes = list(dict.fromkeys(kind.code for kind in kinds))
    one_of_these = {
        "properties": {"status": {"const": status}, "code": {"enum": codes}},
    }
    names = {
        name: all(_header_of(kind) == name for kind in kinds)
        for kind in kinds
        if (name := _header_of(kind))
    }
    given = [name if always else f"[{name}]" for name, always in names.items()]
    headers = dict(_headers(given, EVERY_RESPONSE))
    examples = {kind.code: {"value": problems.describe(kind)} for kind in kinds}
    schema = {"allOf": [{"$ref": COMPONENT.format(name="Problem")}, one_of_these]}
    return {
        "description": " ".join(dict.fromkeys(_sentence(kind) for kind in kinds)),
        "headers": headers,
        "content": {problems.MEDIA_TYPE: {"schema": schema, "examples": examples}},
    }


def _header_of(kind: type[errors.CarryoutError]) -> str | None:
    return next((name for base, name in PROBLEM_HEADERS.items() if issubclass(kind, base)), None)


def _sentence(kind: type[errors.CarryoutError]) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]
