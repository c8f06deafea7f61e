"""The schemas of the OpenAPI document, made from the types of requests and responses."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import msgspec
from msgspec import Struct

from chalicelib.errors import Fault
from chalicelib.exports.archive import Archive
from chalicelib.exports.kinds import export_kinds
from chalicelib.schemas import (
    administration,
    exports,
    imports,
    requests,
    responses,
    schedules,
    webhooks,
)
from chalicelib.schemas.docstrings import Docstring, docstring
from chalicelib.schemas.examples import EXAMPLES
from chalicelib.tasks.registry import TASKS, repeatable_kinds

Json = dict[str, Any]

COMPONENT = "#/components/schemas/{name}"

_MODULES = (administration, exports, imports, requests, responses, schedules, webhooks)
_KINDS: dict[str, type] = {"Fault": Fault} | {
    name: value
    for module in _MODULES
    for name, value in vars(module).items()
    if isinstance(value, type) and value.__module__ == module.__name__
}
"""Every type of a request or a response, by its name in the document."""

PROBLEM = {
    "type": "A URN of the problem's kind; it ends with `code`.",
    "title": "What the status is called.",
    "status": "The HTTP status.",
    "detail": "What is wrong, as a sentence for people.",
    "code": "What is wrong, for programs; it never changes.",
    "errors": "Everything that is wrong with the request, if that is what is wrong.",
}


def reference(kind: type | str) -> Json:
    """A reference to the schema of a type."""
    return {"$ref": COMPONENT.format(name=kind if isinstance(kind, str) else kind.__name__)}


def schemas(bodies: Iterable[type[Struct]], returned: Iterable[Any]) -> Json:
    """Every schema that the document refers to.

    Args:
        bodies: The types of requests.
        returned: The types of responses.
    """
    params = [kind.model for kind in TASKS.values()]
    closed = [*dict.fromkeys(bodies), *params]
    results = (responses.ExportResult, imports.ImportResult)
    kinds = [*closed, *returned, *results, Fault]
    _, made = msgspec.json.schema_components(kinds, ref_template=COMPONENT)
    for kind in closed:
        made[kind.__name__]["additionalProperties"] = False
    made["NewExport"] |= _how_fields_go_together(made["NewExport"])
    for name, schema in made.items():
        _describe(schema, docstring(_KINDS[name]) if name in _KINDS else Docstring("", {}), name)
    for name, task in TASKS.items():
        _describe_params(name, made[task.model.__name__], made["NewExport"])
    made["NewTask"] = _new_task(made["NewTask"])
    for name in ("NewSchedule", "ScheduleChange"):
        made[name]["properties"]["task"] = _scheduled(made[name]["properties"]["task"])
    made["PauseChange"]["properties"]["name"]["anyOf"][0] |= {"enum": list(TASKS)}
    made["Task"]["properties"]["result"] |= _result()
    made["ExportResult"]["additionalProperties"] = {"type": "integer", "minimum": 0}
    for response, example in EXAMPLES.items():
        _illustrate(made, response.__name__, example)
    return {**made, "Problem": _problem()}


def _describe(schema: Json, said: Docstring, name: str) -> None:
    """Say what the object is, and each of its fields."""
    schema["description"] = said.text or name
    kind = _KINDS.get(name)
    is_struct = isinstance(kind, type) and issubclass(kind, Struct)
    fields = msgspec.structs.fields(kind) if is_struct and kind else ()
    encoded = {field.name: field.encode_name for field in fields}
    described = {encoded.get(key, key): text for key, text in said.attributes.items()}
    for key, one in schema.get("properties", {}).items():
        one.setdefault("description", described.get(key) or _inner_description(one))


def _inner_description(schema: Json) -> str:
    """What a type says of itself that stands with others: with null, mostly."""
    inner = (one["description"] for one in schema.get("anyOf", ()) if "description" in one)
    return next(inner, "")


def _describe_params(name: str, schema: Json, new_export: Json) -> None:
    """Describe the parameters of a kind of task; an archive's are those of its own request."""
    takes = schema.get("properties", {})
    schema["description"] = f"What `{name}` takes{'' if takes else ': nothing'}."
    if isinstance(TASKS[name], Archive):
        for key, one in takes.items():
            one["description"] = new_export["properties"][key]["description"]


