"""The OpenAPI 3.1 document, made from the routes and the types of requests and responses."""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import msgspec

from chalicelib import errors
from chalicelib.errors import RequestError
from chalicelib.schemas import components, imports, responses
from chalicelib.schemas.components import reference
from chalicelib.schemas.docstrings import docstring
from chalicelib.schemas.examples import EXAMPLES, MORE_EXAMPLES
from chalicelib.schemas.requests import Nothing, Number
from chalicelib.schemas.schedules import Schedule
from chalicelib.schemas.webhooks import ShownWebhook
from chalicelib.values.fields import IdempotencyKey, Username
from chalicelib.values.languages import N_
from chalicelib.web import problems
from chalicelib.web.api import Endpoint
from chalicelib.web.request import COOKIE

Json = dict[str, Any]

DESCRIPTION = (
    "Errors are `application/problem+json` (RFC 9457) with a stable `code`. Times are UTC. Lists"
    " have at most `limit` items a page, fewer where they are long; follow `next`, or the `Link`"
    " header. Each GET route also answers HEAD, and each path the preflights (OPTIONS) of allowed"
    " origins; any other method is a 405, whose `Allow` lists the path's methods. Links in"
    " responses are paths on this server."
)

TAGS: dict[str, tuple[str, tuple[str, ...]]] = {
    N_("Posts"): ("What users write.", ("/v1/posts", "/v1/users/{username}/posts")),
    N_("Accounts"): (
        "Sign-up, sign-in, and everything about your own account.",
        ("/v1/users", "/v1/tokens", "/v1/me", "/v1/confirmations", "/v1/password"),
    ),
    N_("Tasks"): ("Background jobs, whatever they do.", ("/v1/tasks",)),
    N_("Exports"): ("Your data as files.", ("/v1/exports", "/v1/datasets")),
    N_("Imports"): ("Posts from a file.", ("/v1/imports",)),
    N_("Schedules"): ("Tasks that are launched again and again.", ("/v1/schedules",)),
    N_("Webhooks"): (
        "Requests to a server of yours when tasks end, by Standard Webhooks.",
        ("/v1/webhooks",),
    ),
    N_("Notifications"): ("What is new about your tasks.", ("/v1/notifications",)),
    N_("Operations"): ("For administrators and load balancers.", ("/",)),
}
"""What each group of routes is about, and how their paths begin; the first that fits counts."""

WHO = {
    "anybody": "No token is needed.",
    "user": "A token is needed, or the session of a page; it is all about that user.",
    "administrator": "A token is needed, or the session of a page: an administrator's.",
}
"""What a route asks of whoever calls it."""

LAUNCHES = (
    " A user has one task of a kind in progress. With an `Idempotency-Key` the request can be sent"
    " again: it makes no second task."
)
"""What is so of every route that creates a task."""

HEADERS: dict[str, tuple[str, Json]] = {
    "Location": ("Where to continue.", {"type": "string", "format": "uri-reference"}),
    "ETag": (
        "Identifies this state of the task: all of it but `queue_position` and `last_seen_at`.",
        {"type": "string", "pattern": '^"[0-9a-f]{32}"$'},
    ),
    "Retry-After": (
        "In how many seconds to ask again; not there once the task has ended.",
        {"type": "integer", "minimum": 1},
    ),
    "Link": ('The next page, `rel="next"`; not there on the last one.', {"type": "string"}),
    "Content-Disposition": ("The file's name.", {"type": "string"}),
    "X-Request-Id": ("The request's id, which the logs have, too.", {"type": "string"}),
    "WWW-Authenticate": (
        "The authentication scheme (RFC 9110).",
        {"type": "string", "enum": ["Bearer"]},
    ),
}
EVERY_RESPONSE = ("X-Request-Id",)
"""The headers that no response lacks."""

HEADERS_OF_STATUS: dict[tuple[str, int], str] = {
    ("Location", 201): "Where that which was created is.",
    ("Location", 202): "Where the task is: follow it there.",
    ("Location", 303): "Where the file is: a URL that is valid for one minute.",
    ("Location", 409): "Where the task is that is already in progress.",
    ("Retry-After", 429): "In how many seconds a request is allowed again.",
    ("Retry-After", 503): "In how many seconds to try again.",
}
"""What a header says beside a certain status."""

STATUSES: dict[int, str] = {
    200: "Success.",
    201: "Created.",
    202: "Accepted.",
    204: "Done; the response has no body.",
    303: "See `Location`; the response has no body.",
    304: "Nothing has changed since the state in `If-None-Match`; the response has no body.",
    503: "Something that the API depends on is unavailable.",
}
"""What the statuses of responses mean that are no problems."""

