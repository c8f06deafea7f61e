import json
from datetime import UTC, datetime, timedelta, timezone
from email.headerregistry import Address
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Meta, Struct, UnsetType, defstruct

from chalicelib.errors import Fault, Invalid
from chalicelib.values.fields import (
    _EMAIL,
    MAX_FAULTS,
    Email,
    Language,
    Password,
    PostBody,
    Username,
    check,
    flaw,
    format_time,
    parse_time,
    storable,
)

LONE = "\ud800"
UNSTORABLE = "must not contain NUL or lone surrogates"
USERNAME_FORM = "may only contain the letters A to Z, digits, _ and -"
EMAIL_FORM = "must be an email address such as susan@example.com"


class Person(Struct, forbid_unknown_fields=True):
    """A model with every kind of field that a request has."""

    username: Username
    email: Email
    language: Language = "en"
    seconds: Annotated[int, Meta(ge=0, le=600)] | None = None
    params: dict[str, Any] = {}
    admin: bool | UnsetType = UNSET


def faults(data: object, model: type[Struct] = Person, *, at: str = "") -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        check(data, model, at=at)
    found = {fault.pointer: fault.detail for fault in caught.value.faults}
    assert len(found) == len(caught.value.faults)
    return found


@pytest.mark.parametrize(
    ("kind", "value", "detail"),
    [
        (PostBody, "x", None),
        (PostBody, "\U0001f600" * 10_000, None),  # code points count, not bytes
        (PostBody, " \r\n\x7f\u2028", None),
        (PostBody, "", "must be at least 1 character long"),
        (PostBody, "x" * 10_001, "must be at most 10000 characters long"),
        (PostBody, "a\0b", UNSTORABLE),
        (PostBody, f"a{LONE}", UNSTORABLE),
        (PostBody, 1, "must be a string"),
        (PostBody, None, "must be a string"),
        (PostBody, ["x"], "must be a string"),
        (Username, "Susan_-9", None),
        (Username, "x" * 64, None),
        (Username, "x" * 65, "must be at most 64 characters long"),
        (Username, "", "must be at least 1 character long"),
        (Username, "susan\n", USERNAME_FORM),  # where `$` alone would match
        (Username, "sus an", USERNAME_FORM),
        (Username, "susän", USERNAME_FORM),
        (Username, "٣", USERNAME_FORM),  # a digit, but not ASCII
        (Email, "susan@example.com", None),
        (Email, "su.s+a_n'!@mail.example-1.co.uk", None),
        (Email, "x" * 64 + "@example.com", None),
        (Email, "x" * 65 + "@example.com", EMAIL_FORM),
        (Email, "x@" + "y" * 63 + ".com", None),
        (Email, "x@" + "y" * 64 + ".com", EMAIL_FORM),
        (Email, "x@" + "yy." * 83 + "com", None),  # 254
        (Email, "x@" + "yy." * 83 + "comm", "must be at most 254 characters long"),
        (Email, "susan@example", EMAIL_FORM),
        (Email, "susan", EMAIL_FORM),
        (Email, "@example.com", EMAIL_FORM),
        (Email, "a@b@example.com", EMAIL_FORM),
        (Email, ".susan@example.com", EMAIL_FORM),
        (Email, "su..san@example.com", EMAIL_FORM),
        (Email, "susan@-example.com", EMAIL_FORM),
        (Email, "susan@example..com", EMAIL_FORM),
        (Email, "susan@example.com.", EMAIL_FORM),
        (Email, "susan@exämple.com", EMAIL_FORM),
        (Email, "susän@example.com", EMAIL_FORM),
        (Email, "susan@example.com\n", EMAIL_FORM),
        (Email, "susan@example.com\r\nBcc: eve@example.com", EMAIL_FORM),
        (Email, "susan@example.com, eve@example.com", EMAIL_FORM),
        (Email, '"su san"@example.com', EMAIL_FORM),
        (Email, "Susan <susan@example.com>", EMAIL_FORM),
        (Email, "=?utf-8?q?x=0D=0ABcc:y?=@example.com", EMAIL_FORM),  # RFC 2047
        (Password, "x" * 8, None),
        (Password, "пароль\U0001f600 ", None),
        (Password, "x" * 128, None),
        (Password, "x" * 7, "must be at least 8 characters long"),
        (Password, "x" * 129, "must be at most 128 characters long"),
        (Language, "ko", None),
        (Language, "EN", "must be one of en, es, ko"),
        (Language, 1, "must be a string"),
        (Language | None, "fr", "must be one of en, es, ko"),
        (Language | UnsetType, "fr", "must be one of en, es, ko"),
        (int, True, "must be a whole number"),
        (int, "1", "must be a whole number"),
        (int, 1.5, "must be a whole number"),
        (bool, 1, "must be true or false"),
        (float, False, "must be a number"),
        (int | None, "x", "must be a whole number or null"),
        (dict[str, Any], [], "must be an object"),
        (list[int], {}, "must be a list"),
        (Annotated[int, Meta(ge=0)], -1, "must be at least 0"),
        (Annotated[int, Meta(le=600)], 601, "must be at most 600"),
        (Annotated[float, Meta(gt=0)], 0.0, "must be more than 0.0"),
        (Annotated[str, Meta(pattern="^a")], "b", "must match the pattern '^a'"),
        (Annotated[str, Meta(pattern="^a", examples=["ab"])], "b", "must be of a form such as ab"),
        (list[int], ["x"], "is not valid: Expected `int`, got `str` - at `$[0]`"),
        (Literal[1, 2], 3, "must be one of 1, 2"),
    ],
)
def test_flaw(kind: Any, value: object, detail: str | None) -> None:
    """Every kind of field takes what it should and says in plain English what it refuses."""
    assert flaw(value, kind) == detail


