"""The API for people: the OpenAPI document as a page, with guides, codes and limits."""

import json
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from chalice.app import Response

from chalicelib import errors
from chalicelib.accounts import rate_limits
from chalicelib.values.languages import language_for
from chalicelib.web import openapi, problems
from chalicelib.web.api import Endpoint
from chalicelib.web.pages.page_rendering import is_live, render
from chalicelib.web.request import Call

Json = dict[str, Any]

FAILURES = (
    "timeout", "worker_lost", "storage_unavailable", "database_unavailable",
    "service_unavailable", "task_failed", "internal_error",
)  # fmt: skip
"""The codes of `error` that any task may fail with."""

RATES = {
    "requests with one token": rate_limits.REQUESTS_PER_TOKEN,
    "requests from one address": rate_limits.REQUESTS_PER_ADDRESS,
    "exports of one user": rate_limits.EXPORTS_PER_USER,
    "imports of one user": rate_limits.IMPORTS_PER_USER,
    "emails that one user requests": rate_limits.EMAILS_PER_USER,
}


@dataclass(frozen=True)
class Field:
    """A field, a parameter or a header, as the page shows it.

    Attributes:
        name: What it is called.
        kind: Its type and bounds, in words.
        schema: The schema that it refers to, if it does.
        description: What it means.
        required: Whether it must be there.
        place: `path`, `query` or `header` of a parameter.
    """

    name: str
    kind: str
    schema: str
    description: str
    required: bool = False
    place: str = ""


@dataclass(frozen=True)
class Schema:
    """An object that goes in or out.

    Attributes:
        fields: What it has; of one that has several forms, the forms.
        examples: What it looks like, as JSON.
    """

    name: str
    description: str
    fields: list[Field]
    examples: list[str]


@dataclass(frozen=True)
class Answer:
    """One status that an operation responds with when nothing is wrong."""

    status: str
    description: str
    schema: str
    headers: list[Field]


@dataclass(frozen=True)
class Code:
    """A problem, by its code.

    Attributes:
        header: The header that its response has, if it has one.
    """

    status: int
    code: str
    detail: str
    header: str


@dataclass(frozen=True)
class Operation:
    """A route, as the page shows it.

    Attributes:
        body: What it takes.
        has_fields: Whether the body's fields are shown here: an earlier route may have them.
        codes: What may go wrong with it alone, each with its status.
    """

    id: str
    method: str
    path: str
    summary: str
    who: str
    parameters: list[Field]
    body: Schema | None
    has_fields: bool
    answers: list[Answer]
    codes: list[tuple[int, str]]
    samples: dict[str, str]


def reference(call: Call, endpoints: Iterable[Endpoint]) -> Response:
    """The reference: guides, each route with all that goes in and out, schemas, codes, limits."""
    if is_live(call):  # nothing but the tasks above it changes, and to make it takes long
        return render(call, "layout.html")
    endpoints = list(endpoints)
    document = openapi.document(endpoints, prefix=call.prefix)
    schemas = document["components"]["schemas"]
    groups: dict[str, list[Operation]] = {tag["name"]: [] for tag in document["tags"]}
    bodies: set[str] = set()
    for one in endpoints:
        shown = document["paths"][one.path][one.method.lower()]
        groups[openapi.tag_of(one.path)].append(_operation(one, shown, schemas, bodies))
    return render(
        call,
        "docs.html",
        groups=[(tag, groups[tag["name"]]) for tag in document["tags"]],
        schemas=[_schema(name, schemas[name]) for name in schemas if name not in bodies],
        common=[(who, [kind.code for kind in kinds]) for who, _, kinds in openapi.COMMON],
        codes=sorted(_codes(), key=lambda one: (one.status, one.code)),
        english=language_for("en"),
        failures=[(code, language_for("en").reason(code)) for code in FAILURES],
        rates=RATES,
        import_max_bytes=call.wiring.settings.import_max_bytes,
    )


def _operation(one: Endpoint, shown: Json, schemas: Json, bodies: set[str]) -> Operation:
    """Make the operation; what it takes is added to the bodies that were shown."""
    content = shown.get("requestBody", {}).get("content", {}).get("application/json")
    body = _body(content, schemas) if content else None
    has_fields = body is not None and body.name not in bodies
    bodies |= {body.name} if body else set()
    parameters = [
        Field(
            name=given["name"],
            kind=_kind(given["schema"]),
            schema="",
            description=given["description"],
            place=given["in"],
        )
        for given in shown["parameters"]
    ]
    return Operation(
        id=one.name,
        method=one.method,
        path=one.path,
        summary=one.summary,
        who={"user": "", "administrator": "administrators only"}.get(one.who, "no token needed"),
        parameters=parameters,
        body=body,
        has_fields=has_fields,
        answers=list(_answers(shown["responses"])),
        codes=_own_codes(one),
        samples=_samples(one, content["example"] if content else None),
    )


