"""What a single field may hold: one definition for the API and for files of posts."""

import re
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Annotated, Any, Literal, TypeVar, cast, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from chalicelib.errors import Fault, Invalid

# `$` also matches before a final newline in Python; `(?!\n)` closes that gap and, unlike `\Z`,
# means the same in the OpenAPI document, whose patterns are ECMA 262.
_END = r"$(?!\n)"
_USERNAME = r"^[A-Za-z0-9_-]+" + _END
# RFC 5321, section 4.5.3.1: a local part of at most 64 octets. `=?` opens an encoded word
# (RFC 2047), which a mail program would decode into whatever characters it hides.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL = rf"^(?![^@]{{65}})(?!.*=\?){_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+{_LABEL}{_END}"
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(?:\.[0-9]{6})?Z"
)

# What `storable` refuses, as the OpenAPI document says it; a lone surrogate is no text at all.
_STORABLE = {"pattern": r"^[^\x00]*$"}

Text = Annotated[str, Meta(extra_json_schema=_STORABLE)]
AnyText = Annotated[str, Meta(extra={"is_stored": False})]
"""Compared and never stored, so that it may be any string at all."""

PostBody = Annotated[
    str,
    Meta(min_length=1, max_length=10_000, examples=["Hello!"], extra_json_schema=_STORABLE),
]
Username = Annotated[str, Meta(min_length=1, max_length=64, pattern=_USERNAME, examples=["susan"])]
# 254: the longest path of RFC 5321, less its brackets.
Email = Annotated[str, Meta(max_length=254, pattern=_EMAIL, examples=["susan@example.com"])]
# Characters are counted after NFC, which is the form that is compared.
Password = Annotated[
    str,
    Meta(
        min_length=8,
        max_length=128,
        examples=["correct horse"],
        extra={"is_password": True},
        extra_json_schema=_STORABLE,
    ),
]
# What the pattern lets through that is no moment, `parse_time` refuses.
_TIME_FORM = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{6})?Z" + _END
Time = Annotated[
    str,
    Meta(
        pattern=_TIME_FORM,
        examples=["2026-01-02T03:04:05Z"],
        extra={"is_time": True},
        extra_json_schema={"format": "date-time"},
    ),
]
Language = Literal["en", "es", "ko"]
Status = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]
MessageState = Literal["pending", "sending", "sent", "failed", "unknown", "unconfirmed", "paused"]
# 1 to 255 printable ASCII characters; HTTP takes away spaces around them.
IdempotencyKey = Annotated[
    str, Meta(min_length=1, max_length=255, pattern=r"^[!-~](?:[ -~]*[!-~])?" + _END)
]

# A time as `parse_time` reads it, which also refuses a 30 February.
_MOMENT = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(?:\.[0-9]{6})?Z" + _END
)
Moment = Annotated[
    str,
    Meta(
        pattern=_MOMENT,
        examples=["2026-12-24T18:00:00Z"],
        extra_json_schema={"format": "date-time"},
    ),
]

# A moment in microseconds since the year 1, and an item's id.
_CURSOR = r"^[0-9]{1,18}_[0-9a-f-]{1,36}" + _END
_POST_CURSOR = r"^[0-9]{1,18}_[0-9]{1,18}" + _END
Cursor = Annotated[str, Meta(pattern=_CURSOR)]
PostCursor = Annotated[str, Meta(pattern=_POST_CURSOR)]

_MAX_PASSWORD = 4 * 128
"""What is longer is no password in any form: NFC makes one character of four at most."""

MAX_FAULTS = 100
"""How much is said of one body: an answer must not be many times what was sent."""

_FORMS = {
    repr(_USERNAME): "may only contain the letters A to Z, digits, _ and -",
    repr(_EMAIL): "must be an email address such as susan@example.com",
    repr(_MOMENT): "must be a time such as 2026-12-24T18:00:00Z",
    repr(_CURSOR): "must be the `next` cursor of an earlier response",
    repr(_POST_CURSOR): "must be the `next` cursor of an earlier response",
    repr(_TIME_FORM): "must be a time of the form YYYY-MM-DDTHH:MM:SS[.ffffff]Z",
}
_KINDS = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_BOUNDS = {"<=": "at most", ">=": "at least", "<": "less than", ">": "more than"}