@given(st.emails() | st.from_regex(_EMAIL))
def test_accepted_addresses_are_one_address(address: str) -> None:
    """What the field accepts, the email library reads as exactly that address."""
    if flaw(address, Email) is None:
        assert Address(addr_spec=address).addr_spec == address


@given(st.text(alphabet=st.characters(codec=None)))
def test_storable_is_what_utf_8_and_a_c_string_can_hold(text: str) -> None:
    """A storable text survives UTF-8 and holds no NUL; another one does not."""
    survives = text.encode(errors="replace").decode() == text
    assert storable(text) == (survives and "\0" not in text)


def test_check_builds_the_model() -> None:
    """A right object becomes the model, its defaults filled in."""
    person = check({"username": "susan", "email": "susan@example.com"}, Person)

    assert person == Person(username="susan", email="susan@example.com", language="en")


def test_check_names_every_fault_at_once() -> None:
    """Wrong, missing and unknown fields are all reported, one fault each."""
    data = {"username": "", "language": "fr", "seconds": True, "admin": 1, "x": 1, "a/b~": LONE}

    assert faults(data) == {
        "/username": "must be at least 1 character long",
        "/email": "is required",
        "/language": "must be one of en, es, ko",
        "/seconds": "must be a whole number or null",
        "/admin": "must be true or false",
        "/x": "is not a known field",
        "/a~1b~0": "is not a known field",
    }


@pytest.mark.parametrize(
    "data",
    [
        {str(number): None for number in range(3 * MAX_FAULTS)},
        {"params": {"texts": ["\0"] * 3 * MAX_FAULTS}},
    ],
    ids=["fields", "strings"],
)
def test_check_does_not_go_on_for_ever(data: dict[str, Any]) -> None:
    """An answer is not many times what was sent."""
    with pytest.raises(Invalid) as caught:
        check(data, Person)
    assert len(caught.value.faults) == MAX_FAULTS


def test_check_refuses_unknown_fields_that_the_model_would_ignore() -> None:
    """A model that forgot `forbid_unknown_fields` is no hole."""

    class Lax(Struct):
        x: int = 0

    assert faults({"y": 1}, Lax) == {"/y": "is not a known field"}


def test_check_uses_the_names_of_the_wire() -> None:
    """A renamed field is known by its name in JSON."""

    class Renamed(Struct, rename="camel"):
        some_name: int

    assert faults({"some_name": 1}, Renamed) == {
        "/someName": "is required",
        "/some_name": "is not a known field",
    }


def test_check_looks_at_every_string_at_any_depth() -> None:
    """A string that cannot be stored is found in lists, objects and names, however deep."""
    deep: object = "\0"
    for _ in range(5000):
        deep = [deep]
    params = {"list": ["ok", "\0", {"in": LONE}], f"na{LONE}me": 1, "deep": deep}

    assert faults({"username": "a", "email": "a@b.c", "params": params}) == {
        "/params/list/1": UNSTORABLE,
        "/params/list/2/in": UNSTORABLE,
        "/params/na?me": UNSTORABLE,
        "/params/deep" + "/0" * 5000: UNSTORABLE,
    }