REQUEST_HEADERS: dict[str, tuple[str, Any]] = {
    "Idempotency-Key": (
        "The same key and body within 24 hours are one task; with another body it is refused.",
        IdempotencyKey,
    ),
    "If-None-Match": ("The `ETag` that the client has already; several with commas, or `*`.", str),
}
IN_PATHS: dict[str, tuple[str, Any]] = {
    "username": ("The user's name, whatever the case.", Username),
    "post_id": ("The post's `id`.", Number),
    "task_id": ("The task's `id`.", responses.TaskId),
    "import_id": ("The import's `id`.", responses.TaskId),
    "schedule_id": ("The schedule's `id`.", responses.TaskId),
    "webhook_id": ("The webhook's `id`.", responses.TaskId),
    "number": ("The delivery's `n`.", Number),
}
"""The types of path parameters; any other value is a 404, like all that does not exist."""

PROBLEM_HEADERS: dict[type[RequestError], str] = {
    errors.Unauthenticated: "WWW-Authenticate",
    errors.TaskInProgress: "Location",
    errors.TooMany: "Retry-After",
    errors.Unavailable: "Retry-After",
}
"""The header that each kind of problem carries."""

Concerns = Callable[[Endpoint], bool]

COMMON: tuple[tuple[str, Concerns, tuple[type[errors.CarryoutError], ...]], ...] = (
    ("Every route that needs a token", lambda one: one.who != "anybody", (errors.Unauthenticated,)),
    ("Those for administrators", lambda one: one.who == "administrator", (errors.Forbidden,)),
    ("Those with a parameter in the path", lambda one: "{" in one.path, (errors.NotFound,)),
    (
        "Those with a body",
        lambda one: one.body is not None,
        (errors.UnsupportedMediaType, errors.BodyTooLarge, errors.MalformedJson),
    ),
    (
        "Those with a body or other parameters",
        lambda one: one.body is not None or bool(one.reads) or one.query is not Nothing,
        (errors.Invalid,),
    ),
    (
        "Those under `/v1/`",
        lambda one: one.path.startswith("/v1/"),
        (errors.TooMany, errors.Unavailable),
    ),
    ("All", lambda _: True, (errors.CarryoutError,)),
)
"""What many routes have in common: which ones they are, and what may go wrong with them."""

VALUES: dict[Any, tuple[str, str]] = {
    responses.Task: ("task_id", "/id"),
    responses.Post: ("post_id", "/id"),
    responses.User: ("username", "/username"),
    imports.Import: ("import_id", "/id"),
    Schedule: ("schedule_id", "/id"),
    ShownWebhook: ("webhook_id", "/id"),
}
"""The path parameter for which a response has a value, and the value's pointer in the body."""


def document(endpoints: Iterable[Endpoint], *, prefix: str, cookie: str = COOKIE) -> Json:
    """Make the document.

    Args:
        endpoints: Every declared route.
        prefix: The API's path prefix, for `servers`.
        cookie: What the session's cookie is called.
    """
    endpoints = list(endpoints)
    returned = [kind for one in endpoints for kind in (one.returns, *one.also.values()) if kind]
    paths: Json = {}
    for one in endpoints:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, endpoints)
    bodies = [one.body for one in endpoints if one.body is not None]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Carryout",
            "version": "1",
            "summary": "Background jobs: request a task, follow its progress, fetch the result.",
            "description": DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": prefix or "/"}],
        "tags": [{"name": name, "description": text} for name, (text, _) in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": components.schemas(bodies, returned),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token from `POST /v1/tokens`.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": cookie,
                    "description": "The cookie of somebody who signed in on the pages.",
                },
            },
        },
    }


def examples_of(name: str) -> list[Any]:
    """What a response looks like from time to time, if it looks different."""
    return [
        one
        for kind, many in MORE_EXAMPLES.items()
        if kind.__name__ == name
        for one in many.values()
    ]


def tag_of(path: str) -> str:
    """The group that a route belongs to."""
    return next(name for name, (_, starts) in TAGS.items() if path.startswith(starts))