S = TypeVar("S", bound=Struct)


def check(data: object, model: type[S], *, at: str = "") -> S:
    """Turn decoded JSON into a model, or say everything that is wrong with it.

    Types are strict: a boolean or a string is no number.

    Args:
        data: What the JSON decoder made.
        model: A struct; fields that it does not know are faults whatever its own configuration.
        at: JSON pointer of `data` within the request's body.

    Raises:
        Invalid: With every fault: one for each field that is wrong, missing or unknown; of more
            than `MAX_FAULTS` the first.
    """
    if not isinstance(data, dict):
        raise Invalid(Fault(at, "must be an object"))
    kinds = {field.encode_name: field.type for field in msgspec.structs.fields(model)}
    data = {name: _compared(value, kinds.get(name)) for name, value in data.items()}
    found = chain(_field_faults(data, model, at), _unknown_faults(data, model, at))
    if faults := list(islice(found, MAX_FAULTS)):
        raise Invalid(*faults)
    return msgspec.convert(data, model)


def flaw(value: object, kind: Any, *, strict: bool = True) -> str | None:
    """Say what is wrong with one value.

    Args:
        value: What the JSON decoder made.
        kind: A type as it stands in a model, such as `PostBody`.
        strict: Whether a string is no number; in a query everything is a string.

    Returns:
        Plain English that follows the field's name ("must be a string"), or None when it is right.
    """
    if isinstance(value, str) and _is_stored(kind) and not storable(value):
        return "must not contain NUL or lone surrogates"
    try:
        msgspec.convert(_compared(value, kind), kind, strict=strict)
    except msgspec.ValidationError as error:
        return _plain(str(error), kind)
    if isinstance(value, str) and _is_time(kind):
        return _no_moment(value)
    return None


def canonical_password(text: str) -> str:
    """A password in the form in which it is compared (NFC), however a keyboard composes it."""
    # To sort many marks behind one letter takes quadratic time, and a body may have 10 MB of them.
    return unicodedata.normalize("NFC", text) if len(text) <= _MAX_PASSWORD else text


def storable(text: str) -> bool:
    """Whether every database and every UTF-8 file can hold the text: no NUL, no lone surrogate."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def parse_time(text: str) -> datetime:
    """Read `YYYY-MM-DDTHH:MM:SS[.ffffff]Z`, years 1 to 9999, as aware UTC.

    Raises:
        ValueError: The text has another form or names no real moment; second 60 is none.
    """
    if not _TIME.fullmatch(text):
        raise ValueError("expected the form YYYY-MM-DDTHH:MM:SS[.ffffff]Z")
    return datetime.fromisoformat(text)


def format_time(moment: datetime) -> str:
    """Write an aware moment as `YYYY-MM-DDTHH:MM:SS[.ffffff]Z`; a zero fraction is left out.

    Raises:
        ValueError: The moment is naive.
    """
    if moment.tzinfo is None:
        raise ValueError("expected an aware datetime")
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _field_faults(data: dict[str, Any], model: type[Struct], at: str) -> Iterator[Fault]:
    for field in msgspec.structs.fields(model):
        pointer = f"{at}/{_token(field.encode_name)}"
        if field.encode_name not in data:
            if field.required:
                yield Fault(pointer, "is required")
            continue
        value = data[field.encode_name]
        found = _unstorable(value, pointer) if _is_stored(field.type) else iter(())
        unstorable = list(islice(found, MAX_FAULTS))
        yield from unstorable
        if not unstorable:
            yield from _value_faults(value, field.type, pointer)


def _value_faults(value: object, kind: Any, pointer: str) -> Iterator[Fault]:
    """What is wrong with a value: with the items of a list, else with the whole of it."""
    detail, item_kind = flaw(value, kind), _item_kind(kind)
    if detail is None:
        return
    items = value[:MAX_FAULTS] if isinstance(value, list) and item_kind is not None else []
    flaws = [(index, flaw(item, item_kind)) for index, item in enumerate(items)]
    of_items = [Fault(f"{pointer}/{index}", found) for index, found in flaws if found]
    yield from of_items or [Fault(pointer, detail)]


def _item_kind(kind: Any) -> Any:
    """The type of a list's items, also of one that may be left out; None for no list."""
    for part in (kind, *get_args(kind)):
        plain = get_args(part)[0] if get_origin(part) is Annotated else part
        if get_origin(plain) is list:
            return get_args(plain)[0]
    return None


