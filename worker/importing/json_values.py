"""One JSON value at a time, whole and strict, whatever it holds."""

import json
from typing import Any

import orjson

from chalicelib.imports.reasons import Reason
from worker.export.json_reader import Number
from worker.importing.reading import Bad


def json_object(text: bytes) -> dict[str, Any]:
    """The object that a text holds.

    Raises:
        Bad: It is no JSON, or no object.
    """
    data = json_value(text)
    if not isinstance(data, dict):
        raise Bad(Reason.NOT_AN_OBJECT)
    return data


def json_value(text: bytes) -> Any:
    """What a text holds.

    orjson refuses lone surrogates and numbers without bounds, which RFC 8259 allows; one such
    value somewhere in an entry does not make the entry bad.

    Raises:
        Bad: It is no JSON.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return _unbounded(text)


def _unbounded(text: bytes) -> Any:
    try:
        return json.loads(
            text.decode(), parse_int=Number, parse_float=Number, parse_constant=_no_json
        )
    except (ValueError, RecursionError):
        raise Bad(Reason.NOT_JSON) from None


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