def _how_fields_go_together(new_export: Json) -> Json:
    """What the type of a request for an export cannot say: names, and what needs an archive."""
    names = [
        one.name for kind in export_kinds() if isinstance(kind, Archive) for one in kind.datasets
    ]
    new_export["properties"]["datasets"]["items"] = {"type": "string", "enum": names}
    # Not a union: generators of clients drop routes whose body has choices of one boolean.
    return {
        "if": {
            "properties": {"archive": _is("An archive.", value=True)},
            "required": ["archive"],
        },
        "else": {
            "properties": {
                "archive": _is("No archive: no other field stands beside it.", value=False)
            },
            "additionalProperties": False,
        },
    }


def _is(description: str, *, value: object) -> Json:
    """A schema of one value: an `enum` of one, which generators know better than `const`."""
    return {"enum": [value], "description": description}


def _new_task(plain: Json) -> Json:
    fields = plain["properties"]
    later = {"not_before": fields["not_before"]}
    return {
        "title": "NewTask",
        "description": plain["description"],
        "oneOf": [_task_choice(name, fields, **later) for name in TASKS],
    }


def _scheduled(plain: Json) -> Json:
    fields = {
        "name": {"description": "The kind of task."},
        "params": {"description": "What this kind of task takes."},
    }
    choices = [_task_choice(name, fields) for name in repeatable_kinds()]
    kept = {key: plain[key] for key in ("description", "examples")}
    return {"oneOf": choices, **kept}


def _task_choice(name: str, fields: Mapping[str, Json], **more: Json) -> Json:
    params = TASKS[name].model
    needed = [field.name for field in msgspec.structs.fields(params) if field.required]
    described = {"description": fields["params"]["description"]}
    return {
        "type": "object",
        # Not the name alone, which is the title of its parameters.
        "title": f"{name} task",
        "description": f"{TASKS[name].title}.",
        "properties": {
            "name": _is(fields["name"]["description"], value=name),
            "params": reference(params) | described,
            **more,
        },
        "required": ["name", *(["params"] if needed else [])],
        "additionalProperties": False,
    }


def _result() -> Json:
    other = {
        "type": "object",
        "description": "What the function of another kind of task returned.",
        "additionalProperties": True,
        "not": {"anyOf": [_has("sha256"), _has("imported")]},
    }
    known = [reference(responses.ExportResult), reference(imports.ImportResult)]
    return {"anyOf": [*known, other, {"type": "null"}]}


def _has(name: str) -> Json:
    """A schema of objects with a field; who requires one must name it, linters say."""
    described = {"description": "What only the result of another kind of task has."}
    return {"properties": {name: described}, "required": [name]}


def _problem() -> Json:
    text = {"type": "string"}
    kinds: dict[str, Json] = {
        "type": {"type": "string", "format": "uri"},
        "title": text,
        "status": {"type": "integer"},
        "detail": text,
        "code": text,
        "errors": {"type": "array", "items": reference(Fault)},
    }
    return {
        "type": "object",
        "title": "Problem",
        "description": "A problem (RFC 9457); `code` is stable.",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            name: {**schema, "description": PROBLEM[name]} for name, schema in kinds.items()
        },
    }


def _illustrate(made: Json, name: str, example: Any) -> None:
    """Give an example to a schema, and to each of its fields that has none of its own."""
    schema = made[name]
    if name not in _NAMES_OF_EXAMPLES and "examples" in schema:
        return
    schema["examples"] = [example]
    for key, value in example.items():
        one = schema["properties"].get(key)
        if one is None or value is None:
            continue
        for inner, part in _parts(one, value):
            _illustrate(made, inner, part)
        if "$ref" not in one:
            one["examples"] = [value]


_NAMES_OF_EXAMPLES = {kind.__name__ for kind in EXAMPLES}


def _parts(schema: Json, value: Any) -> Iterator[tuple[str, Any]]:
    """The components that a field's value is made of, each by its name with its own example."""
    listed = [(schema["items"], one) for one in value[:1]] if "items" in schema else []
    choices = [(one, value) for one in schema.get("anyOf", ())][:1]
    for one, part in chain([(schema, value)], listed, choices):
        name = one.get("$ref", "").rpartition("/")[2]
        if name and name not in _NAMES_OF_EXAMPLES and isinstance(part, dict):
            yield name, part