def _unknown_faults(data: dict[str, Any], model: type[Struct], at: str) -> Iterator[Fault]:
    for name in data:
        if name not in model.__struct_encode_fields__:
            yield Fault(f"{at}/{_token(name)}", "is not a known field")


def _compared(value: object, kind: Any) -> object:
    """A value in the form in which it counts: passwords have one of their own."""
    is_password = isinstance(value, str) and _extra(kind).get("is_password", False)
    return canonical_password(cast("str", value)) if is_password else value


def _is_stored(kind: Any) -> bool:
    return bool(_extra(kind).get("is_stored", True))


def _is_time(kind: Any) -> bool:
    return any(_extra(part).get("is_time", False) for part in (kind, *get_args(kind)))


def _no_moment(text: str) -> str | None:
    try:
        parse_time(text)
    except ValueError:
        return _FORMS[repr(_TIME_FORM)]
    return None


def _extra(kind: Any) -> dict[str, Any]:
    """What the models say of a type besides its bounds."""
    metas = [meta.extra or {} for meta in getattr(kind, "__metadata__", ()) if type(meta) is Meta]
    return {name: value for extra in metas for name, value in extra.items()}


def _unstorable(value: object, pointer: str) -> Iterator[Fault]:
    """Look at every string in a value, names of members included, at any depth."""
    waiting = [(value, pointer)]
    while waiting:
        value, pointer = waiting.pop()
        if isinstance(value, str) and (detail := flaw(value, str)):
            yield Fault(pointer, detail)
        elif isinstance(value, list):
            waiting += [(item, f"{pointer}/{index}") for index, item in enumerate(value)]
        elif isinstance(value, dict):
            for name, item in value.items():
                inner = f"{pointer}/{_token(name)}"
                waiting += [(item, inner)] if storable(name) else [(name, inner)]


def _token(name: str) -> str:
    """Escape a name for a JSON pointer (RFC 6901); the answer must be encodable whatever it is."""
    return name.replace("~", "~0").replace("/", "~1").encode(errors="replace").decode()


def _plain(message: str, kind: Any) -> str:
    """Put a message of msgspec's into words for people who do not read Python."""
    if match := re.fullmatch(r"Expected `str` matching regex (.+)", message):
        return _FORMS.get(match[1]) or _form_of(kind) or f"must match the pattern {match[1]}"
    if match := re.fullmatch(r"Expected `array` of length ([<>]=?) (\d+)", message):
        return f"must have {_BOUNDS[match[1]]} {match[2]} item{'s' * (match[2] != '1')}"
    if match := re.fullmatch(r"Expected `(?:str|int|float)` (of length )?([<>]=?) (\S+)", message):
        unit = f" character{'s' * (match[3] != '1')} long" if match[1] else ""
        return f"must be {_BOUNDS[match[2]]} {match[3]}{unit}"
    if message.startswith("Invalid enum value") and (choices := _choices(kind)):
        return "must be one of " + ", ".join(choices)
    if match := re.fullmatch(r"Expected `([a-z |]+)`, got `\w+`", message):
        return "must be " + " or ".join(_KINDS.get(name, name) for name in match[1].split(" | "))
    return f"is not valid: {message}"


def _form_of(kind: Any) -> str | None:
    """A form by an example of it, which people read more easily than a pattern."""
    metas = [meta for meta in getattr(kind, "__metadata__", ()) if type(meta) is Meta]
    examples = [example for meta in metas for example in meta.examples or ()]
    return f"must be of a form such as {examples[0]}" if examples else None


def _choices(kind: Any) -> list[str]:
    literals = [part for part in (kind, *get_args(kind)) if get_origin(part) is Literal]
    return [str(choice) for literal in literals for choice in get_args(literal)]