def _body(content: Json, schemas: Json) -> Schema:
    name = _reference(content["schema"])
    return replace(_schema(name, schemas[name]), examples=[_json(content["example"])])


def _schema(name: str, schema: Json) -> Schema:
    shown = openapi.examples_of(name) or schema.get("examples", [])
    return Schema(name, schema["description"], _fields(schema), [_json(one) for one in shown])


def _answers(responses: Json) -> Iterator[Answer]:
    """What is no problem; those are told by their codes."""
    for status, shown in responses.items():
        nothing: tuple[str, Json] = ("", {})
        media, content = next(iter(shown.get("content", {}).items()), nothing)
        if media == problems.MEDIA_TYPE:
            continue
        headers = [
            Field(name, "", "", header["description"], required=header["required"])
            for name, header in shown.get("headers", {}).items()
            if name not in openapi.EVERY_RESPONSE
        ]
        yield Answer(status, shown["description"], _reference(content.get("schema", {})), headers)


def _own_codes(one: Endpoint) -> list[tuple[int, str]]:
    """What may go wrong with a route and not with all routes of its kind."""
    common = {kind.code for _, _, kinds in openapi.COMMON for kind in kinds}
    own = {(problems.status_of(kind), kind.code) for kind in one.problems}
    return sorted((status, code) for status, code in own if code not in common)


def _fields(schema: Json) -> list[Field]:
    """The fields of an object; of one that has several forms, the forms."""
    if "oneOf" in schema:
        return [
            Field(one["title"], "", _reference(one["properties"]["params"]), one["description"])
            for one in schema["oneOf"]
        ]
    return [
        Field(
            name=name,
            kind=_kind(one),
            schema=_reference(one),
            description=one["description"],
            required=name in schema.get("required", ()),
        )
        for name, one in schema.get("properties", {}).items()
    ]


def _reference(schema: Json) -> str:
    """The name of the schema that another one refers to, directly, in a list or beside null."""
    inner = [schema, schema.get("items", {}), *schema.get("anyOf", ())]
    return next((one["$ref"].rpartition("/")[2] for one in inner if "$ref" in one), "")


def _kind(schema: Json) -> str:
    """A schema in words: `string, 1 to 64 characters`."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(one) for one in schema["anyOf"]))
    if "oneOf" in schema:
        return " or ".join(one["title"] for one in schema["oneOf"])
    if "$ref" in schema:
        return _reference(schema)
    if "enum" in schema:
        return " | ".join(json.dumps(one) for one in schema["enum"])
    if "items" in schema:
        return f"list of {_kind(schema['items'])}"
    return ", ".join(_words(schema))


def _words(schema: Json) -> Iterator[str]:
    formats = {"date-time": "time", "uuid": "UUID"}
    yield formats.get(schema.get("format", "")) or str(schema.get("type", "anything"))
    for low, high, unit in (("minLength", "maxLength", " characters"), ("minimum", "maximum", "")):
        if low in schema and high in schema:
            yield f"{schema[low]:,} to {schema[high]:,}{unit}"
        elif low in schema:
            yield f"at least {schema[low]:,}{unit}"
        elif high in schema:
            yield f"at most {schema[high]:,}{unit}"
    if schema.get("default") is not None:
        yield f"default {json.dumps(schema['default'])}"


def _samples(one: Endpoint, body: Json | None) -> dict[str, str]:
    """The same request by curl, in Python and in JavaScript, after what the guides begin with."""
    path, method = one.path.replace("{", "${"), one.method.lower()
    curl = [f'curl -X {one.method} "$URL{path}"']
    if one.who != "anybody":
        curl.append('-H "Authorization: Bearer $TOKEN"')
    python, javascript = [f'f"{{url}}{one.path}"'], [f'"{one.method}"', f"`{path}`"]
    if body is not None:
        compact = _json(body, None)
        curl += ['-H "Content-Type: application/json"', f"-d {shlex.quote(compact)}"]
        python.append(f"json={body!r}")
        javascript.append(compact)
    return {
        "curl": " \\\n  ".join(curl),
        "Python": f"response = session.{method}({', '.join(python)})",
        "JavaScript": f"const response = await send({', '.join(javascript)});",
    }


def _json(value: object, indent: int | None = 2) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _codes() -> Iterator[Code]:
    """Every problem that a request can end with."""
    waiting: list[type[errors.CarryoutError]] = [errors.RequestError, errors.CarryoutError]
    seen = set(waiting)
    while waiting:
        kind = waiting.pop()
        shown = problems.describe(kind)
        if kind is not errors.RequestError:
            status = problems.status_of(kind)
            header = openapi.header_of(kind) or ""
            yield Code(status, str(shown["code"]), str(shown["detail"]), header)
        if kind is not errors.CarryoutError:
            more = set(kind.__subclasses__()) - seen
            seen |= more
            waiting += more