@pytest.mark.parametrize("optional", [True, False], ids=["optional", "required"])
def test_check_points_at_the_items_of_a_list(optional: bool) -> None:
    """Of a list, the items that are wrong are named, and else what is wrong with the whole."""
    listed: Any = Annotated[list[Language], Meta(min_length=1, max_length=2)]
    model = defstruct("Listed", [("of", listed | UnsetType if optional else listed)])

    assert faults({"of": ["en", "fr", 1]}, model) == {
        "/of/1": "must be one of en, es, ko",
        "/of/2": "must be a string",
    }
    assert faults({"of": []}, model) == {"/of": "must have at least 1 item"}
    assert faults({"of": ["en"] * 3}, model) == {"/of": "must have at most 2 items"}
    assert faults({"of": "en"}, model) == {"/of": "must be a list"}


@pytest.mark.parametrize("data", [None, [], "text", 1, True])
def test_check_wants_an_object(data: object) -> None:
    """Anything but an object has one fault, at its own place."""
    assert faults(data, at="/params") == {"/params": "must be an object"}


def test_check_puts_pointers_under_the_given_place() -> None:
    """Pointers lead from the body's root when the object is a member of it."""
    assert faults({"y": 1}, Person, at="/params")["/params/y"] == "is not a known field"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec=None)), inner),
)


@given(
    st.dictionaries(st.sampled_from(["username", "email", "params", "seconds", LONE]), json_values)
)
def test_check_accepts_or_explains(data: dict[str, Any]) -> None:
    """Whatever the decoder makes becomes a model or faults that JSON can carry; nothing else."""
    found: tuple[Fault, ...] = ()
    try:
        check(data, Person)
    except Invalid as error:
        found = error.faults

    answer = [[fault.pointer, fault.detail] for fault in found] or data
    assert json.dumps(answer, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.000001Z", datetime(2026, 1, 2, 3, 4, 5, 1, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        ("2024-02-29T00:00:00Z", datetime(2024, 2, 29, tzinfo=UTC)),
    ],
)
def test_times_are_read_and_written(text: str, moment: datetime) -> None:
    """The time form goes both ways."""
    assert parse_time(text) == moment
    assert parse_time(text).tzinfo is UTC
    assert format_time(moment) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-02T03:04:05",  # no zone
        "2026-01-02T03:04:05+00:00",  # another spelling of UTC
        "2026-01-02t03:04:05z",
        "2026-01-02 03:04:05Z",
        "2026-01-02T03:04Z",
        "2026-01-02T03:04:05.1Z",  # a fraction has six digits
        "2026-01-02T03:04:05.1234567Z",
        "2026-01-02T03:04:05,123456Z",
        "2026-01-02T03:04:05.Z",
        "2026-01-02T03:04:05Z\n",
        " 2026-01-02T03:04:05Z",
        "2026-W01-5T03:04:05Z",
        "20260102T030405Z",
        "\uff12\uff10\uff12\uff16-01-02T03:04:05Z",  # digits, but not ASCII
        "02026-01-02T03:04:05Z",
        "0000-01-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-01-02T24:00:00Z",
        "2026-01-02T03:60:00Z",
        "2026-12-31T23:59:60Z",  # a leap second
    ],
)
def test_other_times_are_refused(text: str) -> None:
    """Anything else is a ValueError, never another kind of error."""
    with pytest.raises(ValueError, match=r"."):
        parse_time(text)


@given(st.datetimes(timezones=st.just(UTC)))
def test_every_moment_survives(moment: datetime) -> None:
    """What is written is read back as the same moment."""
    assert parse_time(format_time(moment)) == moment


def test_other_zones_are_written_as_utc() -> None:
    """A moment in another zone is the same moment; one without a zone is a mistake."""
    seoul = timezone(timedelta(hours=9))
    assert format_time(datetime(2026, 1, 2, 3, tzinfo=seoul)) == "2026-01-01T18:00:00Z"
    with pytest.raises(ValueError, match="aware"):
        format_time(datetime(2026, 1, 2))  # noqa: DTZ001 - the mistake itself
