"""Requests and responses about what can be exported, and how."""

from typing import Annotated, TypedDict

import msgspec
from msgspec import UNSET, Meta, UnsetType

from chalicelib.exports.archive import FORMATS, Format
from chalicelib.schemas.responses import Count
from chalicelib.values.fields import Text, Time

_SOME = Meta(min_length=1, extra_json_schema={"uniqueItems": True})


class NewExport(msgspec.Struct, rename={"since": "from", "until": "to"}):
    """What to export: without any field the first kind of export there is, else an archive."""

    archive: Annotated[
        bool,
        Meta(
            description="Whether to export an archive: many datasets in one ZIP. All other fields"
            " need it.",
            examples=[True],
        ),
    ] = False
    datasets: (
        Annotated[
            list[Text],
            _SOME,
            Meta(description="Names of `GET /v1/datasets`, each once; all, if left out."),
        ]
        | UnsetType
    ) = UNSET
    formats: (
        Annotated[
            list[Annotated[Text, Meta(extra_json_schema={"enum": [*FORMATS]})]],
            _SOME,
            Meta(
                description="In which formats, each once; `json`, if left out. `activitystreams`"
                " needs a dataset that has it.",
            ),
        ]
        | UnsetType
    ) = UNSET
    since: (
        Annotated[
            Time,
            Meta(description="Only rows of this time or later.", examples=["2026-01-01T00:00:00Z"]),
        ]
        | UnsetType
    ) = UNSET
    until: (
        Annotated[
            Time,
            Meta(
                description="Only rows before this time, which is later than `from`.",
                examples=["2027-01-01T00:00:00Z"],
            ),
        ]
        | UnsetType
    ) = UNSET
    viewer: (
        Annotated[
            bool,
            Meta(description="Whether pages to look at the data are in it; true, if left out."),
        ]
        | UnsetType
    ) = UNSET


class Dataset(TypedDict):
    """What there is of one kind of your data.

    Up to 10,000 rows, `rows` and `bytes` are exact; of more they are estimates, within 10 % and
    25 %.
    """

    name: Annotated[str, Meta(description="What requests call it.", examples=["posts"])]
    title: Annotated[str, Meta(description="What it is, in your language.", examples=["Posts"])]
    rows: Annotated[Count, Meta(description="How many rows there are.")]
    bytes: Annotated[Count, Meta(description="How large they are as a JSON document.")]
    seconds: Annotated[
        float, Meta(ge=0, description="About how long a worker takes to export them.")
    ]
    formats: Annotated[list[Format], Meta(description="The formats that it can be exported in.")]


class DatasetList(TypedDict):
    """What there is of your data.

    Attributes:
        items: The datasets; all are on one page.
        next: The `cursor` of the next page; null on the last one.
    """

    items: list[Dataset]
    next: str | None
