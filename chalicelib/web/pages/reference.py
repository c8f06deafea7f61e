"""The API for people: the OpenAPI document as a page, with guides, codes and limits."""

import json
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from chalice.app import Response

from chalicelib import errors
from chalicelib.accounts import rate_limits
from chalicelib.values.languages import language_for
from chalicelib.web import openapi, problems
from chalicelib.web.api import Endpoint
from chalicelib.web.pages.page_rendering import render
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
        example: A value to try.
    """

    name: str
    kind: str
    schema: str
    description: str
    required: bool = False
    place: str = ""
    example: str = ""


@dataclass(frozen=True)
class Answer:
    """One status that an operation may respond with.

    Attributes:
        codes: The problems' codes, if the response is a problem.
        example: Its body, as JSON.
    """

    status: str
    description: str
    schema: str
    headers: list[Field]
    codes: list[str]
    example: str


@dataclass(frozen=True)
class Operation:
    """A route, as the page shows it."""

    id: str
    method: str
    path: str
    summary: str
    who: str
    parameters: list[Field]
    body: list[Field] | None
    example: str
    answers: list[Answer]
    samples: dict[str, str]


def reference(call: Call, endpoints: Iterable[Endpoint]) -> Response:
    """The reference: guides, each route with all that goes in and out, schemas, codes, limits."""
    endpoints = list(endpoints)
    document = openapi.document(endpoints, prefix=call.prefix)
    schemas = document["components"]["schemas"]
    operations = {
        one.name: _operation(one, document["paths"][one.path][one.method.lower()], schemas)
        for one in endpoints
    }
    groups: dict[str, list[Operation]] = {tag["name"]: [] for tag in document["tags"]}
    for one in endpoints:
        groups[openapi.tag_of(one.path)].append(operations[one.name])
    return render(
        call,
        "docs.html",
        groups=[(tag, groups[tag["name"]]) for tag in document["tags"]],
        schemas=[(name, schemas[name]["description"], _fields(schemas[name])) for name in schemas],
        codes=sorted(_codes()),
        failures=[(code, language_for("en").reason(code)) for code in FAILURES],
        rates=RATES,
        import_max_bytes=call.wiring.settings.import_max_bytes,
    )


def _operation(one: Endpoint, shown: Json, schemas: Json) -> Operation:
    content = shown.get("requestBody", {}).get("content", {}).get("application/json")
    example = content and json.dumps(content["example"], ensure_ascii=False, indent=2)
    parameters = [
        Field(
            name=given["name"],
            kind=_kind(given["schema"]),
            schema="",
            description=given["description"],
            required=given.get("required", False),
            place=given["in"],
            example=str(given["schema"].get("examples", [""])[0]),
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
        body=_fields(schemas[_reference(content["schema"])]) if content else None,
        example=example or "",
        answers=[_answer(status, answer) for status, answer in shown["responses"].items()],
        samples=_samples(one, content["example"] if content else None),
    )


def _answer(status: str, shown: Json) -> Answer:
    nothing: tuple[str, Json] = ("", {})
    media, content = next(iter(shown.get("content", {}).items()), nothing)
    is_problem = media == problems.MEDIA_TYPE
    named = {name: one["value"] for name, one in content.get("examples", {}).items()}
    codes = list(named) if is_problem else []
    # A task that was just accepted is queued; one that is looked at is best when it has succeeded.
    ended = named.get("succeeded") if status == "200" else named.get("queued")
    value = content.get("example", ended)
    example = "" if is_problem or value is None else _json(value)
    headers = [
        Field(name, "", "", header["description"], required=header["required"])
        for name, header in shown.get("headers", {}).items()
        if name not in openapi.EVERY_RESPONSE
    ]
    schema = "Problem" if is_problem else _reference(content.get("schema", {}))
    return Answer(status, shown["description"], schema, headers, codes, example)


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
    """The same request by curl, in Python and in JavaScript."""
    path, needs_token = one.path.replace("{", "${"), one.who != "anybody"
    curl = [f'curl -X {one.method} "$URL{path}"']
    arguments = ["headers=headers"] if needs_token else []
    headers = ["Authorization: `Bearer ${token}`"] if needs_token else []
    if needs_token:
        curl.append('-H "Authorization: Bearer $TOKEN"')
    options = [f'method: "{one.method}"']
    if body is not None:
        curl += ['-H "Content-Type: application/json"', f"-d {shlex.quote(_json(body, None))}"]
        arguments.append(f"json={body!r}")
        headers.append('"Content-Type": "application/json"')
        options.append(f"body: JSON.stringify({_json(body, None)})")
    if headers:
        options.insert(1, f"headers: {{ {', '.join(headers)} }}")
    given = ", ".join([f'f"{{url}}{one.path}"', *arguments])
    python = f"response = requests.{one.method.lower()}({given})"
    options_text = ",\n  ".join(options)
    javascript = f"const response = await fetch(`${{url}}{path}`, {{\n  {options_text},\n}});"
    return {"curl": " \\\n  ".join(curl), "Python": python, "JavaScript": javascript}


def _json(value: object, indent: int | None = 2) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _codes() -> Iterator[tuple[int, str, str]]:
    """Every problem that a request can end with: status, code, sentence."""
    waiting: list[type[errors.CarryoutError]] = [errors.RequestError, errors.CarryoutError]
    seen = set(waiting)
    while waiting:
        kind = waiting.pop()
        shown = problems.describe(kind)
        if kind is not errors.RequestError:
            yield problems.status_of(kind), str(shown["code"]), str(shown["detail"])
        if kind is not errors.CarryoutError:
            more = set(kind.__subclasses__()) - seen
            seen |= more
            waiting += more