def _operation(one: Endpoint, endpoints: list[Endpoint]) -> Json:
    operation: Json = {
        "operationId": one.name,
        "summary": one.summary,
        "description": WHO[one.who] + LAUNCHES * ("Idempotency-Key" in one.reads),
        "tags": [tag_of(one.path)],
        "parameters": list(_parameters(one)),
        "responses": _responses(one, endpoints),
        "security": [] if one.who == "anybody" else [{"bearer": []}, {"session": []}],
    }
    if one.body is not None:
        required = any(field.required for field in msgspec.structs.fields(one.body))
        content = {"schema": reference(one.body), **_example(one.body)}
        operation["requestBody"] = {
            "description": docstring(one.body).text,
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
        described, kind = IN_PATHS[name]
        schema = msgspec.json.schema(kind)
        yield _parameter("path", name, described, schema) | {"required": True}
    said = docstring(one.query).attributes
    for field in msgspec.structs.fields(one.query):
        schema = msgspec.json.schema(field.type)
        if field.default is not msgspec.UNSET:
            schema["default"] = field.default
        yield _parameter("query", field.name, said[field.name], schema) | {"required": False}
    for name in one.reads:
        described, kind = REQUEST_HEADERS[name]
        yield _parameter("header", name, described, msgspec.json.schema(kind))


def _parameter(where: str, name: str, described: str, schema: Json) -> Json:
    return {"name": name, "in": where, "description": described, "schema": schema}


def _responses(one: Endpoint, endpoints: list[Endpoint]) -> Json:
    shown = {one.status: one.returns, **one.also}
    responses = {
        str(status): {
            "description": _description(status, kind),
            "headers": dict(_headers(status, one.headers, EVERY_RESPONSE)),
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


def _description(status: int, kind: Any) -> str:
    said = docstring(kind).text.partition("\n\n")[0] if kind in EXAMPLES else ""
    return f"{STATUSES[status]} {said}".strip()


def _content(kind: Any, media_type: str) -> Json:
    if kind is None:
        return {}
    # One that has a name is a component: to make its schema here, too, takes long.
    is_component = isinstance(kind, type) and kind is not str
    schema = reference(kind) if is_component else msgspec.json.schema(kind)
    return {"content": {media_type: {"schema": schema, **_shown(kind)}}}


def _shown(kind: Any) -> Json:
    """What a response looks like; `/openapi.json` is its own example."""
    if kind in MORE_EXAMPLES:
        more = MORE_EXAMPLES[kind]
        return {"examples": {name: {"value": value} for name, value in more.items()}}
    return {"example": EXAMPLES[kind]} if kind in EXAMPLES else {}


def _headers(status: int, *names: Iterable[str]) -> Iterator[tuple[str, Json]]:
    for name in chain(*names):
        plain = name.strip("[]")
        description, schema = HEADERS[plain]
        description = HEADERS_OF_STATUS.get((plain, status), description)
        required = not name.startswith("[")
        yield plain, {"description": description, "required": required, "schema": schema}


def _links(kind: Any, endpoints: list[Endpoint]) -> Json:
    """Every operation that a client can call next with a value of the response."""
    if kind not in VALUES:
        return {}
    parameter, pointer = VALUES[kind]
    found = {
        other.name: {
            "operationId": other.name,
            "description": other.summary,
            "parameters": {parameter: f"$response.body#{pointer}"},
        }
        for other in endpoints
        if f"{{{parameter}}}" in other.path
    }
    return {"links": found}


def _problems(one: Endpoint) -> Iterator[type[errors.CarryoutError]]:
    """Everything that may go wrong with a route: its own problems, and those of its kind."""
    yield from one.problems
    for _, concerns, kinds in COMMON:
        if concerns(one):
            yield from kinds


def _problem_response(status: int, kinds: list[type[errors.CarryoutError]]) -> Json:
    codes = list(dict.fromkeys(kind.code for kind in kinds))
    one_of_these = {
        "properties": {
            "status": {"enum": [status], "description": "The HTTP status."},
            "code": {"enum": codes, "description": "What is wrong, for programs."},
        },
    }
    names = {
        name: all(header_of(kind) == name for kind in kinds)
        for kind in kinds
        if (name := header_of(kind))
    }
    given = [name if always else f"[{name}]" for name, always in names.items()]
    headers = dict(_headers(status, given, EVERY_RESPONSE))
    examples = {kind.code: {"value": problems.describe(kind)} for kind in kinds}
    schema = {"allOf": [reference("Problem"), one_of_these]}
    return {
        "description": " ".join(dict.fromkeys(_sentence(kind) for kind in kinds)),
        "headers": headers,
        "content": {problems.MEDIA_TYPE: {"schema": schema, "examples": examples}},
    }


def header_of(kind: type[errors.CarryoutError]) -> str | None:
    """The header that a problem's response has, beside those of every response."""
    return next((name for base, name in PROBLEM_HEADERS.items() if issubclass(kind, base)), None)


def _sentence(kind: type[errors.CarryoutError]) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]
